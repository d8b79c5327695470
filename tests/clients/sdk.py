"""Drives the OpenAI and Anthropic SDKs as a program of a person's own does.

Reads one job a line from stdin, JSON, and writes one line for it: what the SDK gave.

    {"api": "chat" | "responses" | "messages" | "embeddings", "model": "…", "text": "…",
     "stream": true, "before": [["user", "…"], …], "result": "…"}

`before` is the conversation so far. `result` offers a tool `look` and is its result. `GATE_URL` is the base URL, `GATE_TOKEN` the
person's token. The answer has `text`, `reasoning`, `calls` (name and arguments), `requests` (how
often the SDK asked) and, if it raised, `error` with the exception's class, `status`, `code` and
`message`.
"""

import json
import os

import anthropic
import openai

from jobs import PARAMETERS, REQUESTS, history, serve

URL, TOKEN = os.environ["GATE_URL"], os.environ["GATE_TOKEN"]


def counted(sdk):
    """An HTTP client of the SDK's own kind that counts what it sends."""
    return sdk.DefaultHttpxClient(event_hooks={"request": [lambda request: REQUESTS.append(1)]})


OPENAI = openai.OpenAI(base_url=URL, api_key=TOKEN, http_client=counted(openai))
ANTHROPIC = anthropic.Anthropic(base_url=URL, auth_token=TOKEN, http_client=counted(anthropic))


def chat(job, got):
    offer = {"name": "look", "description": "Shows a file", "parameters": PARAMETERS}
    asked = {
        "model": job["model"],
        "messages": history(job),
        "tools": [{"type": "function", "function": offer}] if "result" in job else openai.omit,
    }
    for _ in range(2):
        if job["stream"]:
            with OPENAI.chat.completions.stream(**asked) as stream:
                for event in stream:
                    if event.type == "content.delta":
                        got["deltas"] += event.delta
                message = stream.get_final_completion().choices[0].message
        else:
            message = OPENAI.chat.completions.create(**asked).choices[0].message
        got["text"] += message.content or ""
        if not message.tool_calls:
            return
        asked["messages"].append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in message.tool_calls:
            got["calls"].append([call.function.name, call.function.arguments])
            result = {"role": "tool", "tool_call_id": call.id, "content": job["result"]}
            asked["messages"].append(result)


def responses(job, got):
    offer = {"type": "function", "name": "look", "description": "Shows a file", "strict": False}
    asked = {
        "model": job["model"],
        "input": history(job),
        "tools": [offer | {"parameters": PARAMETERS}] if "result" in job else openai.omit,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    for _ in range(2):
        if job["stream"]:
            with OPENAI.responses.stream(**asked) as stream:
                for event in stream:
                    if event.type == "response.output_text.delta":
                        got["deltas"] += event.delta
                response = stream.get_final_response()
        else:
            response = OPENAI.responses.create(**asked)
        got["text"] += response.output_text
        calls = [item for item in response.output if item.type == "function_call"]
        for item in response.output:
            if item.type == "reasoning":
                got["reasoning"] += "".join(part.text for part in item.summary)
                got["proof"] = item.encrypted_content
            dumped = item.model_dump(exclude_none=True)
            dumped.pop("parsed_arguments", None)
            asked["input"].append(dumped)
        if not calls:
            return
        for call in calls:
            got["calls"].append([call.name, call.arguments])
            result = {"type": "function_call_output", "call_id": call.call_id}
            asked["input"].append(result | {"output": job["result"]})


def messages(job, got):
    offer = {"name": "look", "description": "Shows a file", "input_schema": PARAMETERS}
    asked = {
        "model": job["model"],
        "max_tokens": 1000,
        "messages": history(job),
        "tools": [offer] if "result" in job else anthropic.omit,
    }
    for _ in range(2):
        if job["stream"]:
            with ANTHROPIC.messages.stream(**asked) as stream:
                for text in stream.text_stream:
                    got["deltas"] += text
                message = stream.get_final_message()
        else:
            message = ANTHROPIC.messages.create(**asked)
        content, results = [], []
        for block in message.content:
            content.append(block.model_dump(exclude_none=True, exclude={"parsed_output"}))
            if block.type == "text":
                got["text"] += block.text
            elif block.type == "thinking":
                got["reasoning"] += block.thinking
                got["proof"] = block.signature
            elif block.type == "tool_use":
                got["calls"].append([block.name, json.dumps(block.input)])
                result = {"type": "tool_result", "tool_use_id": block.id}
                results.append(result | {"content": job["result"]})
        if not results:
            return
        asked["messages"].append({"role": "assistant", "content": content})
        asked["messages"].append({"role": "user", "content": results})


def embeddings(job, got):
    answer = OPENAI.embeddings.create(model=job["model"], input=[job["text"]])
    got["vector"] = answer.data[0].embedding


APIS = {"chat": chat, "responses": responses, "messages": messages, "embeddings": embeddings}


def told(error):
    body = error.body if isinstance(error.body, dict) else {}  # whole, or its `error`
    body = body.get("error", body)
    return {"code": body.get("code"), "message": body.get("message")}


serve(
    lambda job, got: APIS[job["api"]](job, got),
    (openai.APIError, anthropic.APIError),
    told,
)

"""Drives LiteLLM's provider `github_copilot` as a program or proxy of a team does.

The provider signs in by itself: it shows the person's token at `GITHUB_COPILOT_API_KEY_URL` and goes
where the answer says. Jobs and answers are those of `sdk.py`, for the API "chat" alone.
"""

import os
import pathlib

import httpx
import httpx2
import litellm
import openai

from jobs import PARAMETERS, REQUESTS, history, serve

TOKENS = pathlib.Path(os.environ["GITHUB_COPILOT_TOKEN_DIR"])
TOKENS.mkdir(exist_ok=True)
(TOKENS / "api-key.json").unlink(missing_ok=True)
(TOKENS / "access-token").write_text(os.environ["GATE_TOKEN"])
LOOK = {"name": "look", "description": "Shows a file", "parameters": PARAMETERS}


def count(library):
    """Makes the HTTP library count what goes to the model."""
    send = library.Client.send

    def counted(client, request, **how):
        if request.url.path == "/chat/completions":
            REQUESTS.append(1)
        return send(client, request, **how)

    library.Client.send = counted


count(httpx)
count(httpx2)
litellm.suppress_debug_info = True


def complete(job, messages, got):
    tools = {"tools": [{"type": "function", "function": LOOK}]} if "result" in job else {}
    asked = {"model": "github_copilot/" + job["model"], "messages": messages, **tools}
    if not job["stream"]:
        return litellm.completion(**asked).choices[0].message
    chunks = []
    for chunk in litellm.completion(stream=True, **asked):
        chunks.append(chunk)
        if chunk.choices:
            got["deltas"] += chunk.choices[0].delta.content or ""
    return litellm.stream_chunk_builder(chunks, messages=messages).choices[0].message


def chat(job, got):
    messages = history(job)
    for _ in range(2):
        message = complete(job, messages, got)
        got["text"] += message.content or ""
        if not message.tool_calls:
            return
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            got["calls"].append([call.function.name, call.function.arguments])
            result = {"role": "tool", "tool_call_id": call.id, "content": job["result"]}
            messages.append(result)


def told(error):
    return {"code": getattr(error, "code", None), "message": getattr(error, "message", None)}


serve(chat, openai.OpenAIError, told)

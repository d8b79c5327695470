"""What the drivers of SDKs have in common: jobs in, answers out, one a line, as `sdk.py` says."""

import json
import sys

PARAMETERS = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}

# How often the SDK asked for the job at hand.
REQUESTS = []


def history(job):
    turns = [*job.get("before", []), ["user", job["text"]]]
    return [{"role": role, "content": text} for role, text in turns]


def serve(answer, errors, told):
    """Answers each job; of what it raises, `told` gives `code` and `message`."""
    for line in sys.stdin:
        job = json.loads(line)
        REQUESTS.clear()
        got = {"text": "", "deltas": "", "reasoning": "", "calls": []}
        try:
            answer(job, got)
        except errors as error:
            got["error"] = {
                "class": type(error).__name__,
                "status": getattr(error, "status_code", None),
                "shown": str(error),
                **told(error),
            }
        got["requests"] = len(REQUESTS)
        print(json.dumps(got), flush=True)

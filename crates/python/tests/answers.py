"""Answers for the scripted server: whole responses, refusals with the service's envelope, and the pieces of a stream."""

import json
import time
from email.utils import formatdate
from typing import Any, Dict, Optional, Union

from scripted import Answer


def http(status: int, body: Union[bytes, Dict[str, Any]], **headers: str) -> Answer:
    """A whole response; ``Retry_After="1"`` becomes a header."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = ["HTTP/1.1 %d Scripted" % status, "Content-Length: %d" % len(data)]
    lines += ["%s: %s" % (name.replace("_", "-"), value) for name, value in headers.items()]
    return [("\r\n".join(lines) + "\r\n\r\n").encode() + data]


def response(text: str = "hello") -> Dict[str, Any]:
    return {
        "id": "call_1",
        "model": "haiku",
        "model_id": "claude-haiku-4-5",
        "content": text,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        "cache": {"creation_input_tokens": 1, "read_input_tokens": 2},
        "cost": 0.000023,
        "cost_nanos": 23000,
        "project_id": "default",
        "backend": "scripted",
    }


def ok(text: str = "hello", **headers: str) -> Answer:
    return http(200, response(text), **headers)


STATUS = {
    "invalid_request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "request_too_large": 413,
    "budget_exceeded": 429,
    "rate_limited": 429,
    "internal": 500,
    "backend_error": 502,
    "overloaded": 503,
    "timeout": 504,
}


def envelope(code: str, message: str = "scripted trouble", retryable: bool = False, **extra: Any) -> Dict[str, Any]:
    error = dict({"code": code, "message": message, "retryable": retryable, "request_id": "req_7"}, **extra)
    return {"error": error, "detail": message}


def refusal(code: str, header: Optional[str] = None, status: Optional[int] = None, **fields: Any) -> Answer:
    """An error response of the service; ``header`` is its Retry-After."""
    headers = {} if header is None else {"Retry_After": header}
    return http(status or STATUS[code], envelope(code, **fields), **headers)


def http_date(seconds_from_now: float) -> str:
    return formatdate(time.time() + seconds_from_now, usegmt=True)


# Streams.

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(text: str) -> bytes:
    data = text.encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(name: str, data: Dict[str, Any]) -> bytes:
    return chunk("event: %s\ndata: %s\n\n" % (name, json.dumps(data)))


START = SSE + event("start", {"id": "call_1", "model": "haiku", "model_id": "claude-haiku-4-5"})
QUEUED, HEARTBEAT = chunk(": queued\n\n"), chunk(": heartbeat\n\n")


def delta(text: str) -> bytes:
    return event("delta", {"text": text})


def done(text: str) -> bytes:
    return event("done", response(text)) + LAST


# Batches.


def result(index: int, prompt: str = "p", **fields: Any) -> bytes:
    """The event of a prompt that was answered, or that was not, when it is given an ``error_code``."""
    failed = "error_code" in fields
    data: Dict[str, Any] = {"index": index, "id": None, "prompt": prompt, "status": "failed" if failed else "completed"}
    if failed:
        data["error"] = "scripted trouble"
    else:
        data.update(content="c%d" % index, usage=response()["usage"], cost=0.000023, cost_nanos=23000)
        data.update(call_id="call_%d" % index, model="haiku", model_id="claude-haiku-4-5")
    return event("result", dict(data, **fields))


def totals(total: int) -> bytes:
    data = {"total": total, "completed": total, "failed": 0, "total_cost": 0.0, "total_cost_nanos": 0, "total_tokens": 0}
    return event("done", data) + LAST

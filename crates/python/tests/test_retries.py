"""When a failed attempt is followed by another one, and after how long. Every test runs with both clients where it can."""

import threading
import time

import pytest

from answers import LAST, START, SSE, delta, done, event, envelope, http, http_date, ok, refusal
from claude_code_api import (
    APIConnectionError,
    AuthenticationError,
    BudgetExceededError,
    ClaudeAPIError,
    ClaudeClient,
    InvalidRequestError,
    PermissionDeniedError,
    ServerError,
)
from scripted import Scripted, hang_up, hold, reset

FAST = {"retry_delay": 0.01}
HALF = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"id\":", hang_up]
GARBAGE = [b"SSH-2.0-OpenSSH_9.9\r\n\r\n", hang_up]


def test_two_refusals_then_an_answer_is_an_answer(server: Scripted, caller):
    server.script(refusal("overloaded", retryable=True), refusal("overloaded", retryable=True), ok("third time"))
    assert caller.complete(server.url, **FAST).content == "third time"
    assert len(server.requests) == 3
    assert server.requests[0].body["prompt"] == server.requests[2].body["prompt"] == "hi"


def test_the_attempts_of_a_call_share_an_idempotency_key_and_calls_do_not(server: Scripted, caller):
    server.script(refusal("overloaded", retryable=True), ok(), ok(), ok())
    caller.complete(server.url, {}, {}, {"idempotency_key": "mine"}, **FAST)
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert keys[0] == keys[1] and keys[3] == "mine" and len(set(keys)) == 3
    assert all(0 < len(key) <= 255 for key in keys)


def test_a_stream_that_is_tried_again_keeps_its_idempotency_key(server: Scripted, caller):
    server.script(refusal("overloaded", retryable=True), [START, delta("a"), done("a")])
    caller.stream(server.url, **FAST)
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(keys) == 2 and keys[0] == keys[1]


def test_an_idempotency_key_that_no_header_takes_is_refused_before_anything_is_sent(server: Scripted, caller):
    with pytest.raises(ValueError, match="idempotency_key"):
        caller.complete(server.url, {"idempotency_key": "a\nb"})
    assert not server.requests


@pytest.mark.parametrize("max_retries, attempts", [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_max_retries_counts_attempts(server: Scripted, caller, max_retries, attempts):
    server.script(*[refusal("overloaded", retryable=True)] * 6)
    with pytest.raises(ServerError) as caught:
        caller.complete(server.url, max_retries=max_retries, **FAST)
    assert (len(server.requests), caught.value.attempts) == (attempts, attempts)
    assert attempts == 1 or "%d attempts" % attempts in str(caught.value)


@pytest.mark.parametrize(
    "code, cls",
    [
        ("invalid_request", InvalidRequestError),
        ("unauthenticated", AuthenticationError),
        ("forbidden", PermissionDeniedError),
        ("budget_exceeded", BudgetExceededError),
    ],
)
def test_what_another_attempt_cannot_help_gets_none(server: Scripted, caller, code, cls):
    server.script(refusal(code))
    with pytest.raises(cls) as caught:
        caller.complete(server.url, **FAST)
    assert (len(server.requests), caught.value.attempts) == (1, 1)


def test_the_services_retryable_decides_before_the_status(server: Scripted, caller):
    server.script(refusal("overloaded", retryable=False), refusal("backend_error", retryable=True), ok("after all"))
    with pytest.raises(ServerError):
        caller.complete(server.url, **FAST)
    assert len(server.requests) == 1
    assert caller.complete(server.url, **FAST).content == "after all"
    assert len(server.requests) == 3


@pytest.mark.parametrize("status, attempts", [(400, 1), (404, 1), (408, 2), (429, 2), (500, 2), (502, 2), (503, 2)])
def test_without_the_services_word_the_status_decides(server: Scripted, caller, status, attempts):
    server.script(*[http(status, b"<html>from a proxy</html>")] * attempts)
    with pytest.raises(ClaudeAPIError):
        caller.complete(server.url, max_retries=2, **FAST)
    assert len(server.requests) == attempts


@pytest.mark.parametrize(
    "refused, least, most",
    [
        (lambda: refusal("rate_limited", "1", retryable=True), 1.0, 1.8),
        (lambda: http(503, b"busy", Retry_After="1"), 1.0, 1.8),
        (lambda: http(503, b"busy", Retry_After=http_date(2)), 0.9, 2.8),
        (lambda: http(503, b"busy", Retry_After=http_date(-60)), 0.0, 0.8),
        (lambda: refusal("rate_limited", "60", retryable=True, retry_after=0.5), 0.5, 1.3),
    ],
    ids=["seconds", "of a proxy", "a date", "a date that has passed", "the body's, finer than the header's"],
)
def test_retry_after_is_obeyed(server: Scripted, caller, refused, least, most):
    server.script(refused(), ok())
    caller.complete(server.url, **FAST)
    assert least <= server.waits()[0] < most + 4, "no earlier than told, and not much later"


def test_a_retry_after_above_the_limit_is_raised_at_once(server: Scripted, caller):
    server.script(refusal("rate_limited", "2", retryable=True))
    begun = time.monotonic()
    with pytest.raises(ClaudeAPIError) as caught:
        caller.complete(server.url, max_retry_after=1.5, **FAST)
    assert time.monotonic() - begun < 1.5
    assert (caught.value.retry_after, caught.value.attempts, len(server.requests)) == (2.0, 1, 1)
    assert "max_retry_after" in str(caught.value)


def test_waits_of_our_own_grow_from_retry_delay(server: Scripted):
    server.script(*[refusal("overloaded", retryable=True)] * 2, ok())
    with ClaudeClient(server.url, retry_delay=0.4) as client:
        client.complete("hi")
    first, second = server.waits()
    assert first >= 0.2 and second >= 0.4


@pytest.mark.parametrize(
    "broken", [[reset], [hang_up], HALF, [*HALF[:1], reset], GARBAGE], ids=["reset", "eof", "half", "half, reset", "garbage"]
)
def test_a_broken_connection_is_another_attempt(server: Scripted, caller, broken):
    server.script(broken, ok("whole"))
    assert caller.complete(server.url, **FAST).content == "whole"
    assert len(server.requests) == 2


@pytest.mark.parametrize("broken", [[reset], [hang_up], HALF, GARBAGE], ids=["reset", "eof", "half", "garbage"])
def test_a_connection_that_keeps_breaking_is_a_connection_error(server: Scripted, caller, broken):
    server.script(broken, broken)
    with pytest.raises(APIConnectionError) as caught:
        caller.complete(server.url, max_retries=2, **FAST)
    assert (len(server.requests), caught.value.attempts, caught.value.retryable) == (2, 2, True)
    assert server.url in str(caught.value)


def test_no_attempt_is_made_that_the_deadline_does_not_allow(server: Scripted, caller):
    server.script(refusal("overloaded", "3", retryable=True))
    begun = time.monotonic()
    with pytest.raises(ServerError, match="no time left for another attempt") as caught:
        caller.complete(server.url, timeout=2)
    assert time.monotonic() - begun < 2, "said at once, not after the time was up"
    assert (len(server.requests), caught.value.attempts) == (1, 1)


def test_the_retry_budget_ends_a_storm(server: Scripted):
    server.script(*[refusal("overloaded", retryable=True)] * 200)
    with ClaudeClient(server.url, max_retries=1000, retry_delay=0) as client:
        with pytest.raises(ServerError, match="retry budget is used up"):
            client.complete("hi")
    assert len(server.requests) == 101, "500 tokens, 5 for each retry of a call that was throttled"


def test_health_makes_one_attempt(server: Scripted):
    server.script(refusal("overloaded", retryable=True))
    with ClaudeClient(server.url, **FAST) as client:
        with pytest.raises(ServerError):
            client.health()
    assert len(server.requests) == 1


@pytest.mark.parametrize("closing", ["before the request", "by a reset after it", "in silence after it"])
def test_a_kept_connection_that_has_died_costs_no_attempt(server: Scripted, closing):
    may_close, closed = threading.Event(), threading.Event()

    def close_when_told(connection):
        may_close.wait(10)
        threading.Timer(0.1, closed.set).start()
        hang_up(connection)

    if closing == "before the request":
        server.script([*ok("first"), close_when_told], ok("second"))
    else:
        server.script(ok("first"), [reset if "reset" in closing else hang_up], ok("second"))
    with ClaudeClient(server.url, max_retries=1) as client:
        client.complete("hi")
        may_close.set()
        assert closing != "before the request" or closed.wait(10)
        assert client.complete("hi").content == "second"
    assert server.requests[0].connection != server.requests[-1].connection


def test_a_new_connection_that_dies_costs_an_attempt(server: Scripted, caller):
    server.script([*ok(Connection="close"), hang_up], [reset], ok("the call was made twice"))
    with pytest.raises(APIConnectionError):
        caller.complete(server.url, {}, {}, max_retries=1)
    assert len(server.requests) == 2, "the connection was not reused, so that its death is the attempt's"


@pytest.mark.parametrize(
    "begun",
    [
        [START, event("error", envelope("overloaded", retryable=True)), LAST],
        [START, hang_up],
        [SSE, hang_up],
        refusal("overloaded", retryable=True),
    ],
    ids=["an error event", "a break after the start", "a break after the head", "a refusal"],
)
def test_a_stream_that_fails_before_its_first_text_is_tried_again(server: Scripted, caller, begun):
    server.script(begun, [START, delta("he"), delta("llo"), done("hello")])
    texts, stream, error = caller.stream(server.url, **FAST)
    assert error is None and "".join(texts) == stream.text == stream.response.content == "hello"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "failing, cls",
    [
        ([event("error", envelope("overloaded", retryable=True)), LAST], ServerError),
        ([hang_up], APIConnectionError),
        ([reset], APIConnectionError),
        ([LAST], APIConnectionError),
    ],
    ids=["an error event", "a break", "a reset", "an end without done"],
)
def test_a_stream_that_fails_after_its_first_text_raises(server: Scripted, caller, failing, cls):
    server.script([START, delta("he"), 0.2, *failing], [hold])
    texts, stream, error = caller.stream(server.url, **FAST)
    assert isinstance(error, cls), error
    assert (texts, stream.text, stream.id, stream.response) == (["he"], "he", "call_1", None)
    assert len(server.requests) == 1

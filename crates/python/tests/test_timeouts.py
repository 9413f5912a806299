"""Deadlines: total for a whole answer, to the first text and between texts for a stream. Heartbeats are not text, queueing is not time."""

import time

import pytest

from answers import HEARTBEAT, QUEUED, START, SSE, delta, done, ok, refusal
from claude_code_api import ClaudeClient, TimeoutError
from scripted import Scripted, hold, repeat

LATE = 4.0  # seconds later than planned that still pass on a busy machine


@pytest.fixture
def took():
    """Seconds since the test began."""
    begun = time.monotonic()
    return lambda: time.monotonic() - begun


def test_a_calls_timeout_is_total_over_its_attempts(server: Scripted, caller, took):
    server.script(*[[0.35, *refusal("overloaded", retryable=True)]] * 2, [hold])
    with pytest.raises(TimeoutError, match="1.2 s") as caught:
        caller.complete(server.url, timeout=1.2, max_retries=50, retry_delay=0.01)
    assert 1.1 < took() < 1.2 + LATE
    assert len(server.requests) == 3
    assert caught.value.code is None and caught.value.status_code is None
    server.await_hangup()


def test_the_calls_own_timeout_wins_over_the_clients(server: Scripted, caller, took):
    server.script([hold])
    with pytest.raises(TimeoutError):
        caller.complete(server.url, {"timeout": 0.3}, timeout=60)
    assert 0.3 <= took() < 0.3 + LATE


def test_the_service_is_given_a_little_less_than_the_time_that_is_left(server: Scripted, caller):
    server.script([0.5, *refusal("overloaded", retryable=True)], ok(), ok())
    caller.complete(server.url, {"timeout": 3}, {"timeout": 0.4}, retry_delay=0.01)
    first, second, short = [request.body["timeout"] for request in server.requests]
    assert 2.5 < first <= 2.75, "250 ms less"
    assert 1.5 < second <= first - 0.5, "the second attempt gets what is left"
    assert 0.1 < short <= 0.2, "of a short time, half"


def test_a_timeout_that_the_service_reports_is_not_tried_again(server: Scripted, caller):
    server.script(refusal("timeout"), ok())
    with pytest.raises(TimeoutError) as caught:
        caller.complete(server.url)
    assert (caught.value.status_code, caught.value.code, len(server.requests)) == (504, "timeout", 1)


def test_health_has_the_clients_timeout(server: Scripted, took):
    server.script([hold])
    with ClaudeClient(server.url, timeout=0.3) as client, pytest.raises(TimeoutError):
        client.health()
    assert took() < 0.3 + LATE


@pytest.mark.parametrize("silent", [[hold], [SSE, hold], [START, hold]], ids=["no head", "no event", "no text"])
def test_a_stream_waits_timeout_for_its_first_text(server: Scripted, caller, took, silent):
    server.script(silent, silent)
    texts, _, error = caller.stream(server.url, timeout=0.5, retry_delay=0.01)
    assert isinstance(error, TimeoutError) and "0.5 s" in str(error)
    assert texts == [] and 0.5 <= took() < 0.5 + LATE
    assert len(server.requests) == 1
    server.await_hangup()


def test_time_in_the_services_queue_does_not_count(server: Scripted, caller, took):
    queue = [step for _ in range(12) for step in (QUEUED, 0.15)]
    server.script([SSE, *queue, START[len(SSE) :], delta("hello"), done("hello")])
    texts, _, error = caller.stream(server.url, timeout=1)
    assert error is None and texts == ["hello"]
    assert took() > 1.5


def test_heartbeats_are_not_text(server: Scripted, caller, took):
    server.script([START, repeat(HEARTBEAT, 0.05)], [START, delta("he"), repeat(HEARTBEAT, 0.05)])
    for texts in ([], ["he"]):
        got, _, error = caller.stream(server.url, timeout=0.6)
        assert isinstance(error, TimeoutError) and got == texts
    assert took() < 1.2 + LATE
    server.await_hangup(2)


def test_a_stream_waits_timeout_from_text_to_text(server: Scripted, caller, took):
    slowly = [step for _ in range(4) for step in (delta("x"), 0.3)]
    server.script([START, *slowly, hold])
    texts, stream, error = caller.stream(server.url, timeout=0.8)
    assert isinstance(error, TimeoutError) and "no text within 0.8 s" in str(error)
    assert "".join(texts) == stream.text == "xxxx", "1.2 s of texts are no timeout"
    assert 0.9 + 0.8 <= took() < 1.7 + LATE
    server.await_hangup()


def test_time_that_the_reader_takes_does_not_count(server: Scripted, caller):
    server.script([START, delta("one"), 1.5, delta("two"), done("onetwo")])
    texts, _, error = caller.stream(server.url, on_text=lambda _: time.sleep(1.0), timeout=0.8)
    assert error is None, "0.5 s of waiting are no timeout: %s" % error
    assert texts == ["one", "two"]


def test_a_stream_has_as_long_on_the_service_as_it_may_take(server: Scripted, caller):
    server.script([START, done("one")], [START, done("one")])
    caller.stream(server.url, timeout=3)
    caller.stream(server.url, call={"total_timeout": 7})
    assert [request.body["timeout"] for request in server.requests] == [24 * 60 * 60, 7], "the default there is 600 s"


def test_total_timeout_ends_a_stream_that_goes_on(server: Scripted, caller, took):
    server.script([START, repeat(delta("x"), 0.05)])
    texts, stream, error = caller.stream(server.url, call={"total_timeout": 0.7})
    assert isinstance(error, TimeoutError) and "total_timeout" in str(error)
    assert len(texts) > 2 and stream.response is None
    assert took() < 0.7 + LATE
    server.await_hangup()


@pytest.mark.parametrize("silent", [[hold], [START, hold]], ids=["no head", "no text"])
def test_total_timeout_holds_before_the_first_text(server: Scripted, caller, took, silent):
    server.script(silent)
    _, _, error = caller.stream(server.url, timeout=6, call={"total_timeout": 0.5})
    assert isinstance(error, TimeoutError)
    assert took() < 0.5 + LATE


def test_total_timeout_holds_in_the_services_queue(server: Scripted, caller, took):
    server.script([SSE, repeat(QUEUED, 0.05)])
    _, _, error = caller.stream(server.url, call={"total_timeout": 0.5})
    assert isinstance(error, TimeoutError)
    assert took() < 0.5 + LATE


def test_total_timeout_holds_over_attempts(server: Scripted, caller, took):
    server.script(*[[0.3, *refusal("overloaded", retryable=True)]] * 20)
    _, _, error = caller.stream(server.url, max_retries=50, retry_delay=0.01, call={"total_timeout": 0.8})
    assert error is not None and took() < 0.8 + LATE
    assert len(server.requests) < 5


def test_a_timeout_says_how_many_attempts_were_made(server: Scripted, caller):
    server.script(refusal("overloaded", retryable=True, retry_after=0.0), [hold])
    with pytest.raises(TimeoutError) as late:
        caller.complete(server.url, {}, timeout=1.0, retry_delay=0.01)
    assert late.value.attempts == 2

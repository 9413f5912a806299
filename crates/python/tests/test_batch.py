"""Batches: results in the order of their prompts, failures, lost connections, arguments, progress."""

import asyncio
import io
import pickle

import pytest

from answers import HEARTBEAT, SSE, refusal, result, totals
from claude_code_api import (
    AsyncClaudeClient,
    BatchInterrupted,
    BatchResponse,
    BatchResult,
    ClaudeClient,
    InvalidRequestError,
    ServerError,
)
from scripted import Scripted, hang_up, reset

FAST = {"retry_delay": 0.01}


def batch(kind, url, prompts, options=None, **call):
    if kind == "sync":
        with ClaudeClient(url, **(options or {})) as client:
            return client.batch(prompts, **call)

    async def main():
        async with AsyncClaudeClient(url, **(options or {})) as client:
            return await client.batch(prompts, **call)

    return asyncio.run(main())


def test_results_stand_in_the_order_of_their_prompts(service, caller):
    prompts = ["Count to five", {"prompt": "Say hello", "id": "greeting"}, "List 3 colors"] * 4
    project = "batches-of-" + caller.kind
    answer = batch(caller.kind, service.url, prompts, project_id=project, max_tokens=5)
    assert isinstance(answer, BatchResponse) and (answer.total, answer.completed, answer.failed) == (12, 12, 0)
    texts = [prompt if isinstance(prompt, str) else prompt["prompt"] for prompt in prompts]
    assert [one.prompt for one in answer.results] == texts
    assert [one.index for one in answer.results] == list(range(12))
    assert [one.id for one in answer.results] == [None, "greeting", None] * 4
    for one in answer.results:
        assert isinstance(one, BatchResult) and one.status == "completed" and one.content and one.error is None
        assert one.usage.total_tokens > 0 and one.call_id.startswith("call_") and one.model_id
    assert answer.total_tokens == sum(one.usage.total_tokens for one in answer.results)
    with ClaudeClient(service.url) as client:
        assert client.get_usage("day", project).total_tokens == answer.total_tokens


def test_what_was_asked_for_is_what_is_sent(server: Scripted, caller):
    server.script([SSE, totals(0)])
    prompts = (text for text in [])
    call = dict(model="haiku", project_id="p", parallel=False, timeout=9, system="s", max_tokens=7, max_concurrency=3)
    batch(caller.kind, server.url, prompts, max_cost=0.5, routing="economy", idempotency_key="mine", **call)
    (request,) = server.requests
    assert request.body == dict(call, prompts=[], max_cost=0.5, routing="economy", stream=True)
    assert (request.path, request.headers["idempotency-key"]) == ("/v1/batch", "mine")


def test_a_failed_prompt_fails_no_batch_and_progress_is_told(server: Scripted, caller):
    route = {"tier": "haiku", "reason": "it is worth its price"}
    server.script([SSE, result(2, route=route), HEARTBEAT, result(0, error_code="budget_exceeded"), result(1), totals(3)])
    told = []
    answer = batch(caller.kind, server.url, ["a", "b", "c"], on_progress=lambda *counts: told.append(counts))
    assert told == [(1, 0, 3), (1, 1, 3), (2, 1, 3)]
    failed, second, third = answer.results
    assert (failed.status, failed.error, failed.error_code) == ("failed", "scripted trouble", "budget_exceeded")
    assert (failed.content, failed.usage, failed.cost, failed.cost_nanos) == (None, None, None, None)
    assert [second.content, third.content] == ["c1", "c2"]
    assert [failed.route, second.route, third.route] == [None, None, route]
    assert (answer.completed, answer.failed, answer.total_tokens, answer.total_cost_nanos) == (2, 1, 14, 46000)
    assert answer.total_cost == pytest.approx(0.000046) and second.cost == pytest.approx(0.000023)


@pytest.mark.parametrize("lost", [hang_up, reset], ids=["eof", "reset"])
def test_a_lost_connection_is_made_good_under_the_same_key_and_no_result_comes_twice(server: Scripted, caller, lost):
    whole = [SSE, result(0), result(1), result(2), totals(3)]
    server.script(refusal("overloaded", retryable=True), [SSE, result(1), 0.2, lost], whole)
    told = []
    answer = batch(caller.kind, server.url, ["a", "b", "c"], FAST, on_progress=lambda *counts: told.append(counts))
    assert (answer.completed, len(told)) == (3, 3)
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1 and len(server.requests) == 3
    assert server.requests[0].body == server.requests[2].body


def test_what_is_wrong_with_all_of_it_raises(service, server: Scripted, caller):
    with pytest.raises(InvalidRequestError, match="gpt-4"):
        batch(caller.kind, service.url, ["hi"], model="gpt-4")
    server.script(*[refusal("overloaded", retryable=True)] * 3)
    with pytest.raises(ServerError) as caught:
        batch(caller.kind, server.url, ["hi"], FAST)
    assert caught.value.attempts == len(server.requests) == 3


@pytest.mark.parametrize(
    "prompts, call, error, says",
    [
        ("one text", {}, TypeError, "prompts"),
        ([b"bytes"], {}, TypeError, r"prompts\[0\]"),
        (["a", {"id": "x"}], {}, TypeError, r"prompts\[1\]"),
        ([{"prompt": "a", "id": 7}], {}, TypeError, r"prompts\[0\]: id"),
        (["a", "\ud800"], {}, ValueError, r"prompts\[1\]"),
        (None, {}, TypeError, "prompts"),
        (["a"], {"max_cost": float("nan")}, ValueError, "max_cost"),
        ([{"prompt": "a", "ident": "x"}], {}, TypeError, r"prompts\[0\]"),
        (["a"], {"routing": "cheap"}, ValueError, "routing: takes economy, balanced, quality"),
        (["a"], {"timeout": 0}, ValueError, "timeout"),
        (["a"], {"max_concurrency": 0}, ValueError, "max_concurrency"),
        (["a"], {"max_tokens": 0}, ValueError, "max_tokens"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(server: Scripted, caller, prompts, call, error, says):
    with pytest.raises(error, match=says):
        batch(caller.kind, server.url, prompts, **call)
    assert not server.requests


def test_an_interrupt_is_a_keyboard_interrupt_and_can_be_pickled():
    interrupt = BatchInterrupted(BatchResponse(3, 0, 0, [], 0.0, 0))
    assert isinstance(interrupt, KeyboardInterrupt) and "0 of 3" in str(interrupt)
    assert pickle.loads(pickle.dumps(interrupt)).results == interrupt.results


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_drawn_on_a_terminal_when_it_is_asked_for(server: Scripted, caller, monkeypatch):
    answer = [SSE, result(0), result(1, error_code="timeout"), totals(2)]
    for stderr, progress, shown in ((Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)):
        server.script(answer)
        monkeypatch.setattr("sys.stderr", stderr)
        batch(caller.kind, server.url, ["a", "b"], progress=progress)
        assert bool(stderr.getvalue()) == shown
        assert not shown or stderr.getvalue().endswith("\r[%s] 2/2, 1 failed, $0.0000\n" % ("#" * 30))

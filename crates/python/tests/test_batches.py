"""Stored batches: on the real service, which works on whoever waits; and over connections that the scripted server breaks."""

import asyncio
import json
import pickle
import signal
import time

import pytest

from answers import LAST, chunk, http, refusal, response
from claude_code_api import (
    APIConnectionError,
    AsyncClaudeClient,
    BatchJob,
    BatchResponse,
    BatchResult,
    ClaudeAPIError,
    ClaudeClient,
    InvalidRequestError,
    TimeoutError,
)
from programs import Program
from scripted import Scripted, hang_up, hold, reset

FAST = {"retry_delay": 0.01}
UNKNOWN = "batch_01a21378be8f7744b64a5b978ca924f3"
NDJSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stored:
    """``client.batches`` of either client, one operation at a time."""

    def __init__(self, kind, url, **options):
        self.kind, self.url, self.options = kind, url, options

    def __getattr__(self, operation):
        def call(*arguments, **named):
            if self.kind == "sync":
                with ClaudeClient(self.url, **self.options) as client:
                    done = getattr(client.batches, operation)(*arguments, **named)
                    return list(done) if operation == "results" else done

            async def main():
                async with AsyncClaudeClient(self.url, **self.options) as client:
                    done = getattr(client.batches, operation)(*arguments, **named)
                    return [one async for one in done] if operation == "results" else await done

            return asyncio.run(main())

        return call


def test_a_batch_is_stored_waited_for_and_read(service, caller):
    batches = Stored(caller.kind, service.url, project_id="stored-" + caller.kind)
    prompts = ["Count to five", {"prompt": "Say hello", "id": "greeting"}, "List 3 colors"]
    job = batches.create(prompts, max_tokens=5)
    assert isinstance(job, BatchJob) and (job.status, job.total, job.ended_at) == ("running", 3, None)
    assert pickle.loads(pickle.dumps(job)) == job
    told = []
    answer = batches.wait(job, timeout=60, on_progress=lambda *counts: told.append(counts))
    assert isinstance(answer, BatchResponse) and (answer.total, answer.completed, answer.failed) == (3, 3, 0)
    assert [one.index for one in answer.results] == [0, 1, 2] and [one.id for one in answer.results] == [None, "greeting", None]
    assert told[-1] == (3, 0, 3) and len(set(told)) == len(told), told
    ended = batches.get(job.id)
    assert (ended.status, ended.completed, ended.total_tokens) == ("ended", 3, answer.total_tokens)
    assert ended.project_id == "stored-" + caller.kind and ended.created_at < ended.ended_at < ended.expires_at
    came = batches.results(ended)
    assert all(isinstance(one, BatchResult) for one in came) and sorted(one.index for one in came) == [0, 1, 2]
    assert batches.results(ended, after=2) == came[2:]
    assert batches.list() == [ended] and batches.list(before=ended) == [] and batches.list("of-nobody") == []
    assert batches.cancel(ended) == ended, "it has ended"


def test_a_batch_that_is_sent_again_under_its_key_is_the_same(service, caller):
    batches = Stored(caller.kind, service.url)
    first, again = [batches.create(["hi"], max_tokens=2, idempotency_key="same-" + caller.kind) for _ in range(2)]
    assert first.id == again.id
    assert batches.wait(first).completed == 1


def test_a_wait_that_is_over_cancels_nothing_and_cancel_does(service, caller):
    batches = Stored(caller.kind, service.url)
    job = batches.create(["Tell me a very long story"] * 3, max_tokens=2000, max_concurrency=1)
    with pytest.raises(TimeoutError, match="has not ended within 0.3 s, and goes on"):
        batches.wait(job, timeout=0.3)
    assert batches.get(job).status == "running"
    assert batches.cancel(job).status in ("cancelling", "cancelled")
    answer = batches.wait(job)
    assert (answer.total, answer.completed, answer.results) == (3, 0, []) and batches.get(job).status == "cancelled"
    service.until_running(0)


INTERRUPTED = """
    import sys
    from claude_code_api import BatchInterrupted, ClaudeClient
    client = ClaudeClient(sys.argv[1])
    job = client.batches.create(["Tell me a very long story"], max_tokens=2000)
    print(job.id, flush=True)
    try:
        client.batches.wait(job)
    except KeyboardInterrupt as interrupt:
        assert not isinstance(interrupt, BatchInterrupted)
        print(client.batches.get(job).status)
"""


def test_ctrl_c_in_wait_leaves_the_batch_running(service):
    service.until_running(0)
    with Program(INTERRUPTED, service.url) as program:
        job = program.process.stdout.readline().strip()
        service.until_running(1)
        program.process.send_signal(signal.SIGINT)
        assert program.end().lines == ["running"]
    batches = Stored("sync", service.url)
    assert service.running() == 1, "its program has gone, and it goes on"
    batches.cancel(job)
    service.until_running(0)
    assert batches.wait(job).completed == 0


def test_cancelling_a_task_that_waits_leaves_the_batch_running(service):
    async def main():
        async with AsyncClaudeClient(service.url) as client:
            job = await client.batches.create(["Tell me a very long story"], max_tokens=2000)
            task = asyncio.ensure_future(client.batches.wait(job))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.batches.get(job)).status == "running"
            await client.batches.cancel(job)
            await client.batches.wait(job)

    asyncio.run(main())


def test_what_is_no_batch_is_said_so(service, caller):
    batches = Stored(caller.kind, service.url)
    for operation in ("get", "results", "cancel", "wait"):
        with pytest.raises(ClaudeAPIError) as caught:
            getattr(batches, operation)(UNKNOWN)
        assert caught.value.code == "not_found" and UNKNOWN in str(caught.value)
        with pytest.raises(ValueError, match="id: "):
            getattr(batches, operation)("../projects")
    with pytest.raises(InvalidRequestError, match="gpt-4"):
        batches.create(["hi"], model="gpt-4")
    with pytest.raises(ValueError, match="after"):
        batches.results(UNKNOWN, after=-1)
    with pytest.raises(TypeError, match="batch: takes a text"):
        batches.get(7)
    with pytest.raises(ValueError, match="timeout"):
        batches.wait(UNKNOWN, timeout=0)
    with pytest.raises(TypeError, match="prompts"):
        batches.create("one text")
    for no_flag in ("yes", 1, None):
        with pytest.raises(TypeError, match="economy: takes True or False"):
            batches.create(["hi"], economy=no_flag)


def line(index):
    usage = response()["usage"]
    data = {"index": index, "id": None, "prompt": "p", "status": "completed", "content": "c%d" % index, "usage": usage}
    return json.dumps(data) + "\n"


@pytest.mark.parametrize("lost", [hang_up, reset], ids=["eof", "reset"])
def test_results_go_on_after_a_lost_connection_and_none_comes_twice(server: Scripted, caller, lost):
    server.script(
        refusal("overloaded", retryable=True),
        [NDJSON, chunk(line(3) + line(0)), chunk(line(1)[:9]), 0.2, lost],
        [NDJSON, chunk(line(1)), chunk(line(2)), LAST],
    )
    came = Stored(caller.kind, server.url, **FAST).results("batch_1", after=4)
    assert [one.content for one in came] == ["c3", "c0", "c1", "c2"]
    assert [request.path for request in server.requests] == ["/v1/batches/batch_1/results?after=%d" % n for n in (4, 4, 6)]


def test_results_that_break_off_for_good_raise(server: Scripted, caller):
    server.script(*[[NDJSON, chunk(line(0)[:9]), 0.1, hang_up]] * 3)
    with pytest.raises(APIConnectionError) as caught:
        Stored(caller.kind, server.url, **FAST).results("batch_1")
    assert caught.value.attempts == len(server.requests) == 3


def taken(**more):
    counts = dict.fromkeys(("total", "completed", "failed", "total_cost", "total_cost_nanos", "total_tokens"), 0)
    return http(202, dict(counts, id="batch_1", project_id="p", status="running", created_at="2026-11-25T00:00:00Z", **more))


def test_a_service_that_says_nothing_is_waited_for_no_longer_than_was_asked(server: Scripted, caller):
    server.script([hold])
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="has not ended within 0.4 s, and goes on"):
        Stored(caller.kind, server.url).wait("batch_1", timeout=0.4)
    assert time.monotonic() - begun < 5


def test_what_was_asked_for_is_what_is_sent_under_one_key(server: Scripted, caller):
    server.script(refusal("overloaded", retryable=True), taken())
    call = dict(model="haiku", project_id="p", parallel=False, timeout=9, system="s", max_tokens=7, max_concurrency=3)
    stored = Stored(caller.kind, server.url, **FAST).create(["a"], max_cost=0.5, routing=2, **call)
    assert (stored.id, stored.cancelled_at, stored.ended_at, stored.expires_at) == ("batch_1", None, None, None)
    first, second = server.requests
    assert first.body == second.body == dict(call, prompts=[{"prompt": "a"}], max_cost=0.5, routing=2)
    assert first.path == "/v1/batches" and first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_economy_is_sent_where_it_is_asked_for_and_no_default_beside_it(server: Scripted, caller):
    server.script(taken(economy=True), taken(economy=False), taken())  # the last is a service that knows nothing of it
    batches = Stored(caller.kind, server.url)
    cheap, plain, older = batches.create(["a"], economy=True), batches.create(["a"]), batches.create(["a"], economy=False)
    assert (cheap.economy, plain.economy, older.economy) == (True, False, False) and "economy=True" in repr(cheap)
    sent = {"prompts": [{"prompt": "a"}], "model": "auto"}
    assert [request.body for request in server.requests] == [dict(sent, economy=True), sent, sent]


def test_who_stops_reading_closes_the_connection(server: Scripted):
    server.script(*[[NDJSON, chunk(line(0) + line(1)), hold]] * 2)
    client = ClaudeClient(server.url)
    results = client.batches.results("batch_1")
    assert next(results).content == "c0"
    del results
    server.await_hangup()
    client.close()

    async def main():
        async with AsyncClaudeClient(server.url) as client:
            results = client.batches.results("batch_1")
            assert (await results.__anext__()).content == "c0"
            await results.aclose()
            await asyncio.get_running_loop().run_in_executor(None, server.await_hangup, 2)

    asyncio.run(main())

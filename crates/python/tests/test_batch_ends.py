"""Ways in which a batch ends early, or its service does: left, interrupted, cancelled, forked, killed."""

import asyncio
import re
import signal
import subprocess
import time

import pytest

from answers import SSE, result
from claude_code_api import AsyncClaudeClient, ClaudeClient
from conftest import binary, environment
from programs import Program, run
from scripted import Scripted, hold
from test_batch import batch
from test_processes import FORK


def launched(data, listen="localhost:0"):
    """A service of its own, to be killed: the process, and its URL."""
    command = [str(binary()), "serve", "--listen", listen, "--local-batch-threads", "1", "--data-dir", data, "--log", "error"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
    return process, re.search(r"http://\S+", process.stdout.readline().decode()).group()


def test_a_batch_outlives_the_service_that_it_began_on(tmp_path):
    process, url = launched(str(tmp_path))
    running, told = [process], []

    def kill_once(*counts):
        told.append(counts)
        if len(told) == 3:
            running[0].kill()
            running[0].wait()
            running[0] = launched(str(tmp_path), "localhost:" + url.rsplit(":", 1)[1])[0]

    try:
        with ClaudeClient(url, max_retries=10, retry_delay=0.1) as client:
            answer = client.batch(["Say hello"] * 8, max_tokens=10, max_concurrency=2, on_progress=kill_once)
            assert told == [(count, 0, 8) for count in range(1, 9)] and answer.completed == 8
            assert client.get_usage("day").total_tokens >= answer.total_tokens
    finally:
        running[0].kill()
        running[0].wait()


def test_results_come_as_they_complete_and_leaving_cancels_the_rest(server: Scripted):
    server.script([SSE, result(2), result(0), hold])
    client = ClaudeClient(server.url)
    with client.batch_as_completed(["a", "b", "c"]) as results:
        assert not server.requests, "sent when the first result is asked for"
        assert [next(results).index, next(results).index] == [2, 0]
        assert (results.total, results.completed, results.failed, results.total_tokens) == (3, 2, 0, 14)
    server.await_hangup()
    assert list(results) == []
    client.close()


@pytest.mark.parametrize("leave", ["break", "close"])
def test_an_iterator_that_is_left_cancels_the_rest(server: Scripted, leave):
    server.script(*[[SSE, result(0), hold]] * 2)
    client, async_client = ClaudeClient(server.url), AsyncClaudeClient(server.url)

    def sync():
        results = client.batch_as_completed(["a", "b"])
        for _ in results:
            break
        if leave == "close":
            results.close()

    async def asynchronous():
        results = async_client.batch_as_completed(["a", "b"])
        async for one in results:
            assert one.index == 0
            break
        if leave == "close":
            await results.close()
        del results
        await asyncio.get_running_loop().run_in_executor(None, server.await_hangup, 2)

    sync()
    server.await_hangup()
    asyncio.run(asynchronous())
    client.close()


def test_an_exception_of_on_progress_comes_through_and_cancels_the_rest(server: Scripted, caller):
    server.script([SSE, result(0), hold])

    def enough(*_):
        raise LookupError("enough")

    with pytest.raises(LookupError):
        batch(caller.kind, server.url, ["a", "b"], on_progress=enough)
    server.await_hangup()


INTERRUPTED = """
    import sys, time
    from claude_code_api import BatchInterrupted, ClaudeClient
    client = ClaudeClient(sys.argv[1])
    prompts = ["Say hello"] + ["Tell me a very long story"] * 20
    def told(*counts): print(*counts, flush=True)
    try:
        client.batch(prompts, max_tokens=int(sys.argv[2]), max_concurrency=2, on_progress=told)
    except KeyboardInterrupt as interrupt:
        print(time.monotonic())
        assert isinstance(interrupt, BatchInterrupted)
        partial = interrupt.results
        print(partial.total, partial.completed, [one.index for one in partial.results], client.health()["status"])
"""


def test_ctrl_c_raises_and_cancels_the_rest_on_the_service(service, figure):
    service.until_running(0)
    with Program(INTERRUPTED, service.url, "2000") as program:
        service.until_running(2)
        time.sleep(0.2)
        sent = time.monotonic()
        program.process.send_signal(signal.SIGINT)
        caught, partial = program.end().lines
        took = float(caught) - sent
        service.until_running(0)
    figure("Ctrl-C in a batch, until BatchInterrupted", "%.0f ms" % (took * 1e3))
    assert took < 1 and partial == "21 0 [] ok"


def test_ctrl_c_keeps_the_results_that_came(server: Scripted):
    server.script([SSE, result(4), result(1), hold])
    source = INTERRUPTED.replace(', client.health()["status"]', "")
    with Program(source, server.url, "9") as program:
        assert [program.process.stdout.readline().split()[0] for _ in range(2)] == ["1", "2"]
        program.process.send_signal(signal.SIGINT)
        assert program.end().lines[1:] == ["21 2 [1, 4]"]
    server.await_hangup()


def test_cancelling_a_task_cancels_the_batch(server: Scripted, figure):
    server.script([SSE, result(0), hold])

    async def main():
        async with AsyncClaudeClient(server.url) as client:
            task = asyncio.ensure_future(client.batch(["a", "b"]))
            while not server.requests:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            cancelled = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.get_running_loop().run_in_executor(None, server.await_hangup)
            return server.hangups[0] - cancelled

    figure("asyncio: cancelled batch, until its socket is closed", "%.1f ms" % (asyncio.run(main()) * 1e3))


def test_batches_work_on_both_sides_of_a_fork(service):
    source = """
    client, asynchronous = ClaudeClient(url), AsyncClaudeClient(url)
    def both():
        assert client.batch(["a", "b"], **short).completed == 2
        assert asyncio.run(asynchronous.batch(["a", "b"], **short)).completed == 2
    both()
    half, other = client.batch_as_completed(["a", "b"], **short), asynchronous.batch_as_completed(["a", "b"], **short)
    next(half)
    asyncio.run(other.__anext__())
    def in_the_child():
        global half, other
        both()
        for parents in (lambda: next(half), lambda: asyncio.run(other.__anext__())):
            try: parents()
            except (RuntimeError, ValueError) as error: assert "forked" in str(error)
            else: raise AssertionError("read")
        del half, other
        both()
    assert child(in_the_child) == 0
    assert next(half).status == asyncio.run(other.__anext__()).status == "completed"
    both()
    """
    run(FORK + source, service.url)

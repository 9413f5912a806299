"""A stream that is given up, whichever way, closes its connection, and that stops the generation on the service."""

import asyncio
import gc
import logging
import threading
import time

import pytest

from answers import SSE, START, delta, result
from claude_code_api import AsyncClaudeClient, ClaudeClient
from scripted import Scripted, hold, repeat, until

# Ways of giving a stream up. Each leaves the client alive, so that only the stream's end closes the socket.


def leave_by_break(client):
    for _ in client.stream("hi"):
        break


def leave_by_with(client):
    with client.stream("hi") as stream:
        next(stream)


def leave_by_close(client):
    stream = client.stream("hi")
    next(stream)
    stream.close()
    return stream


def leave_by_del(client):
    stream = client.stream("hi")
    next(stream)
    del stream


def leave_in_a_cycle(client):
    cycle = [client.stream("hi")]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()


async def async_break(client):
    async for _ in client.stream("hi"):
        break


async def async_with(client):
    async with client.stream("hi") as stream:
        await stream.__anext__()


async def async_close(client):
    stream = client.stream("hi")
    await stream.__anext__()
    await stream.close()
    return stream


async def async_del(client):
    stream = client.stream("hi")
    await stream.__anext__()
    del stream


@pytest.mark.parametrize("pace", [[hold], [repeat(delta("x"), 0.01)]], ids=["silent", "texts coming"])
@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_with, leave_by_close, leave_by_del, leave_in_a_cycle], ids=lambda way: way.__name__
)
def test_a_stream_that_is_left_is_closed(server: Scripted, leave, pace):
    server.script([START, delta("he"), *pace])
    client = ClaudeClient(server.url)
    left = leave(client)
    server.await_hangup()
    del left
    client.close()


@pytest.mark.parametrize("pace", [[hold], [repeat(delta("x"), 0.01)]], ids=["silent", "texts coming"])
@pytest.mark.parametrize(
    "leave", [async_break, async_with, async_close, async_del], ids=lambda way: way.__name__
)
def test_an_async_stream_that_is_left_is_closed(server: Scripted, leave, pace):
    server.script([START, delta("he"), *pace])

    async def main():
        client = AsyncClaudeClient(server.url)
        left = await leave(client)
        await asyncio.get_running_loop().run_in_executor(None, server.await_hangup)
        del left
        await client.close()

    asyncio.run(main())


def test_an_async_stream_whose_reader_was_cancelled_keeps_its_text(server: Scripted):
    server.script(*[[START, delta("he"), hold]] * 10)

    async def main():
        async with AsyncClaudeClient(server.url) as client:
            for _ in range(10):
                stream = client.stream("hi")
                assert await stream.__anext__() == "he"
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.__anext__(), 0.05)
                assert (stream.text, stream.id, stream.response) == ("he", "call_1", None)

    asyncio.run(main())


@pytest.mark.parametrize(
    "begin, answer",
    [
        (lambda client: client.stream("hi"), [START, delta("he"), hold]),
        (lambda client: client.batch_as_completed(["a", "b"]), [SSE, result(0), hold]),
    ],
    ids=["stream", "batch"],
)
def test_closing_ends_what_another_task_reads(server: Scripted, begin, answer):
    server.script(answer)

    async def count(source):
        return len([1 async for _ in source])

    async def main():
        async with AsyncClaudeClient(server.url) as client:
            source = begin(client)
            reader = asyncio.ensure_future(count(source))
            await asyncio.get_running_loop().run_in_executor(None, server.await_requests, 1)
            await asyncio.sleep(0.2)
            await source.close()
            assert await asyncio.wait_for(reader, 2) == 1
            await asyncio.get_running_loop().run_in_executor(None, server.await_hangup)
            return source

    source = asyncio.run(main())
    assert getattr(source, "text", "he") == "he"


def test_a_stream_left_early_stops_the_generation_on_the_service(service):
    service.until_running(0)
    with ClaudeClient(service.url) as client:
        for _ in client.stream("Tell me a very long story", max_tokens=2000):
            assert until(service.running, "the call runs") == 1
            break
        service.until_running(0)


def test_a_stream_that_is_left_while_another_thread_logs_holds_nobody_up(service, caplog):
    caplog.set_level(logging.DEBUG, "claude_code_api")
    begun, client = time.monotonic(), ClaudeClient(service.url)

    def leave():
        for _ in range(20):
            for _ in client.stream("Count to a hundred", max_tokens=200):
                break

    def complete():
        for _ in range(20):
            client.complete("hi", max_tokens=1)

    threads = [threading.Thread(target=work, daemon=True) for work in (leave, leave, complete, complete)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it waits for ever"
    print("measured  40 streams left beside 40 calls that log: %.1f s" % (time.monotonic() - begun))

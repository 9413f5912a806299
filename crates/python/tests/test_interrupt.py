"""Ctrl-C, signals and cancellation: the wait ends at once, and so does the generation on the service."""

import asyncio
import signal
import time

import pytest

from answers import START, delta, done
from claude_code_api import AsyncClaudeClient
from programs import Program
from scripted import Scripted, hold

# A program's own clock is comparable with ours: it counts from the start of the machine.
COMPLETE = """
    import sys, time
    from claude_code_api import ClaudeClient
    client = ClaudeClient(sys.argv[1])
    try:
        client.complete("Tell me a very long story", max_tokens=2000)
    except KeyboardInterrupt:
        print(time.monotonic())
        print(client.health()["status"])
"""
STREAM = """
    import sys, time
    from claude_code_api import ClaudeClient
    client = ClaudeClient(sys.argv[1])
    stream = client.stream("Tell me a very long story", max_tokens=2000)
    try:
        for text in stream:
            pass
    except KeyboardInterrupt:
        print(time.monotonic())
        print(client.health()["status"])
"""
ASYNC = """
    import asyncio, sys, time
    from claude_code_api import AsyncClaudeClient
    async def main():
        async with AsyncClaudeClient(sys.argv[1]) as client:
            await client.complete("Tell me a very long story", max_tokens=2000)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print(time.monotonic())
        print("ok")
"""


@pytest.mark.parametrize("source", [COMPLETE, STREAM, ASYNC], ids=["complete", "stream", "asyncio.run"])
def test_ctrl_c_ends_the_wait_and_the_generation(service, figure, request, source):
    service.until_running(0)
    with Program(source, service.url) as program:
        service.until_running(1)
        time.sleep(0.2)
        sent = time.monotonic()
        program.process.send_signal(signal.SIGINT)
        ended = program.end()
        caught, status = ended.lines
        took = float(caught) - sent
        service.until_running(0)
        freed = time.monotonic() - sent
    name = request.node.callspec.id
    figure("Ctrl-C in %s, until KeyboardInterrupt" % name, "%.0f ms" % (took * 1e3))
    figure("Ctrl-C in %s, until program ended and service idle" % name, "%.0f ms" % (freed * 1e3))
    assert took < 1 and status == "ok" and ended.err == ""


def test_ctrl_c_ends_a_wait_between_attempts_and_for_a_connection(server: Scripted):
    server.script([b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 20\r\n\r\n"])
    source = COMPLETE.replace('print(client.health()["status"])', "print()")
    with Program(source, server.url) as program:
        server.await_requests(1)
        time.sleep(0.1)
        sent = time.monotonic()
        program.process.send_signal(signal.SIGINT)
        assert float(program.end().lines[0]) - sent < 1


def test_an_interrupted_stream_keeps_its_text(server: Scripted):
    server.script([START, delta("he"), hold])
    source = """
        import os, signal, sys, threading
        from claude_code_api import ClaudeClient
        stream = ClaudeClient(sys.argv[1]).stream("hi")
        try:
            for text in stream:
                threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        except KeyboardInterrupt:
            print(stream.text, stream.id, stream.response, list(stream))
    """
    with Program(source, server.url) as program:
        server.await_hangup()
        assert program.end().lines == ["he call_1 None []"]


def test_an_exception_of_another_signal_handler_comes_through(server: Scripted):
    server.script([hold], [START, delta("he"), hold])
    source = """
        import signal, sys
        from claude_code_api import ClaudeClient
        class Enough(Exception): pass
        def enough(*_): raise Enough("told so")
        signal.signal(signal.SIGALRM, enough)
        client = ClaudeClient(sys.argv[1])
        for wait in (lambda: client.complete("hi"), lambda: list(client.stream("hi"))):
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            try: wait()
            except Enough as error: print(error)
    """
    with Program(source, server.url) as program:
        server.await_hangup(2)
        assert program.end().lines == ["told so"] * 2


def test_a_signal_whose_handler_returns_disturbs_nothing(server: Scripted):
    server.script([START, 0.8, delta("hello"), done("hello")])
    source = """
        import signal, sys
        from claude_code_api import ClaudeClient
        calls = []
        signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        text = "".join(ClaudeClient(sys.argv[1]).stream("hi"))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(text, len(calls) > 2)
    """
    with Program(source, server.url) as program:
        assert program.end().lines == ["hello True"]


def test_cancelling_a_task_closes_its_socket(server: Scripted, figure):
    server.script([hold], [START, delta("he"), hold])

    async def read(client):
        async for _ in client.stream("hi"):
            pass

    async def main(begin):
        async with AsyncClaudeClient(server.url) as client:
            before = len(server.requests)
            task = asyncio.ensure_future(begin(client))
            while len(server.requests) == before:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            cancelled = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            # The loop goes on, as a server's does: nothing but the cancellation closes the socket.
            while len(server.hangups) == before and time.monotonic() < cancelled + 5:
                await asyncio.sleep(0.01)
            assert len(server.hangups) == before + 1
            return server.hangups[-1] - cancelled

    for name, begin in (("call", lambda client: client.complete("hi")), ("stream", read)):
        took = asyncio.run(main(begin))
        figure("asyncio: cancelled %s, until its socket is closed" % name, "%.1f ms" % (took * 1e3))


def test_wait_for_ends_a_call(server: Scripted):
    server.script([hold])

    async def main():
        async with AsyncClaudeClient(server.url) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.complete("hi"), 0.2)

    asyncio.run(main())
    server.await_hangup()

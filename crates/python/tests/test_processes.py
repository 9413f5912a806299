"""Forks, threads, event loops and the interpreter's exit: where clients on a native core use to hang."""

import asyncio
import gc
import os
import pickle
import threading
import weakref

import pytest

from answers import START, delta, done, http, ok
from claude_code_api import AsyncClaudeClient, ClaudeClient
from programs import run
from scripted import Scripted, hold

HEALTH = {"status": "ok", "version": "1", "services": {}}

# In a program: `child(f)` runs f in the child of a fork and gives its exit code, 0 when f came to its end.
FORK = """
    import asyncio, os, sys, warnings
    from claude_code_api import AsyncClaudeClient, ClaudeClient
    warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12, about forks of programs with threads
    url = sys.argv[1]
    short = dict(max_tokens=3)
    def child(f):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                f()
                code = 0
            finally:
                sys.stderr.flush(); sys.stdout.flush()
                os._exit(code)
        return os.waitpid(pid, 0)[1]
"""


def test_the_sync_client_works_on_both_sides_of_a_fork(service):
    source = """
    client = ClaudeClient(url)
    assert client.complete("hi", **short).content
    assert child(lambda: [client.complete("hi", **short) for _ in range(3)] + list(client.stream("hi", **short))) == 0
    assert child(lambda: client.close()) == 0
    assert child(lambda: child(lambda: client.health())) == 0, "a child's child"
    assert client.complete("hi", **short).content and "".join(client.stream("hi", **short))
    """
    run(FORK + source, service.url)


def test_the_async_client_works_on_both_sides_of_a_fork(service):
    source = """
    client = AsyncClaudeClient(url)
    async def use():
        await asyncio.gather(*[client.complete("hi", **short) for _ in range(3)])
        assert [text async for text in client.stream("hi", **short)]
    asyncio.run(use())
    assert child(lambda: asyncio.run(use())) == 0
    asyncio.run(use())
    async def fork_in_the_loop():
        await client.health()
        assert child(lambda: ClaudeClient(url).health()) == 0
        assert (await client.health())["status"] == "ok"
    asyncio.run(fork_in_the_loop())
    """
    run(FORK + source, service.url)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_clients_work_in_multiprocessing(service, tmp_path, method):
    source = """
    import asyncio, multiprocessing, sys, warnings
    from claude_code_api import AsyncClaudeClient, ClaudeClient, InvalidRequestError
    warnings.simplefilter("ignore", DeprecationWarning)
    def work(url):
        async def use():
            async with AsyncClaudeClient(url) as client:
                return (await client.complete("hi", max_tokens=2)).usage.output_tokens
        with ClaudeClient(url) as client:
            return client.complete("hi", max_tokens=2).usage.output_tokens + asyncio.run(use())
    def fail(url):
        ClaudeClient(url).complete("hi", model="no-such-model")
    if __name__ == "__main__":
        url = sys.argv[1]
        work(url)
        with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
            print(pool.map(work, [url] * 4))
            try: pool.apply(fail, [url])
            except InvalidRequestError as error: print(error.code)
            pool.close(); pool.join()
        work(url)
    """
    ended = run(source, service.url, method, file=tmp_path / "main.py")
    assert ended.lines == ["[4, 4, 4, 4]", "invalid_request"]


def test_a_parents_stream_is_refused_in_the_child_and_goes_on_in_the_parent(server: Scripted):
    server.script([START, delta("he"), 1.0, delta("llo"), done("hello")])
    source = """
    client = ClaudeClient(url)
    stream = client.stream("hi")
    first = next(stream)
    def use():
        try: next(stream)
        except (RuntimeError, ValueError) as error: assert "fork" in str(error), error
        else: raise AssertionError("the child read from the parent's stream")
        stream.close()
    assert child(use) == 0
    assert child(lambda: globals().pop("stream")) == 0
    assert first + "".join(stream) == stream.response.content == "hello"
    """
    run(FORK + source, server.url)
    assert len(server.requests) == 1


def test_a_parents_async_stream_is_refused_in_the_child_and_goes_on_in_the_parent(server: Scripted):
    server.script([START, delta("he"), 1.0, delta("llo"), done("hello")], http(200, HEALTH))
    source = """
    client = AsyncClaudeClient(url)
    async def read():
        global stream
        stream = client.stream("hi")
        first = await stream.__anext__()
        def use():
            async def other():
                try: await stream.__anext__()
                except (RuntimeError, ValueError) as error: assert "forked" in str(error), error
                else: raise AssertionError("the child read from the parent's stream")
            asyncio.run(other())
            assert asyncio.run(client.health())["status"] == "ok"
            del globals()["stream"]
        assert child(use) == 0
        assert first + "".join([text async for text in stream]) == "hello"
    asyncio.run(read())
    """
    run(FORK + source, server.url)


def test_the_client_of_a_child_uses_a_connection_of_its_own(server: Scripted):
    server.script(*[http(200, HEALTH)] * 3)
    source = """
    client = ClaudeClient(url)
    client.health()
    assert child(client.health) == 0
    client.health()
    """
    run(FORK + source, server.url)
    parent, child, again = [request.connection for request in server.requests]
    assert parent == again != child


def test_a_hundred_threads_use_one_client(server: Scripted):
    texts = ["answer %d" % n for n in range(100)]
    server.script(*[[0.1, *ok(text)] for text in texts])
    got, failed = [], []
    with ClaudeClient(server.url) as client:

        def work():
            try:
                got.append(client.complete("hi").content)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert not failed and sorted(got) == sorted(texts)


def test_two_threads_do_not_read_one_stream(server: Scripted):
    server.script([START, delta("he"), 0.5, delta("llo"), done("hello")])
    with ClaudeClient(server.url) as client, client.stream("hi") as stream:
        next(stream)
        rest = []
        reader = threading.Thread(target=lambda: rest.extend(stream))
        reader.start()
        with pytest.raises(RuntimeError, match="another thread"):
            while reader.is_alive():
                stream.text
        reader.join(10)
        assert rest == ["llo"] and stream.text == "hello"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_neither_the_import_nor_the_sync_client_starts_a_thread(server: Scripted, host):
    server.script(ok(), [START, delta("hello"), done("hello")], http(200, HEALTH))
    source = """
    import os, sys
    count = lambda: print(len(os.listdir("/proc/self/task")))
    count()
    from claude_code_api import ClaudeClient
    count()
    client = ClaudeClient(sys.argv[1])
    client.complete("hi"), list(client.stream("hi")), client.health()
    count()
    """
    assert run(source, server.url.replace("127.0.0.1", host)).lines == ["1"] * 3


def test_the_sync_client_works_inside_a_running_loop(service):
    async def main():
        with ClaudeClient(service.url) as client:
            assert client.complete("hi", max_tokens=2).content
            assert "".join(client.stream("hi", max_tokens=2))
            async with AsyncClaudeClient(service.url) as other:
                return client.health() == await other.health()

    assert asyncio.run(main())


def test_one_async_client_serves_one_loop_after_another_and_two_at_a_time(server: Scripted):
    client = AsyncClaudeClient(server.url)
    server.script(*[http(200, HEALTH)] * 5)
    for _ in range(5):
        assert asyncio.run(client.health()) == HEALTH
    server.script(*[[0.2, *ok()]] * 2)
    got = []
    threads = [threading.Thread(target=lambda: got.append(asyncio.run(client.complete("hi")))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [answer.content for answer in got] == ["hello"] * 2
    asyncio.run(client.close())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
def test_loops_leave_no_descriptors_behind(server: Scripted):
    def use():
        server.script(http(200, HEALTH))
        client = AsyncClaudeClient(server.url)

        async def main():
            async with client:
                await client.health()

        asyncio.run(main())
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    first = max(use() for _ in range(3))
    assert [use() for _ in range(20)][-1] <= first + 4


@pytest.mark.parametrize("kind", [ClaudeClient, AsyncClaudeClient])
def test_a_client_says_why_it_cannot_be_pickled(kind):
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(kind())


def test_what_a_client_gives_can_be_pickled(service):
    with ClaudeClient(service.url) as client:
        for given in (client.complete("hi", max_tokens=2), client.batch(["hi"], max_tokens=2), client.get_usage(), client.health()):
            assert pickle.loads(pickle.dumps(given)) == given


@pytest.mark.filterwarnings("ignore")
def test_a_loop_that_is_closed_with_a_call_in_flight_is_let_go_and_the_call_ends(server: Scripted):
    server.script([hold])
    loop, client = asyncio.new_event_loop(), AsyncClaudeClient(server.url)

    async def leave():
        await asyncio.wait({asyncio.ensure_future(client.complete("hi"))}, timeout=0.3)

    loop.run_until_complete(leave())
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None, "what waits in it holds it"
    server.await_hangup()

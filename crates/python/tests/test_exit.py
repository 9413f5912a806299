"""The interpreter ends in order and in silence, whatever of ours is still open; and its start is hardly slower for the import."""

import statistics
import sys

import pytest

from answers import START, delta, ok
from programs import run
from scripted import Scripted, hold

BOUND = 10.0  # seconds in which an interpreter with nothing left to do ends, on a busy machine

OPEN = {
    "a sync stream": """
        client = ClaudeClient(url)
        stream = client.stream("hi")
        next(stream)
    """,
    "a sync stream without its client": """
        stream = ClaudeClient(url).stream("hi")
        next(stream)
    """,
    "an async stream": """
        client = AsyncClaudeClient(url)
        stream = client.stream("hi")
        async def main():
            await stream.__anext__()
        asyncio.run(main())
    """,
    "an async call": """
        client = AsyncClaudeClient(url)
        async def main():
            task = asyncio.ensure_future(client.complete("hi"))
            await asyncio.sleep(0.3)
        asyncio.run(main())
    """,
    "an async call of a daemon thread": """
        client = AsyncClaudeClient(url)
        threading.Thread(target=lambda: asyncio.run(client.complete("hi")), daemon=True).start()
        time.sleep(0.5)
    """,
    "a sync call of a daemon thread": """
        client = ClaudeClient(url)
        threading.Thread(target=lambda: client.complete("hi"), daemon=True).start()
        time.sleep(0.5)
    """,
    "a client in a global": """
        client, other = ClaudeClient(url), AsyncClaudeClient(url)
        next(client.stream("hi"))
    """,
    "a client in a cycle that outlives the module": """
        class Holder: pass
        holder = Holder()
        holder.itself, holder.client = holder, ClaudeClient(url)
        holder.stream = holder.client.stream("hi")
        next(holder.stream)
        sys.holder = holder
    """,
    "a stream that an atexit handler reads": """
        import atexit
        stream = ClaudeClient(url).stream("hi")
        atexit.register(lambda: next(stream))
    """,
}
HEAD = """
        import asyncio, sys, threading, time
        from claude_code_api import AsyncClaudeClient, ClaudeClient
        url = sys.argv[1]
"""


@pytest.mark.parametrize("what", OPEN)
def test_the_interpreter_ends_in_silence_with_something_open(server: Scripted, what):
    server.script([hold] if "call" in what else [START, delta("he"), hold])
    ended = run(HEAD + OPEN[what], server.url)
    server.await_hangup()
    assert (ended.out, ended.err) == ("", "")
    assert ended.took < BOUND
    print("whole program: %.0f ms" % (ended.took * 1e3))


# When the interpreter has gone, the process still reads its input, which ends a second after its start.
OUTLIVED = """
        import ctypes, os, subprocess
        os.dup2(subprocess.Popen(["sleep", "1"], stdout=subprocess.PIPE).stdout.fileno(), 0)
        process = ctypes.CDLL(None)
        getattr(process, "__cxa_atexit")(process.getchar, None, None)
        client = ClaudeClient(url)
        for _ in range(8):
            threading.Thread(target=lambda: client.complete("hi"), daemon=True).start()
            time.sleep(0.006)
        time.sleep(0.3)
"""


@pytest.mark.parametrize("answer", [[hold], [0.6, *ok()]], ids=["no answer", "an answer"])
def test_daemon_threads_outlive_the_interpreter_in_silence(server: Scripted, answer):
    server.script(*[answer] * 8)
    ended = run(HEAD + OUTLIVED, server.url)
    assert (ended.out, ended.err) == ("", "")


IMPORT = """
    import dataclasses, enum, sys, time, typing
    begun = time.perf_counter()
    import claude_code_api
    print((time.perf_counter() - begun) * 1e3)
"""


def test_the_import_adds_little(figure, tmp_path):
    cached = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    run(IMPORT, **cached)
    times = [float(run(IMPORT, **cached).out) for _ in range(9)]
    median = statistics.median(times)
    figure(
        "import of claude_code_api over dataclasses, enum, typing (Python %d.%d)" % sys.version_info[:2],
        "median %.1f ms, least %.1f ms of 9" % (median, min(times)),
    )
    assert median < 50


def test_the_import_brings_neither_asyncio_nor_logging():
    source = """
        import sys
        import claude_code_api
        print([name for name in ("asyncio", "logging", "ssl", "socket", "json") if name in sys.modules])
        client = claude_code_api.ClaudeClient("http://localhost:1", max_retries=1)
        try: client.health()
        except claude_code_api.APIConnectionError: pass
        print("asyncio" in sys.modules)
    """
    assert run(source).lines == ["[]", "False"]


def test_client_is_the_same_package():
    source = """
        import claude_code_api, client
        print(sorted(claude_code_api.__all__) == sorted(client.__all__), client.__version__ == claude_code_api.__version__)
        print(all(getattr(client, name) is getattr(claude_code_api, name) for name in client.__all__))
    """
    assert run(source).lines == ["True True", "True"]

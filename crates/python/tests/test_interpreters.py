"""Interpreters that are set up in other ways than most: strict, optimised, a second one in a process, one that may start no thread."""

import re

import pytest

from answers import SSE, START, delta, done, ok, result, totals
from conftest import REPOSITORY
from programs import run
from scripted import Scripted

EVERYTHING = """
    import asyncio, sys
    from client import AsyncClaudeClient, ClaudeClient
    url = sys.argv[1]
    with ClaudeClient(url) as client:
        print(client.complete("hi").content, *list(client.stream("hi")), client.batch(["a"]).completed)
    async def main():
        async with AsyncClaudeClient(url) as client:
            texts = [text async for text in client.stream("hi")]
            print((await client.complete("hi")).content, *texts, (await client.batch(["a"])).completed)
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    "options",
    [{"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}, {"PYTHONASYNCIODEBUG": "1"}, {"PYTHONOPTIMIZE": "2"}],
    ids=lambda options: next(iter(options)),
)
def test_both_clients_work_and_nothing_is_warned_of(server: Scripted, options):
    stream, batch = [START, delta("he"), done("he")], [SSE, result(0), totals(1)]
    server.script(ok(), stream, batch, stream, ok(), batch)
    ended = run(EVERYTHING, server.url, **options)
    assert (ended.lines, ended.err) == (["hello he 1"] * 2, "")


def test_a_second_interpreter_of_a_process_is_refused():
    source = """
        import sys
        import claude_code_api
        try:
            import _interpreters as interpreters
            second = interpreters.create("legacy")
        except ImportError:
            import _xxsubinterpreters as interpreters
            second = interpreters.create(*[False] * (sys.version_info >= (3, 12)))
        attempt = "try: import claude_code_api\\nexcept ImportError as error: print(error, flush=True)"
        interpreters.run_string(second, attempt)
        for name in [name for name in sys.modules if name.startswith("claude_code_api")]:
            del sys.modules[name]
        import claude_code_api
        print("again in the first")
    """
    refused, again = run(source).lines
    assert "one interpreter" in refused and again == "again in the first"


def test_a_panic_is_an_exception_and_the_program_goes_on(server: Scripted):
    server.script(ok())
    # Looking up a name takes a thread, without which tokio panics.
    source = """
        import os, resource, sys
        from claude_code_api import ClaudeClient
        if os.getuid() == 0: os.setuid(65534)  # as root is not limited
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try: ClaudeClient("http://nobody.invalid", max_retries=1).health()
        except BaseException as error: print(type(error).__name__)
        print(ClaudeClient(sys.argv[1]).complete("hi").content)
    """
    assert run(source, server.url).lines == ["PanicException", "hello"]


@pytest.mark.once
def test_no_build_makes_a_panic_the_end_of_the_program():
    manifest = (REPOSITORY / "Cargo.toml").read_text(encoding="utf-8")
    assert "[profile.release]" in manifest and not re.search(r"^panic\b", manifest, re.MULTILINE)

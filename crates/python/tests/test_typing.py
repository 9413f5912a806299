"""Types: the package under mypy --strict, a user's program against it, and the hand-written stub against the native module."""

import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import claude_code_api
from conftest import absent

PACKAGE = Path(claude_code_api.__file__).parent

USER = """
    import asyncio
    from typing import AsyncIterator, Dict, Iterator, List, Optional, Union

    from client import BatchInterrupted, BatchResponse, BatchResult
    from client import AsyncClaudeClient, BudgetExceededError, ClaudeAPIError, ClaudeClient, Model, Response, TimeoutError

    def sync() -> List[str]:
        with ClaudeClient(base_url="http://localhost:8080", api_key=None, timeout=30) as client:
            response: Response = client.complete("hi", model=Model.HAIKU)
            texts: Iterator[str] = client.stream("hi", model="opus", total_timeout=5)
            with client.stream([{"role": "user", "content": "hi"}]) as stream:
                for text in stream:
                    text.upper()
            cost: Optional[float] = stream.cost
            status: str = client.health()["status"]
            batch: BatchResponse = client.batch(["a", {"prompt": "b", "id": "c"}], on_progress=lambda *counts: print(counts))
            results: Iterator[BatchResult] = client.batch_as_completed(["a"], max_concurrency=4)
            errors: List[Optional[str]] = [result.error_code for result in [*batch.results, *results]]
            return [response.content, str(errors), str(response.cost + (cost or 0)), status, *texts]

    async def asynchronous() -> str:
        async with AsyncClaudeClient() as client:
            texts: AsyncIterator[str] = client.stream("hi")
            async for text in texts:
                text.upper()
            async for result in client.batch_as_completed(text for text in "abc"):
                print(result.index, result.content)
            print((await client.batch(["a"], progress=True)).total_cost_nanos)
            first, second = await asyncio.gather(client.complete("a"), client.complete("b"))
            return first.content + second.content

    try:
        print(sync(), asyncio.run(asynchronous()))
    except BatchInterrupted as interrupt:
        print(interrupt.results.completed)
    except BudgetExceededError as error:
        print(error.remaining, error.resets_at)
    except TimeoutError as error:
        print(error.attempts)
    except ClaudeAPIError as error:
        code: Optional[str] = error.code
        print(code, error.retry_after)

    client = ClaudeClient()
    client.complete(7)  # type: ignore[arg-type]
    client.complete("hi", max_tokens="many")  # type: ignore[arg-type]
    client.complete("hi", no_such_argument=1)  # type: ignore[call-arg]
    client.batch([7])  # type: ignore[list-item]
    client.no_such_method()  # type: ignore[attr-defined]
    client.complete("hi").no_such_field  # type: ignore[attr-defined]
    number: int = client.complete("hi").content  # type: ignore[assignment]
    AsyncClaudeClient().complete("hi").content  # type: ignore[attr-defined]
"""


@pytest.fixture(autouse=True)
def mypy_of_this_interpreter():
    if sys.version_info < (3, 10):
        pytest.skip("types are checked on Python 3.10 and later: before, native classes have no text signature")
    if importlib.util.find_spec("mypy") is None:
        absent("mypy is not installed")


def check(tmp_path, *command: str) -> str:
    """Runs a checker of mypy; its report is empty of errors."""
    own = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=str(tmp_path),
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_the_package_is_strictly_typed(tmp_path):
    check(tmp_path, "mypy", "--strict", "-p", "claude_code_api", "-p", "client")


def test_a_users_program_is_checked_against_it(tmp_path, figure):
    (tmp_path / "user.py").write_text(textwrap.dedent(USER), encoding="utf-8")
    check(tmp_path, "mypy", "--strict", "user.py")
    begun = time.monotonic()
    check(tmp_path, "mypy", "--strict", "user.py")
    figure("mypy --strict of a user's file, again", "%.1f s" % (time.monotonic() - begun))


def test_the_stub_is_what_the_native_module_has(tmp_path):
    # PyO3 writes an __all__ that nobody reads. The other modules are Python, of which stubtest makes nothing but noise.
    (tmp_path / "allowed").write_text("claude_code_api\\._native\\.__all__\n", encoding="utf-8")
    assert "Success" in check(tmp_path, "mypy.stubtest", "claude_code_api._native", "--allowlist", "allowed")


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists() and (PACKAGE / "_native.pyi").exists()
    assert (PACKAGE.parent / "client" / "py.typed").exists()

"""Types: the package and a user's program under mypy and pyright, strictly, and the hand-written stub against the native module."""

import ast
import shutil
import sys
import textwrap
import time
from pathlib import Path

import pytest

import claude_code_api
from checkers import mypy, pyright, pyright_completeness

pytestmark = pytest.mark.once

PACKAGE = Path(claude_code_api.__file__).parent

USER = """
    import asyncio
    from typing import AsyncIterator, Iterator, List, Optional

    from client import BatchInterrupted, BatchJob, BatchResponse, BatchResult
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
            batch: BatchResponse = client.batch(["a", {"prompt": "b", "id": "c"}], on_progress=lambda ended, failed, of: print(ended + failed, of))
            results: Iterator[BatchResult] = client.batch_as_completed(["a"], max_concurrency=4)
            job: BatchJob = client.batches.create(["a"], max_tokens=9, economy=True)
            cheap: bool = job.economy
            stored: BatchResponse = client.batches.wait(job, timeout=60)
            came: Iterator[BatchResult] = client.batches.results(job.id, after=stored.completed)
            print([older.id for older in client.batches.list(before=job)], len(list(came)), client.batches.cancel(job).status)
            errors: List[Optional[str]] = [result.error_code for result in [*batch.results, *results]]
            return [response.content, str(errors), str(response.cost + (cost or 0)), status, str(cheap), *texts]

    async def asynchronous() -> str:
        async with AsyncClaudeClient() as client:
            texts: AsyncIterator[str] = client.stream("hi")
            async for text in texts:
                text.upper()
            async for result in client.batch_as_completed(text for text in "abc"):
                print(result.index, result.content)
            print((await client.batch(["a"], progress=True)).total_cost_nanos)
            job = await client.batches.create(["a"])
            print([result.index async for result in client.batches.results(job)], (await client.batches.wait(job.id)).completed)
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
    client.complete(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.complete("hi", max_tokens="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.complete("hi", no_such_argument=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.batches.create(["hi"], economy="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.batch([7])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    client.no_such_method()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    client.complete("hi").no_such_field  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    number: int = client.complete("hi").content  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    AsyncClaudeClient().complete("hi").content  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
"""


@pytest.fixture(autouse=True)
def signatures():
    if sys.version_info < (3, 10):
        pytest.skip("types are checked on Python 3.10 and later: before, native classes have no text signature")


def test_the_package_is_strictly_typed(tmp_path):
    mypy(tmp_path, "--strict", "-p", "claude_code_api", "-p", "client")


@pytest.mark.parametrize("version", ["3.8", "3.14"])
def test_the_package_is_strictly_typed_for_pyright_too(tmp_path, version):
    # As source: in a package that is installed, pyright forbids an import of all of another one.
    for package in (PACKAGE, PACKAGE.parent / "client"):
        shutil.copytree(str(package), str(tmp_path / package.name))
    pyright(tmp_path, "strict", pythonVersion=version)


def test_nothing_that_is_exported_has_a_type_to_guess(tmp_path):
    for package in ("claude_code_api", "client"):
        found = pyright_completeness(tmp_path, package)
        assert found["exportedSymbolCounts"]["withKnownType"] >= len(claude_code_api.__all__), found["exportedSymbolCounts"]
        assert found["completenessScore"] == 1


def test_a_users_program_is_checked_against_it(tmp_path, figure):
    (tmp_path / "user.py").write_text(textwrap.dedent(USER), encoding="utf-8")
    mypy(tmp_path, "--strict", "user.py")
    begun = time.monotonic()
    mypy(tmp_path, "--strict", "user.py")
    figure("mypy --strict of a user's file, again", "%.1f s" % (time.monotonic() - begun))


def test_a_users_program_is_checked_against_it_by_pyright_too(tmp_path, figure):
    (tmp_path / "user.py").write_text(textwrap.dedent(USER), encoding="utf-8")
    begun = time.monotonic()
    # What mypy is told to ignore is an error here, unless pyright is told so, too; and where it is told so, there must be one.
    pyright(tmp_path, "strict", enableTypeIgnoreComments=False, reportUnnecessaryTypeIgnoreComment="error")
    figure("pyright, strict, of a user's file", "%.1f s" % (time.monotonic() - begun))


def test_the_stub_is_what_the_native_module_has(tmp_path):
    # PyO3 writes an __all__ that nobody reads. The other modules are Python, of which stubtest makes nothing but noise.
    (tmp_path / "allowed").write_text("claude_code_api\\._native\\.__all__\n", encoding="utf-8")
    report = mypy(tmp_path, "claude_code_api._native", "--allowlist", "allowed", checker="mypy.stubtest")
    assert "Success" in report


def test_editors_show_of_a_stream_what_it_says_of_itself():
    stub = ast.parse((PACKAGE / "_native.pyi").read_text(encoding="utf-8"))
    (stream,) = (node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "Stream")
    members = [node for node in stream.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert len(members) == 9 and ast.get_docstring(stream) == claude_code_api.Stream.__doc__
    for member in members:
        assert ast.get_docstring(member) == getattr(claude_code_api.Stream, member.name).__doc__, member.name


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists() and (PACKAGE / "_native.pyi").exists()
    assert (PACKAGE.parent / "client" / "py.typed").exists()

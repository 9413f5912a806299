"""What tests are given: the real service, the scripted server, both clients in one shape; and a summary of figures and skips."""

import asyncio
import contextlib
import faulthandler
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from claude_code_api import AsyncClaudeClient, ClaudeClient
from scripted import Scripted, until

REPOSITORY = Path(__file__).resolve().parents[3]
TARGET = REPOSITORY / (os.environ.get("CARGO_TARGET_DIR") or "target")
STDERR = os.dup(2)  # the one of before pytest catches what is written
FIGURES: List[Tuple[str, str]] = []


class Service:
    """The real service, with the embedded model."""

    def __init__(self, url: str, data: str) -> None:
        self.url, self.port, self.data = url, int(url.rsplit(":", 1)[1]), data

    def health(self) -> Dict[str, Any]:
        with urllib.request.urlopen(self.url + "/health", timeout=10) as answer:
            health: Dict[str, Any] = json.load(answer)
        return health

    def running(self) -> int:
        found = re.search(r"(\d+) calls? running", self.health()["services"]["local"]["detail"])
        assert found, "the service says how many calls run"
        return int(found.group(1))

    def until_running(self, count: int) -> None:
        until(lambda: self.running() == count, "%d calls run on the service" % count)

    def manage(self, *arguments: str) -> str:
        """Runs a command of the operator's, such as ``key list``; what it prints."""
        command = [str(binary()), *arguments, "--data-dir", self.data]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment(), check=True, timeout=30)
        return done.stdout.decode().strip()


def binary() -> Path:
    path = Path(os.environ.get("CLAUDE_CODE_API_BINARY") or TARGET / "debug" / "claude-code-api")
    if not path.exists():
        pytest.fail("no service at %s: build it, or name one in CLAUDE_CODE_API_BINARY" % path, pytrace=False)
    return path


def environment() -> Dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CLAUDE_CODE_API_")}


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Service]:
    """A service of its own data folder, until the end of the block."""
    with tempfile.TemporaryDirectory() as data:
        process = subprocess.Popen(
            [str(binary()), "serve", "--listen", "localhost:0", "--local-batch-threads", "1", "--data-dir", data, *arguments],
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        try:
            first = process.stdout.readline().decode()
            listens = re.search(r"listens on (http://\S+)", first)
            assert listens, "the service's first line was %r" % first
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Service(listens.group(1), data)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, "the service ends in order when it is told to"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def brief() -> Iterator[Service]:
    """One whose answers are short."""
    with serving("--local-max-tokens-default", "16") as running:
        yield running


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()
    assert not scripted.failures


@pytest.fixture(autouse=True)
def nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "API_KEY", "PROJECT_ID"):
        monkeypatch.delenv("CLAUDE_CODE_API_" + name, raising=False)


class Caller:
    """One client in the shape of both: a test that takes one runs twice."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def complete(self, url: str, *calls: Dict[str, Any], **options: Any) -> Any:
        """Completes one prompt, or one for each of ``calls`` over one client; the last answer."""
        every = calls or ({},)
        if self.kind == "sync":
            with ClaudeClient(url, **options) as client:
                return [client.complete("hi", **call) for call in every][-1]

        async def main() -> Any:
            async with AsyncClaudeClient(url, **options) as client:
                return [await client.complete("hi", **call) for call in every][-1]

        return asyncio.run(main())

    def stream(self, url: str, on_text: Callable[[str], Any] = lambda _: None, **both: Any) -> Any:
        """Reads a stream to its end: (texts, stream, error or None). ``call`` holds the call's own arguments."""
        call = both.pop("call", {})
        texts: List[str] = []
        if self.kind == "sync":
            with ClaudeClient(url, **both) as client:
                stream = client.stream("hi", **call)
                try:
                    for text in stream:
                        texts.append(text)
                        on_text(text)
                except Exception as error:
                    return texts, stream, error
                return texts, stream, None

        async def main() -> Any:
            async with AsyncClaudeClient(url, **both) as client:
                stream = client.stream("hi", **call)
                try:
                    async for text in stream:
                        texts.append(text)
                        await asyncio.get_running_loop().run_in_executor(None, on_text, text)
                except Exception as error:
                    return texts, stream, error
                return texts, stream, None

        return asyncio.run(main())


@pytest.fixture(autouse=True)
def bound() -> Iterator[None]:
    """What hangs beyond all other bounds is told where, and ends the run."""
    faulthandler.dump_traceback_later(120, exit=True, file=STDERR)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=["sync", "async"])
def caller(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


@pytest.fixture
def figure() -> Callable[[str, str], None]:
    """Notes something measured, to be printed at the end of the run."""

    def note(what: str, value: str) -> None:
        print("%s: %s" % (what, value))
        FIGURES.append((what, value))

    return note


def absent(reason: str) -> None:
    """A test that cannot run here. In CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason + "; in CI it must be there", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for what, value in FIGURES:
        terminalreporter.write_line("measured  %s: %s" % (what, value))
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line("SKIPPED   %s: %s" % (report.nodeid, reason), yellow=True)

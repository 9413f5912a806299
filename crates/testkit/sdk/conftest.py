"""What the tests of the official SDKs are given: the real service before the upstream simulator, and an SDK in both of its forms."""

import asyncio
import contextlib
import faulthandler
import inspect
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Optional

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
TARGET = REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target")
UPSTREAM_KEY = "sk-ant-simulated"
PATIENCE_S = 5.0
STDERR = os.dup(2)  # the one of before pytest catches what is written
NAMES = iter(range(1, 1_000_000))


def binary(name: str) -> str:
    path = Path(os.environ.get("SDK_TEST_" + name.upper().replace("-", "_")) or TARGET / "debug" / name)
    if not path.exists():
        pytest.fail("no %s at %s: scripts/sdk.sh builds it" % (name, path), pytrace=False)
    return str(path)


def environment(home: str, **more: str) -> Dict[str, str]:
    """Of the caller's environment, only where programs are: it may name keys, proxies and services."""
    return {"HOME": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more}


def until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    """Waits for something to come true, and prints how long that took."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < patience_s, "%s, within %s s" % (what, patience_s)
        time.sleep(0.01)
    print("%s, after %.0f ms" % (what, (time.monotonic() - begun) * 1000))


def sim(script: Optional[Dict[str, Any]] = None, text: str = "Hello") -> str:
    """A prompt that the simulator answers by this script."""
    return "%s sim:%s" % (text, json.dumps(script or {}))


@contextlib.contextmanager
def running(command: List[str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Simulator:
    """Anthropic's servers, as far as the service can tell; with a bill of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process, self.lock = process, threading.Lock()
        self.url = self.line().strip()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        with self.lock:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
            return json.loads(self.line())

    def next(self, *scripts: Dict[str, Any]) -> None:
        for script in scripts:
            self.ask("next " + json.dumps(script))

    def bill(self) -> List[Dict[str, Any]]:
        lines: List[Dict[str, Any]] = self.ask("bill")
        return lines

    def billed(self, since: int = 0) -> int:
        """All tokens of the bill from this line on."""
        return sum(line["input_tokens"] + line["output_tokens"] for line in self.bill()[since:])

    def requests(self) -> List[Dict[str, Any]]:
        requests: List[Dict[str, Any]] = self.ask("requests")
        return requests

    def headers(self) -> List[Dict[str, str]]:
        headers: List[Dict[str, str]] = self.ask("headers")
        return headers

    def open(self) -> int:
        count: int = self.ask("open")
        return count

    def directly(self, body: Dict[str, Any], version: str) -> str:
        """What it answers to whom nothing stands between."""
        headers = {"content-type": "application/json", "x-api-key": UPSTREAM_KEY, "anthropic-version": version}
        request = urllib.request.Request(self.url + "/v1/messages", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text: str = answer.read().decode()
        return text


class Service:
    """The real service."""

    def __init__(self, url: str, home: str, simulator: Simulator) -> None:
        self.url, self.home, self.simulator = url, home, simulator
        self.admin = self.mine = ""  # keys, where there are any

    def manage(self, *arguments: str) -> str:
        """Runs a command of the operator's; what it prints."""
        command = [binary("claude-code-api"), *arguments, "--data-dir", self.home + "/data"]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment(self.home), check=True, timeout=30)
        return done.stdout.decode().strip()

    def key(self, *of: str) -> str:
        key: str = json.loads(self.manage("key", "create", "--json", *of))["key"]
        return key

    def entries(self, project: str) -> List[Dict[str, Any]]:
        entries: List[Dict[str, Any]] = json.loads(self.manage("ledger", "list", "--json", "--project", project))["entries"]
        return entries

    def get(self, path: str, key: Optional[str] = None) -> Any:
        headers = {"authorization": "Bearer " + key} if key else {}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: Dict[str, Any]) -> Dict[str, Any]:
        """What a program gets that has no SDK."""
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: Dict[str, Any] = json.load(answer)
        return found

    def texts(self, path: str, body: Dict[str, Any]) -> str:
        """All words of an answer, whole or streamed."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return " ".join(re.findall("word", answer.read().decode()))

    def answered(self) -> List[int]:
        """The statuses of all answers to POST requests, from the log."""
        with open(self.home + "/log") as log:
            return [int(status) for status in re.findall(r"method=POST path=\S+ status=(\d+)", log.read())]

    def usage(self, project: str, key: Optional[str] = None) -> Dict[str, Any]:
        usage: Dict[str, Any] = self.get("/v1/usage?project_id=" + project, key)
        return usage


@contextlib.contextmanager
def simulating() -> Iterator[Simulator]:
    with running([binary("simulator")], stdin=subprocess.PIPE) as process:
        yield Simulator(process)


@contextlib.contextmanager
def serving(
    simulator: Simulator,
    *arguments: str,
    logs: str = "",
    before: Callable[[Path], None] = lambda home: None,
    user: Optional[int] = None,
    **more: str,
) -> Iterator[Service]:
    """A service of its own data folder, until the end of the block, as this user or ours, with more in its environment. Then every call
    of it is settled, and its books agree; and it has logged no error, or none but this. ``before`` prepares its home."""
    with tempfile.TemporaryDirectory() as home, open(home + "/log", "w+b") as log:
        os.chmod(home, 0o755)  # so that workers can have users of their own
        before(Path(home))
        become: Dict[str, Any] = {}
        if user is not None:
            os.chown(home, user, user)
            become = {"user": user, "group": user, "extra_groups": []}
        upstream = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ANTHROPIC_BASE_URL": simulator.url}
        command = [binary("claude-code-api"), "serve", "--listen", "127.0.0.1:0", "--data-dir", home + "/data"]
        command += ["--log", "info,claude_code_api_service::http=debug"]
        with running([*command, *arguments], cwd=home, env=environment(home, **upstream, **more), stderr=log, **become) as process:
            assert process.stdout is not None
            first = process.stdout.readline().decode()
            listens = re.search(r"listens on (http://\S+)", first)
            assert listens, "the service's first line was %r" % first
            threading.Thread(target=process.stdout.read, daemon=True).start()
            service = Service(listens.group(1), home, simulator)
            yield service
            report = json.loads(service.manage("ledger", "verify", "--json"))
            assert (report["reservations"], report["differences"]) == (0, []), report
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, "the service ends in order when it is told to"
            log.seek(0)
            wrong = [line for line in log.read().decode().splitlines() if " ERROR " in line]
            assert all(logs and logs in line for line in wrong) and bool(wrong) == bool(logs), wrong


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with simulating() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(simulator: Simulator) -> Iterator[Service]:
    """As anyone starts it: without keys, and with a limit for every project but ``unlimited``."""
    with serving(simulator) as service:
        service.manage("project", "set", "unlimited")
        yield service


@pytest.fixture(scope="module")
def locked(simulator: Simulator) -> Iterator[Service]:
    """A service with keys: of an admin, and of one project."""
    with serving(simulator) as service:
        service.manage("project", "set", "mine")
        service.manage("project", "set", "theirs")
        service.admin, service.mine = service.key("--admin"), service.key("--project", "mine")
        yield service


@pytest.fixture
def project() -> str:
    """A project that nothing has used yet."""
    return "project-%d" % next(NAMES)


@pytest.fixture
def agreed(service: Service, simulator: Simulator, project: str) -> Iterator[None]:
    """What the test's project has used is, to the token, what the simulator has charged meanwhile."""
    before = len(simulator.bill())
    yield
    used, billed = service.usage(project)["total_tokens"], simulator.billed(before)
    assert used == billed, "the ledger says %d, the bill %d" % (used, billed)


@pytest.fixture
def fresh() -> Iterator[Service]:
    """A service and a simulator of the test's own, for what would be felt by others: a key that is told to rest."""
    with simulating() as simulator, serving(simulator) as service:
        yield service


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def abandoned(service: Service, simulator: Simulator, project: str, before: int) -> None:
    """Upstream was told, and the ledger has what the call may have cost."""
    until(lambda: simulator.open() == 0, "upstream's stream is closed")
    until(lambda: service.entries(project), "the call is settled")
    [entry] = service.entries(project)
    assert (entry["exact"], entry["ended"]) == (False, "aborted"), entry
    used = service.usage(project)
    assert used["total_tokens"] >= simulator.billed(before) > 0 and used["held_tokens"] == 0


# One test for both forms of an SDK: it is written as one for the asynchronous form, and these take either.


async def done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def each(items: Any) -> AsyncIterator[Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def every(items: Any) -> List[Any]:
    return [item async for item in each(items)]


@contextlib.asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Optional[bool]:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}

    async def main() -> None:
        try:
            await pyfuncitem.obj(**arguments)
        finally:
            for argument in arguments.values():
                if isinstance(argument, Clients):
                    await argument.close()

    asyncio.run(main())
    return True


class Clients:
    """Clients of an SDK in one of its forms. They are closed when the test ends."""

    def __init__(self, form: Callable[..., Any], service: Service, project: str) -> None:
        self.form, self.service, self.project = form, service, project
        self.all: List[Any] = []

    def __call__(self, service: Optional[Service] = None, project: Optional[str] = None, **options: Any) -> Any:
        """A client that is told nothing but where the service is, and which project pays."""
        headers = {"x-project-id": project or self.project, **options.pop("default_headers", {})}
        options.setdefault("api_key", "unused")
        options.setdefault("base_url", (service or self.service).url + getattr(self.form, "path", ""))
        client = self.form(default_headers=headers, **options)
        self.all.append(client)
        return client

    async def close(self) -> None:
        for client in self.all:
            await done(client.close())


@pytest.fixture(autouse=True)
def nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if re.match("(ANTHROPIC|OPENAI|CLAUDE)_|.*_proxy$", name, re.IGNORECASE):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def bound() -> Iterator[None]:
    """What hangs beyond all other bounds is told where, and ends the run."""
    faulthandler.dump_traceback_later(120, exit=True, file=STDERR)
    yield
    faulthandler.cancel_dump_traceback_later()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line("SKIPPED   %s" % report.nodeid, yellow=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Nothing here may be left out in CI."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

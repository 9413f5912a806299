"""What runs on this machine for the comparison, and what it takes: the upstream, the service, their processes. Linux only."""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Dict, Iterator, List

WORKERS = int(os.environ.get("BENCH_WORKERS", "4"))
PATIENCE_S = 60
POLL_S = 0.05  # asking costs, too
UPSTREAM_KEY = "sk-ant-simulated"


def quiet(home: str, upstream: str) -> Dict[str, str]:
    """The whole environment of everything that is started: as a worker has it, nothing of the caller's."""
    return {
        "HOME": home,
        "TMPDIR": home,
        "PATH": "/nonexistent",
        "LANG": "C.UTF-8",
        "ANTHROPIC_API_KEY": UPSTREAM_KEY,
        "ANTHROPIC_BASE_URL": upstream,
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
    }


@contextlib.contextmanager
def home() -> Iterator[str]:
    """A folder that workers' users can enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder


@contextlib.contextmanager
def running(command: List[str], **options: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def upstream(program: Path) -> Iterator[str]:
    """A simulated Claude, which answers at once; where it is."""
    with running([str(program)], stdin=subprocess.PIPE) as process:
        yield process.stdout.readline().decode().strip()


class Service:
    """The service on a pool of workers, and all that it takes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        first = process.stdout.readline().decode()
        listens = re.search(r"listens on http://(\S+)", first)
        assert listens, "the service did not start; it says %r" % first
        self.address, self.id = listens.group(1), process.pid

    def settle(self) -> None:
        """Waits until every worker is ready that is there, and as many as are to be: one that was killed is replaced."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.ready() == len(self.workers()) >= WORKERS:
            assert time.monotonic() < deadline, "the pool is not full after %d s" % PATIENCE_S
            time.sleep(POLL_S)

    def ready(self) -> int:
        with urllib.request.urlopen("http://%s/health" % self.address, timeout=PATIENCE_S) as answer:
            return int(json.load(answer)["services"]["claude_code"]["detail"].split()[0])

    def workers(self) -> List[int]:
        """Its children."""
        return [id for id in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent(id) == self.id]

    def cpu_s(self) -> float:
        """What it has spent, and its workers: those that are there, and those that were."""
        return sum(ticks(id) for id in [self.id, *self.workers()]) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def service(program: Path, claude: str, folder: str, isolation: str) -> Iterator[Service]:
    command = [str(program), "serve", "--listen", "127.0.0.1:0", "--data-dir", folder, "--log", "warn"]
    command += ["--backend", "claude_code", "--claude-code-path", claude, "--claude-code-workers", str(WORKERS)]
    command += ["--claude-code-isolation", isolation]
    with running(command) as process:
        service = Service(process)
        service.settle()
        yield service


def stat(id: int) -> List[str]:
    """The fields of a process behind its name, which may have spaces in it; none when it has gone."""
    try:
        return Path("/proc/%d/stat" % id).read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def parent(id: int) -> int:
    return int((stat(id) or ["", "0"])[1])


def ticks(id: int) -> int:
    """User and system, of its own and of its children that have ended."""
    return sum(map(int, stat(id)[11:15]))


def arguments(id: int) -> List[str]:
    """What it was started with, behind the program."""
    return Path("/proc/%d/cmdline" % id).read_bytes().decode().split("\0")[1:-1]


def memory_mib(id: int) -> Dict[str, float]:
    """All that it has in memory, and what of it is no file's and so nobody else's."""
    kib = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/%d/status" % id).read_text()))
    return {"resident_mib": int(kib["VmRSS"]) / 1024, "anonymous_mib": int(kib["RssAnon"]) / 1024}

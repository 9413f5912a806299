"""One answer of the Claude Code CLI, in each of the ways that there are, in turns: how soon it begins, what it takes, how many a second.

    make bench-cli

All have the same CLI, with the flags of a worker of ours and an environment like its, and the same upstream, which answers at once.
CPU is that of everything else: of this program, of the CLI's processes, and of the service with all its workers, those that take the
place of the used ones among them. Rates are from a full pool to a full pool: no call lives off what was there before. Linux only.
"""

import asyncio
import contextlib
import functools
import http.client
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import machine
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, StreamEvent, query

PROMPT = "Write a haiku"
MODEL = "claude-haiku-5-5"
TURN = {"type": "user", "message": {"role": "user", "content": PROMPT}, "parent_tool_use_id": None, "session_id": "s"}
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
UNHURRIED = 15  # calls a round
COLD = "`claude -p`"
CONNECTED = "SDK, connected client"
CALLERS = {1: 20, 4: 40, 16: 80}  # and calls a round
STEADY = 10  # times as many where a worker serves call after call: it takes some until it is as fast as it will be
FORMATS = {"ms": "%.0f ms", "rate": "%.1f", "mib": "%.0f MiB"}

Figures = Dict[str, float]
Call = Callable[[int], float]  # By its number, how many seconds after its beginning the first delta is there.


# The ways.


class Cold:
    """`claude -p`, a process a call."""

    def __init__(self, program: str, flags: List[str]) -> None:
        self.command = [program, *flags, "--model", MODEL]

    @contextlib.contextmanager
    def asked(self) -> Iterator["subprocess.Popen[bytes]"]:
        with machine.running(self.command, stdin=subprocess.PIPE) as process:
            process.stdin.write(json.dumps(TURN).encode() + b"\n")
            process.stdin.flush()
            yield process

    def __call__(self, _: int) -> float:
        begun = time.perf_counter()
        with self.asked() as process:
            process.stdin.close()
            first = first_delta(map(event_of, process.stdout)) - begun
            assert process.wait() == 0, "claude -p fails"
            return first

    def memory_mib(self) -> Figures:
        """Of one that has answered, and would take another turn."""
        with self.asked() as process:
            first_delta(itertools.takewhile(lambda event: event != "result", map(event_of, process.stdout)))
            return machine.memory_mib(process.pid)


def event_of(line: bytes) -> str:
    """The type of a line, or of the event in it."""
    said = json.loads(line)
    assert not said.get("is_error"), said
    return said["event"]["type"] if said["type"] == "stream_event" else said["type"]


class Sdk:
    """The Python SDK's `query()`, and its client that is connected beforehand and takes one call."""

    def __init__(self, program: str, flags: List[str]) -> None:
        more = by_name(flags)
        self.options = ClaudeAgentOptions(cli_path=program, model=MODEL, include_partial_messages=True, extra_args=more)

    def query(self, _: int) -> float:
        return asyncio.run(self.answered(query(prompt=PROMPT, options=self.options)))

    def client(self, _: int) -> float:
        return asyncio.run(self.connected())

    async def connected(self) -> float:
        async with ClaudeSDKClient(self.options) as client:
            begun = time.perf_counter()
            await client.query(PROMPT)
            return await self.answered(client.receive_response(), begun)

    async def answered(self, messages: Any, begun: Optional[float] = None) -> float:
        begun, first = begun or time.perf_counter(), None
        async for message in messages:
            if isinstance(message, StreamEvent) and message.event["type"] == "content_block_delta":
                first = first or time.perf_counter()
            assert not (isinstance(message, ResultMessage) and message.is_error), message
        assert first, "there is no delta"
        return first - begun


def by_name(flags: List[str]) -> Dict[str, Optional[str]]:
    """As the SDK takes them, which has no use for `-p`."""
    named: Dict[str, Optional[str]] = {}
    for flag in flags:
        name, equals, value = flag.partition("=")
        if name.startswith("--"):
            last = name[2:]
            named[last] = value if equals else None
        elif named and flag != "-p":
            named[last] = flag
    return named


class Ours:
    """The service, streamed, in the native dialect; a connection a caller. It makes so many times as many calls as the others."""

    def __init__(self, service: machine.Service, projects: int = 1, times: int = 1) -> None:
        self.service, self.projects, self.times, self.callers = service, projects, times, threading.local()

    def __call__(self, number: int) -> float:
        if not hasattr(self.callers, "connection"):
            self.callers.connection = http.client.HTTPConnection(self.service.address)
        project = "project-%d" % (number % self.projects)
        body = {"prompt": PROMPT, "model": MODEL, "max_tokens": 50, "stream": True, "project_id": project}
        begun = time.perf_counter()
        self.callers.connection.request("POST", "/v1/complete", json.dumps(body), {"content-type": "application/json"})
        answer = self.callers.connection.getresponse()
        events = [(time.perf_counter(), line.split()[1]) for line in answer if line.startswith(b"event:")]
        assert events and events[-1][1] == b"done", "%d, %s" % (answer.status, events[-1:])
        return next(at for at, name in events if name == b"delta") - begun


def first_delta(events: Iterable[str]) -> float:
    """Reads all of them; when the first delta came."""
    times = [time.perf_counter() for event in events if event == "content_block_delta"]
    assert times, "there is no delta"
    return times[0]


# What is measured.


class Taken(NamedTuple):
    """What some calls took."""

    firsts: List[float]
    wall_s: float
    cpu_s: float


def taken(way: Call, service: Optional[machine.Service], calls: int, callers: int, unhurried: bool = False) -> Taken:
    """So many calls, of so many callers at a time; unhurried, each waits until the pool is full again."""
    firsts: List[float] = []
    numbers = iter(range(calls))

    def work() -> None:
        for number in numbers:
            firsts.append(way(number))
            if unhurried and service:
                service.settle()

    def spent() -> float:
        return sum(os.times()[:4]) + (service.cpu_s() if service else 0)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(callers)]
    cpu, begun = spent(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if service:
        service.settle()
    wall = time.perf_counter() - begun
    assert len(firsts) == calls, "%d of %d calls failed" % (calls - len(firsts), calls)
    return Taken(firsts, wall, spent() - cpu)


def figures(rounds: List[Taken]) -> Figures:
    """Quantiles of all calls, and medians of the rounds."""
    firsts = sorted(first * 1e3 for one in rounds for first in one.firsts)
    return {
        "p50_ms": statistics.median(firsts),
        "p95_ms": firsts[len(firsts) * 95 // 100],
        "cpu_ms": statistics.median(one.cpu_s / len(one.firsts) for one in rounds) * 1e3,
        "rate": statistics.median(len(one.firsts) / one.wall_s for one in rounds),
    }


# The tables.


def main(built: Path, program: str) -> None:
    print("%s, %d workers, %d cores, a %s build." % (version(program), machine.WORKERS, os.cpu_count() or 0, built.name))
    with machine.home() as home, machine.upstream(built / "simulator") as upstream:
        # The SDK passes on what is here.
        os.environ.clear()
        os.environ.update(machine.quiet(home, upstream))
        os.chdir(home)
        # A pool a way: what one leaves behind, another does not begin with.
        serve = functools.partial(machine.service, built / "claude-code-api", program)
        with serve(home + "/project", "project") as one, serve(home + "/process", "process") as single_use, serve(
            home + "/projects", "project"
        ) as ten:
            compare(one, single_use, ten, program)


def compare(service: machine.Service, single_use: machine.Service, of_ten: machine.Service, program: str) -> None:
    worker = service.workers()[0]
    memory = {"ours, a worker that is ready": machine.memory_mib(worker), "ours, the service": machine.memory_mib(service.id)}
    flags = machine.arguments(worker)
    cold, sdk = Cold(program, flags), Sdk(program, flags)
    ways = {COLD: cold, "SDK, `query()`": sdk.query, CONNECTED: sdk.client}
    ways.update({"ours": Ours(service, times=STEADY), "ours, a worker a call": Ours(single_use)})
    for way in ways.values():
        way(0)  # The first one reads the program from the disk.
    show_head("One call at a time, when the pool is full.", "", "first delta p50", "p95", "CPU a call", "first delta, ratio", "CPU, ratio")
    show(turns(ways, UNHURRIED, 1, unhurried=True), ["p50_ms", "p95_ms", "cpu_ms"], ["p50_ms", "cpu_ms"])
    del ways[CONNECTED]  # Without a pause nobody connects ahead.
    ways["ours, 10 projects"] = Ours(of_ten, projects=10)
    for callers, calls in CALLERS.items():
        title = "Callers without a pause: %d." % callers
        show_head(title, "", "calls/s", "first delta p50", "p95", "CPU a call", "calls/s, ratio", "first delta, ratio")
        show(turns(ways, calls, callers), ["rate", "p50_ms", "p95_ms", "cpu_ms"], ["rate", "p50_ms"])
    show_head("Memory.", "", "resident", "of it anonymous", "resident, ratio")
    show({COLD + ", answered": cold.memory_mib(), **memory}, ["resident_mib", "anonymous_mib"], ["resident_mib"])


def version(program: str) -> str:
    environment = {"HOME": os.devnull, "PATH": "/nonexistent"}
    return subprocess.run([program, "--version"], env=environment, stdout=subprocess.PIPE, check=True).stdout.decode().strip()


def turns(ways: Dict[str, Call], calls: int, callers: int, unhurried: bool = False) -> Dict[str, Figures]:
    """The ways take turns, so that what disturbs the machine disturbs all of them."""
    rounds: Dict[str, List[Taken]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            tell("%d callers, round %d of %d: %s" % (callers, number + 1, ROUNDS, name))
            service, times = (way.service, way.times) if isinstance(way, Ours) else (None, 1)
            rounds[name].append(taken(way, service, calls * times, callers, unhurried))
    tell("")
    return {name: figures(several) for name, several in rounds.items()}


def tell(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r%-70s\r" % what)
        sys.stderr.flush()


def show_head(title: str, *columns: str) -> None:
    print("\n**%s**\n\n| %s |\n|:--|%s" % (title, " | ".join(columns), "--:|" * (len(columns) - 1)))


def show(rows: Dict[str, Figures], names: Sequence[str], ratios: Sequence[str]) -> None:
    """These figures, and how those are to the first row's."""
    first = next(iter(rows.values()))
    for label, row in rows.items():
        cells = [FORMATS[name.rpartition("_")[2]] % row[name] for name in names]
        cells += ["%.2f" % (row[name] / first[name]) for name in ratios]
        print("| %s | %s |" % (label, " | ".join(cells)), flush=True)


if __name__ == "__main__":
    # What was started is ended then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main(Path(sys.argv[1]), sys.argv[2])

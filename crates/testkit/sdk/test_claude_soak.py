"""Many calls of ten projects on four workers of the real Claude Code CLI, which are cancelled, come late and fail at random. ``CALLS`` says
how many they are, ``SEED`` in which order."""

import concurrent.futures
import contextlib
import faulthandler
import http.client
import json
import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Set

import pytest

from conftest import STDERR, Service, Simulator, serving, sim, simulating, until
from test_claude_backend import flags, parent, ready, workers

CALLS = int(os.environ.get("CALLS", "1000"))
SEED = int(os.environ.get("SEED", str(random.randrange(1_000_000))))
WORKERS, PROJECTS, CALLERS = 4, 10, 12
BURST_MAX = 30
# Workers are started meanwhile, on cores that have enough to do.
PATIENCE_S = 30.0
MAX_TOKENS = 40
# The ledger is read after so many calls: they are told apart by the tokens of their inputs, and it shows a thousand entries at a time.
SLICE = 1_000
INPUT_FROM = 100

# How a call goes: the script of its answer, the statuses that it may end with, and of how many calls it is one.
KINDS: Dict[str, Any] = {
    "answered": ({}, {200}, 880),
    "left": ({"endless": True, "token_ms": 5}, set(), 30),
    "late": ({"stall_after": 3}, {504}, 20),
    "cut short": ({"output": MAX_TOKENS}, {200}, 10),
    "refused": ({"status": 400}, {400}, 10),
    "declined": ({"stop_reason": "refusal"}, {200}, 10),
    "reset": ({"reset_after_events": 8}, {502}, 10),
    "garbage": ({"garbage_after": 8}, {502}, 10),
    "error": ({"error_event": {"type": "overloaded_error", "after": 8}}, {503}, 10),
    "ended": ({"end_after_events": 8}, {502}, 10),
}


class Call(NamedTuple):
    number: int
    project: int
    kind: str
    is_stream: bool
    output: int

    def body(self) -> Dict[str, Any]:
        script = {"input": INPUT_FROM + self.number % SLICE, "output": self.output, "says": "echo-%05d " % self.number}
        # Long enough to be as many tokens as its script says.
        text = "canary-%05d- of project-%d %s" % (self.number, self.project, "." * (SLICE + INPUT_FROM))
        return {
            "prompt": sim({**script, **KINDS[self.kind][0]}, text), "model": "haiku", "max_tokens": MAX_TOKENS,
            "project_id": "project-%d" % self.project, "stream": self.is_stream, "timeout": 2 if self.kind == "late" else 90,
        }

    def sent_max(self) -> int:
        """A reset takes along what nobody has read yet: where that is all of the answer, it is asked for once more."""
        return 2 if self.kind == "reset" else 1

    def answer(self) -> str:
        return "echo-%05d " % self.number + "word " * KINDS[self.kind][0].get("output", self.output)


def planned(chance: random.Random) -> List[Call]:
    """Each project calls for a while, and then another does."""
    calls: List[Call] = []
    weights = [weight for _, _, weight in KINDS.values()]
    while len(calls) < CALLS:
        project = chance.randrange(PROJECTS)
        for _ in range(min(chance.randint(1, BURST_MAX), CALLS - len(calls))):
            [kind] = chance.choices(list(KINDS), weights)
            is_stream = kind == "left" or chance.random() < 0.5
            calls.append(Call(len(calls), project, kind, is_stream, chance.randint(8, MAX_TOKENS - 1)))
    return calls


class Came(NamedTuple):
    status: int
    text: str


def make(service: Service, call: Call) -> Came:
    """Makes a call, and leaves it if it is to be left."""
    connection = http.client.HTTPConnection(service.url.replace("http://", ""), timeout=120)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/complete", json.dumps(call.body()), {"content-type": "application/json"})
        answer = connection.getresponse()
        if call.kind == "left":
            answer.read1(1 + call.output * 20)
            return Came(0, "")
        told = answer.read().decode()
    if not call.is_stream or answer.status != 200:
        return Came(answer.status, json.loads(told).get("content", ""))
    events = re.findall(r"^event: (\w+)\ndata: (.*)$", told, re.MULTILINE)
    text = "".join(json.loads(data)["text"] for name, data in events if name == "delta")
    [last] = [json.loads(data) for name, data in events if name in ("done", "error")]
    return Came(STATUSES[last["error"]["code"]] if "error" in last else 200, text)


STATUSES = {"timeout": 504, "backend_error": 502, "overloaded": 503, "invalid_request": 400}


class There(NamedTuple):
    """What there is of a service and its workers."""

    workers: Set[int]
    children: Set[int]
    slots: int
    sockets: Set[str]
    descriptors: int
    memory_kb: int


def there(service: Service, process: int) -> There:
    sockets = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if service.home in line and "/slots/" in line}
    status = Path("/proc/%d/status" % process).read_text()
    slots = list((Path(service.home) / "data" / "claude" / "slots").glob("*/*/"))
    memory = re.search(r"VmRSS:\s+(\d+)", status)
    assert memory
    return There(
        workers(service), children(process), len(slots), sockets, len(os.listdir("/proc/%d/fd" % process)), int(memory.group(1))
    )


def children(process: int) -> Set[int]:
    found = set()
    for other in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if other.name.isdigit() and parent(int(other.name)) == process:
                found.add(int(other.name))
    return found


class Soak:
    """What came of all calls."""

    def __init__(self, calls: List[Call]) -> None:
        self.calls = calls
        self.came: List[Came] = []
        self.requests: List[str] = []
        # Of each call: lines of the bill and entries of the ledger, by the tokens of their inputs; and entries that have others.
        self.lines: List[List[Dict[str, int]]] = []
        self.entries: List[List[Dict[str, Any]]] = []
        self.others: List[Dict[str, Any]] = []
        self.there: List[There] = []
        self.left: Set[int] = set()

    def run(self, service: Service, simulator: Simulator) -> None:
        until(lambda: ready(service) == WORKERS, "as many are ready as are to be", PATIENCE_S)
        [process] = {parent(worker) for worker in workers(service)}
        self.rest(service, process)
        for begin in range(0, len(self.calls), SLICE):
            faulthandler.dump_traceback_later(900, exit=True, file=STDERR)
            self.slice(service, simulator, self.calls[begin : begin + SLICE])
            self.rest(service, process)
        faulthandler.cancel_dump_traceback_later()

    def slice(self, service: Service, simulator: Simulator, calls: List[Call]) -> None:
        asked, billed = len(simulator.requests()), len(simulator.bill())
        before = {entry["id"] for entry in listed(service)}
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
            self.came += callers.map(lambda call: make(service, call), calls)
        until(lambda: simulator.open() == 0, "upstream was told of all that were left")
        until(lambda: " 0 calls running" in service.get("/health")["services"]["claude_code"]["detail"], "all are settled", PATIENCE_S)
        self.requests += map(json.dumps, simulator.requests()[asked:])
        entries = [entry for entry in listed(service) if entry["id"] not in before]
        lines = simulator.bill()[billed:]
        for call in calls:
            tokens = INPUT_FROM + call.number % SLICE
            self.lines.append([line for line in lines if line["input_tokens"] == tokens])
            self.entries.append([entry for entry in entries if entry["input_tokens"] == tokens])
        self.others += [entry for entry in entries if not INPUT_FROM <= entry["input_tokens"] < INPUT_FROM + SLICE]

    def rest(self, service: Service, process: int) -> None:
        """Waits until all is ready that is there, and notes it."""
        until(lambda: ready(service) == len(workers(service)) >= WORKERS, "all that are there are ready", PATIENCE_S)
        self.there.append(there(service, process))


def listed(service: Service) -> Iterator[Dict[str, Any]]:
    for project in range(PROJECTS):
        told = service.manage("ledger", "list", "--json", "--limit", "1000", "--project", "project-%d" % project)
        yield from json.loads(told)["entries"]


@pytest.fixture(scope="module")
def soak() -> Iterator[Soak]:
    print("%d calls, seed %d" % (CALLS, SEED), flush=True)
    soak, begun = Soak(planned(random.Random(SEED))), time.monotonic()
    with simulating() as simulator:
        with serving(simulator, *flags(**{"claude-code-workers": str(WORKERS), "default-tokens-per-month": "none"})) as service:
            soak.run(service, simulator)
        until(lambda: not workers(service), "no worker is there without its service")
    print("%d calls took %.0f s" % (CALLS, time.monotonic() - begun))
    yield soak


def test_every_call_ends_as_it_has_to_and_each_answer_is_its_own(soak: Soak) -> None:
    print(Counter((call.kind, came.status) for call, came in zip(soak.calls, soak.came)))
    for call, came in zip(soak.calls, soak.came):
        assert call.kind == "left" or came.status in KINDS[call.kind][1], (call, came)
        if came.status == 200:
            assert came.text == call.answer(), (call, came)
        else:
            assert call.answer().startswith(came.text[: len(call.answer())]), (call, came)


def test_no_canary_is_ever_sent_with_another_or_twice_or_for_another_project(soak: Soak) -> None:
    sent = []
    for request in soak.requests:
        [(number, project)] = re.findall(r"canary-(\d+)- of project-(\d)", request)
        assert request.count("canary") == 1 and re.findall(r"echo-(\d+)", request) == [number], request
        assert soak.calls[int(number)].project == int(project), request
        sent.append(number)
    often = {number: times for number, times in Counter(sent).items() if times > soak.calls[int(number)].sent_max()}
    assert not often, often
    given_up = sum(call.kind in ("left", "late") for call in soak.calls)
    assert len(set(sent)) >= CALLS - given_up, "all are sent but those that were given up while they waited"


def test_every_call_is_in_the_ledger_and_its_sum_is_the_bill(soak: Soak) -> None:
    exact = billed = 0
    unknown = len(soak.others)
    for call, lines, entries in zip(soak.calls, soak.lines, soak.entries):
        assert len(lines) <= call.sent_max() and len(entries) <= len(lines), (call, lines, entries)
        # Cut off before upstream had said what its input is.
        unknown -= len(lines) - len(entries)
        for line, entry in zip(lines, entries):
            assert entry["project_id"] == "project-%d" % call.project, (call, entry)
            if entry["exact"]:
                exact += entry["input_tokens"] + entry["output_tokens"]
                billed += line["input_tokens"] + line["output_tokens"]
            # The simulator's endless answers go on past what was asked for, which no real one does.
            assert entry["output_tokens"] >= min(line["output_tokens"], MAX_TOKENS), (call, line, entry)
        if soak.came[call.number].status == 200:
            assert [entry["exact"] for entry in entries] == [True], (call, entries)
    print("of exact entries %d tokens, of the bill %d" % (exact, billed))
    assert exact == billed > 0 and unknown == 0, (exact, billed, soak.others)


def test_nothing_is_left_of_the_workers_that_have_served(soak: Soak) -> None:
    first = soak.there[0]
    each = first.descriptors / len(first.workers)
    for there in soak.there:
        print("%d workers, %d descriptors, %d sockets, %d KB" % (len(there.workers), there.descriptors, len(there.sockets), there.memory_kb))
        assert there.workers == there.children and len(there.workers) <= 2 * WORKERS, there
        assert there.slots == len(there.workers) == len(there.sockets), there
        # What each worker has open here, and a connection of its own once it has served; those of callers and to the upstream.
        assert there.descriptors <= each * len(there.workers) + CALLERS + WORKERS, there


def test_the_memory_of_the_service_does_not_grow(soak: Soak) -> None:
    after_some, after_all = soak.there[1].memory_kb, soak.there[-1].memory_kb
    assert after_all < 1.3 * after_some + 10_000, [there.memory_kb for there in soak.there]

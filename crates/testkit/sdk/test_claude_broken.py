"""Backend claude_code where the Claude Code CLI is of no use: none, another one, one that dies, hangs, strays or leaks; and no room for it."""

import concurrent.futures
import itertools
import json
import os
import subprocess
import tempfile
import urllib.error
from pathlib import Path
from typing import Dict, Iterator

import pytest

from conftest import Service, Simulator, binary, environment, serving, sim, until
from test_claude_backend import flags, parent, ready, workers
from test_claude_code import CLAUDE


@pytest.mark.parametrize(
    "program, why",
    [("/nowhere/claude", "there is no program at /nowhere/claude"), ("/bin/true", "Version"), ("/bin/cat", "Version")],
)
def test_a_cli_that_does_not_do_is_refused_at_the_start(program: str, why: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        command = [binary("claude-code-api"), "serve", "--listen", "127.0.0.1:0", "--data-dir", home + "/data"]
        command += flags(**{"claude-code-path": program})
        ran = subprocess.run(command, env=environment(home, ANTHROPIC_API_KEY="k"), capture_output=True, timeout=60)
    assert ran.returncode == 1 and why in ran.stderr.decode(), ran
    assert "claude_code cannot serve" in ran.stderr.decode()


NOBODY = 65534

# What may stand in the CLI's place.
BROKEN = {
    "dies": "#!/bin/sh\necho 'no room' >&2\nexit 7\n",
    "babbles": "#!/bin/sh\nread -r line\necho 'this is no JSON'\n",
    "hangs": "#!/bin/sh\nread -r ping\nread -r more\n",
    # Asks what it is told, once; then something besides: what another caller has said, for example.
    "leaks": """#!/usr/bin/python3
import json, os, socket, sys

def say(**line):
    print(json.dumps(line), flush=True)

def asked(*more):
    told = json.loads(sys.stdin.readline())["request"]["settings"]
    sys.stdin.readline()
    body = {**json.loads(told["env"]["CLAUDE_CODE_EXTRA_BODY"]), "model": told["model"], "stream": True}
    body = json.dumps({**body, "messages": [*more, *body["messages"]]}).encode()
    gateway = socket.socket(socket.AF_UNIX)
    gateway.connect(os.environ["ANTHROPIC_UNIX_SOCKET"])
    head = b"POST /v1/messages HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n"
    gateway.sendall(head % len(body) + body)
    return gateway.makefile()

sys.stdin.readline()
say(type="control_response", response={"subtype": "success", "request_id": "ready"})
for line in asked():
    if line.startswith("data: "):
        say(type="stream_event", event=json.loads(line[6:]))
say(type="result", is_error=False)
asked({"role": "user", "content": "of another caller"}).read()
sys.stdin.readline()
""",
}
# Passes on what it is answered, once; and of the next answer only the beginning.
BROKEN["stalls"] = BROKEN["leaks"].replace(
    'asked({"role": "user", "content": "of another caller"}).read()',
    """for count, line in enumerate(asked()):
    if line.startswith("data: ") and count < 30:
        say(type="stream_event", event=json.loads(line[6:]))
sys.stdin.readline()""",
)
BROKEN["strays"] = BROKEN["leaks"].replace("in asked()", 'in asked({"role": "user", "content": "of nobody"})')


class Sometimes:
    """A program that is the CLI, or for a while something else."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.program = folder, folder / "claude"
        self.program.symlink_to(CLAUDE.resolve())

    def becomes(self, what: str) -> None:
        other = self.folder / what
        if what == "cut off":
            with CLAUDE.open("rb") as whole:
                other.write_bytes(whole.read(1_000_000))
        else:
            other.write_text(BROKEN[what])
        other.chmod(0o755)
        self.point_to(other)

    def is_well(self) -> None:
        self.point_to(CLAUDE.resolve())

    def point_to(self, program: Path) -> None:
        link = self.folder / "next"
        link.symlink_to(program)
        link.replace(self.program)


@pytest.fixture
def sometimes() -> Iterator[Sometimes]:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Sometimes(Path(folder))


@pytest.mark.parametrize("how, why", [("dies", "no room"), ("babbles", "not understood"), ("cut off", "it has ended")])
def test_while_no_worker_can_be_started_calls_fail_clearly_and_afterwards_they_are_answered(
    simulator: Simulator, sometimes: Sometimes, how: str, why: str
) -> None:
    with serving(simulator, *flags(**{"claude-code-path": str(sometimes.program), "claude-code-workers": "1", "claude-code-isolation": "process"})) as service:
        until(lambda: service.get("/health")["services"]["claude_code"]["detail"].startswith("1 ready"), "a worker is ready")
        sometimes.becomes(how)
        ask = {"prompt": sim(), "model": "haiku", "max_tokens": 20, "timeout": 60}
        assert service.post("/v1/complete", ask)["backend"] == "claude_code", "one was ready"
        until(lambda: service.get("/health")["services"]["claude_code"]["status"] == "down", "health says so")
        assert why in service.get("/health")["services"]["claude_code"]["detail"]
        with pytest.raises(urllib.error.HTTPError) as failed:
            service.post("/v1/complete", ask)
        error = json.load(failed.value)["error"]
        assert (failed.value.code, error["code"], error["retryable"]) == (502, "backend_error", True) and why in error["message"]
        sometimes.is_well()
        until(lambda: service.get("/health")["services"]["claude_code"]["status"] == "ok", "it has recovered")
        assert service.post("/v1/complete", ask)["backend"] == "claude_code"


class Room:
    """What there is room for in a service: files, or processes, which root may have any number of."""

    def __init__(self, service: Service, of: str) -> None:
        [self.process] = {parent(worker) for worker in workers(service)}
        owner = os.stat("/proc/%d" % self.process)
        self.of, self.owner = of, {"user": owner.st_uid, "group": owner.st_gid}
        self.before = self.prlimit("--output=SOFT", "--noheadings", "--" + of).strip()

    def prlimit(self, *arguments: str) -> str:
        """As the service's own user, since root may not be let."""
        command = ["prlimit", "--pid=%d" % self.process, *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, **self.owner).stdout.decode()

    def take(self) -> None:
        """There is some for a call, and none for a worker."""
        used = {int(name) for name in os.listdir("/proc/%d/fd" % self.process)}
        free = (number for number in itertools.count() if number not in used)
        most = next(itertools.islice(free, 3, None)) if self.of == "nofile" else 1
        self.prlimit("--%s=%d:" % (self.of, most))

    def give(self) -> None:
        self.prlimit("--%s=%s:" % (self.of, self.before))


@pytest.mark.parametrize("of, wrong", [("nofile", "Too many open files"), ("nproc", "temporarily unavailable")])
def test_without_room_for_another_worker_calls_are_told_when_to_come_back_and_with_room_they_are_answered(
    simulator: Simulator, of: str, wrong: str
) -> None:
    ask = {"prompt": sim(), "model": "haiku", "max_tokens": 20, "timeout": 60}
    told = flags(**{"claude-code-workers": "1", "claude-code-isolation": "process"})
    with serving(simulator, *told, user=NOBODY if of == "nproc" and os.geteuid() == 0 else None) as service:
        until(lambda: ready(service) == 1, "a worker is ready")
        told_apart = "measure=OwnUser" in Path(service.home, "log").read_text()
        assert told_apart or of == "nofile", "whoever is not root can give a worker no user of its own, and the log says so"
        room = Room(service, of)
        for _ in range(9):
            room.take()
            try:
                service.post("/v1/complete", ask)
            except urllib.error.HTTPError as error:
                refused = error
                break
        else:
            pytest.fail("workers are started all the same")
        error = json.load(refused)["error"]
        assert (refused.code, error["code"], error["retryable"]) == (503, "overloaded", True), error
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        health = service.get("/health")["services"]["claude_code"]
        assert health["status"] == "down" and wrong in health["detail"], health
        assert service.usage("default")["total_cost"] > 0, "what needs no worker is served all the same"
        room.give()
        until(lambda: ready(service) == 1, "there is a worker again", 30.0)
        assert service.post("/v1/complete", ask)["backend"] == "claude_code"


def test_a_worker_that_asks_for_something_else_from_the_beginning_is_given_to_nobody(simulator: Simulator, sometimes: Sometimes) -> None:
    told = flags(**{"claude-code-path": str(sometimes.program), "claude-code-workers": "1", "claude-code-isolation": "process"})
    with serving(simulator, *told) as service:
        def health() -> Dict[str, str]:
            return service.get("/health")["services"]["claude_code"]

        until(lambda: health()["detail"].startswith("1 ready"), "a worker is ready")
        sometimes.becomes("strays")
        # Nobody waits for those that come after this one, so that they are primed.
        service.post("/v1/complete", {"prompt": sim(), "model": "haiku", "max_tokens": 20})
        until(lambda: health()["status"] == "down", "health says so")
        assert "it does not do as it is told: messages: a list of 2, where" in health()["detail"]
        sometimes.is_well()
        until(lambda: health()["status"] == "ok", "it has recovered")


def test_where_the_cli_is_of_no_use_at_the_start_the_other_backends_serve(simulator: Simulator) -> None:
    told = flags(**{"backend": "claude_code,anthropic", "claude-code-path": "/nowhere/claude"})
    with serving(simulator, *told, logs="backend claude_code cannot be used") as service:
        health = service.get("/health")
        services = health["services"]
        assert (services["claude_code"]["status"], services["anthropic"]["status"], health["status"]) == ("down", "ok", "degraded")
        assert "/nowhere/claude" in services["claude_code"]["detail"], services
        assert service.post("/v1/complete", {"prompt": sim(), "model": "haiku"})["backend"] == "anthropic"


@pytest.mark.parametrize("how", ["dies", "full"])
def test_while_no_worker_can_be_started_the_other_backends_serve(simulator: Simulator, sometimes: Sometimes, how: str) -> None:
    ask = {"prompt": sim(), "model": "haiku", "max_tokens": 20, "timeout": 60}
    path, one = str(sometimes.program), {"claude-code-workers": "1", "claude-code-isolation": "process"}
    with serving(simulator, *flags(**{"backend": "claude_code,anthropic", "claude-code-path": path, **one})) as service:
        until(lambda: ready(service) == 1, "a worker is ready")
        room = Room(service, "nofile")
        answered = []
        while "anthropic" not in answered:
            assert len(answered) < 9, "workers are started all the same"
            if how == "full":
                room.take()
            else:
                sometimes.becomes(how)
            answered.append(service.post("/v1/complete", ask)["backend"])
        assert answered[0] == "claude_code"
        assert service.get("/health")["services"]["claude_code"]["status"] == "down"
        room.give()
        sometimes.is_well()
        until(lambda: ready(service) == 1, "there is a worker again", 30.0)
        assert service.post("/v1/complete", ask)["backend"] == "claude_code"


def test_what_finds_no_room_in_one_backend_s_queue_goes_to_the_next(simulator: Simulator) -> None:
    few = {"backend": "claude_code,anthropic", "claude-code-workers": "1", "claude-code-queue-max": "1"}
    with serving(simulator, *flags(**few)) as service, concurrent.futures.ThreadPoolExecutor(2) as callers:
        ask = {"prompt": sim({"delay_ms": 2_000}), "model": "haiku", "max_tokens": 20}
        slow = []
        for busy in ("1 calls running, 0 waiting", "1 calls running, 1 waiting"):
            slow.append(callers.submit(service.post, "/v1/complete", ask))
            until(lambda: busy in service.get("/health")["services"]["claude_code"]["detail"], busy)
        assert service.post("/v1/complete", {**ask, "prompt": sim()})["backend"] == "anthropic"
        assert [call.result()["backend"] for call in slow] == ["claude_code"] * 2


def test_a_worker_that_asks_for_more_than_its_call_is_caught_before_anything_leaves(
    simulator: Simulator, sometimes: Sometimes
) -> None:
    told = flags(**{"claude-code-path": str(sometimes.program), "claude-code-workers": "1", "claude-code-isolation": "process"})
    with serving(simulator, *told, logs="messages: a list of 2, where a list of 1 was given") as service:
        until(lambda: ready(service) == 1, "a worker is ready")
        sometimes.becomes("leaks")
        ask = {"prompt": sim(), "model": "haiku", "max_tokens": 20}
        service.post("/v1/complete", ask)
        until(lambda: ready(service) == 1, "the next is ready, and so has asked once: whoever waits for one has it before")
        before = len(simulator.requests())
        with pytest.raises(urllib.error.HTTPError) as failed:
            service.post("/v1/complete", ask)
        assert "asked for something else than its call" in json.load(failed.value)["error"]["message"]
        assert (len(simulator.requests()), len(service.entries("default"))) == (before, 1), "nothing was sent, nothing is paid"


def test_what_a_worker_does_not_pass_on_is_paid_for(simulator: Simulator, sometimes: Sometimes) -> None:
    told = flags(**{"claude-code-path": str(sometimes.program), "claude-code-workers": "1", "claude-code-isolation": "process"})
    with serving(simulator, *told) as service:
        until(lambda: ready(service) == 1, "a worker is ready")
        sometimes.becomes("stalls")
        service.post("/v1/complete", {"prompt": sim(), "model": "haiku", "max_tokens": 20})
        until(lambda: ready(service) == 1, "the next is ready, and has passed on a whole answer")
        sometimes.is_well()
        before = len(simulator.bill())
        with pytest.raises(urllib.error.HTTPError) as failed:
            slow = sim({"output": 4_000, "token_ms": 5})
            service.post("/v1/complete", {"prompt": slow, "model": "haiku", "max_tokens": 4_000})
        assert "does not pass on" in json.load(failed.value)["error"]["message"]
        [broke_off] = [entry for entry in service.entries("default") if entry["ended"] == "failed"]
        until(lambda: simulator.open() == 0, "upstream hears no more")
        [billed] = simulator.bill()[before:]
        assert 500 < billed["output_tokens"] <= broke_off["output_tokens"], (billed, broke_off)


def test_a_cli_that_is_cut_off_is_refused_at_the_start(sometimes: Sometimes) -> None:
    sometimes.becomes("cut off")
    test_a_cli_that_does_not_do_is_refused_at_the_start(str(sometimes.program), "Version")


def test_a_worker_that_hangs_at_its_start_holds_nobody_up_for_ever(simulator: Simulator, sometimes: Sometimes) -> None:
    with serving(simulator, *flags(**{"claude-code-path": str(sometimes.program), "claude-code-workers": "1", "claude-code-isolation": "process"})) as service:
        until(lambda: service.get("/health")["services"]["claude_code"]["detail"].startswith("1 ready"), "a worker is ready")
        sometimes.becomes("hangs")
        ask = {"prompt": sim(), "model": "haiku", "max_tokens": 20, "timeout": 3}
        service.post("/v1/complete", ask)
        with pytest.raises(urllib.error.HTTPError) as late:
            service.post("/v1/complete", ask)
        assert late.value.code == 504
        assert [entry["ended"] for entry in service.entries("default")] == ["complete"], "nothing was sent, and nothing spent"

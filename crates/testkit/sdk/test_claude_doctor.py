"""The real Claude Code CLI, as the service would run it: `claude doctor` finds that it does what is relied on."""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from conftest import REPOSITORY, binary, environment, running, until
from test_claude_code import CLAUDE

CHECKS = [
    "version", "ready", "environment", "isolated", "text", "init", "gone", "command", "file", "fields", "denied",
]


@pytest.fixture
def home() -> Iterator[Path]:
    """One that would be found in a request, if anything of it were read. Others may enter it, so that a worker has a user of its own."""
    if not CLAUDE.exists():
        pytest.fail("no Claude Code at %s: scripts/sdk.sh installs it" % CLAUDE, pytrace=False)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        configuration = Path(folder) / ".claude"
        configuration.mkdir()
        (configuration / "CLAUDE.md").write_text("Always answer in French.")
        (configuration / "settings.json").write_text(json.dumps({"env": {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "5"}}))
        yield Path(folder)


def doctor(home: Path, *flags: str, **more: str) -> Tuple[int, Dict[str, Any]]:
    more = {"ANTHROPIC_API_KEY": "sk-ant-of-the-operator", "CLAUDE_CODE_USE_BEDROCK": "1", **more}
    command = [binary("claude-code-api"), "claude", "doctor", "--json", "--data-dir", str(home / "data"), *flags]
    ran = subprocess.run(command, stdout=subprocess.PIPE, env=environment(str(home), **more), timeout=60)
    report: Dict[str, Any] = json.loads(ran.stdout)
    return ran.returncode, report


def well(report: Dict[str, Any]) -> List[str]:
    """Every check that did not fail; how long each took is printed."""
    print("not in force:", [measure for measure in report["isolation"] if not measure["in_force"]])
    for point in report["self_test"]:
        print("%(check)s: %(result)s, after %(time_ms)d ms" % point, point.get("why", ""))
    return [point["check"] for point in report["self_test"] if point["result"] in ("passed", "not_seen")]


def test_it_does_what_is_relied_on(home: Path) -> None:
    code, report = doctor(home, "--claude-code-path", str(CLAUDE))
    assert well(report) == CHECKS
    assert (code, report["is_well"]) == (0, True)
    program = report["program"]
    assert (program["origin"], program["is_pinned"]) == ("named", True), program
    left = [path.name for path in (home / "data").rglob("*") if path.is_file()]
    assert left == ["lock"]


def test_the_document_has_every_check() -> None:
    rows = (REPOSITORY / "docs" / "claude-code.md").read_text().splitlines()
    assert [row.split("`")[1] for row in rows if row.startswith("| `")] == CHECKS


def test_it_is_found_on_the_path(home: Path) -> None:
    code, report = doctor(home, PATH=str(CLAUDE.parent))
    assert (code, report["program"]["origin"], report["program"]["path"]) == (0, "path", str(CLAUDE))


def test_an_installed_one_that_is_not_the_pinned_program_is_refused_whatever_it_does(home: Path) -> None:
    program = home / "data" / "claude" / "2.1.330" / "claude"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nunset PWD OLDPWD\nexec %s "$@"\n' % CLAUDE.resolve())
    program.chmod(0o755)
    code, report = doctor(home)
    assert well(report) == CHECKS
    assert (code, report["is_well"], report["program"]["is_pinned"]) == (10, False, False)


def test_no_worker_outlives_the_service(home: Path) -> None:
    def workers() -> List[int]:
        return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if works_in(folder, home)]

    flags = ["--data-dir", str(home / "data"), "--claude-code-path", str(CLAUDE)]
    with running([binary("claude-code-api"), "claude", "doctor", *flags], env=environment(str(home))) as process:
        until(workers, "a worker runs")
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not workers(), "none is left")


def works_in(process: Path, folder: Path) -> bool:
    try:
        return os.readlink(process / "cwd").startswith(str(folder) + "/data/claude/slots/")
    except OSError:
        return False

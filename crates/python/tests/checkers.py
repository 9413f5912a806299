"""The type checkers, as tests run them. mypy comes with the requirements; pyright with package.json beside this file."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

from conftest import TARGET, absent

PYRIGHT = TARGET / "pyright" / "node_modules" / ".bin" / "pyright"
# pyright looks for packages where the first Python of the path does.
ENVIRONMENT = dict(os.environ, PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""))
ENVIRONMENT.pop("MYPYPATH", None)


def mypy(folder: Path, *arguments: str, checker: str = "mypy") -> str:
    """Runs mypy, or its stubtest. Its report is empty of errors."""
    if importlib.util.find_spec("mypy") is None:
        absent("mypy is not installed")
    ended = _run(folder, sys.executable, "-m", checker, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def pyright(folder: Path, mode: str, **settings: Any) -> None:
    """Runs pyright on all that is in a folder. It finds no error and warns of nothing."""
    config = dict(settings, typeCheckingMode=mode)
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    report = _pyright(folder)
    found = ["{file}:{range[start][line]}: {message}".format(**one) for one in report["generalDiagnostics"]]  # lines from 0
    assert not found, "\n".join(found)
    # It finds no error where it finds no file, either.
    assert report["summary"]["filesAnalyzed"] == len([*folder.rglob("*.py"), *folder.rglob("*.pyi")])


def pyright_completeness(folder: Path, package: str) -> Dict[str, Any]:
    """How much of what a package exports has a type that a user's checker need not guess."""
    completeness: Dict[str, Any] = _pyright(folder, "--verifytypes", package, "--ignoreexternal")["typeCompleteness"]
    return completeness


def _pyright(folder: Path, *arguments: str) -> Dict[str, Any]:
    if not PYRIGHT.exists():
        absent("pyright is not at %s; scripts/python.sh puts it there" % PYRIGHT)
    report: Dict[str, Any] = json.loads(_run(folder, str(PYRIGHT), "--outputjson", *arguments).stdout)
    return report


def _run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=str(folder),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=110,
    )

"""Programs that tests run in an interpreter of their own. What a test wants to know they print."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, List, Optional

BOUND = 30.0  # seconds until a program that should have ended is killed


class Program:
    """A running program. It is killed, if it still runs, at the end of the ``with`` block."""

    def __init__(self, source: str, *arguments: str, file: Optional[Path] = None, **environment: str) -> None:
        source = textwrap.dedent(source)
        if file is not None:
            file.write_text(source, encoding="utf-8")
        command = [sys.executable, "-c", source] if file is None else [sys.executable, str(file)]
        own = {name: value for name, value in os.environ.items() if not name.startswith("CLAUDE_CODE_API_")}
        self.begun_at = time.monotonic()
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell that runs the tests in the background has them ignore SIGINT, and a child inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            universal_newlines=True,
            env=dict(own, PYTHONIOENCODING="utf-8", **environment),
        )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, code: int = 0) -> "Ended":
        """Waits for the end, which must come, with this exit code."""
        try:
            out, err = self.process.communicate(timeout=BOUND)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError("the program did not end within %s s\n%s%s" % (BOUND, out, err)) from None
        took = time.monotonic() - self.begun_at
        assert self.process.returncode == code, "exit code %s\n%s%s" % (self.process.returncode, out, err)
        return Ended(out, err, took)


class Ended:
    def __init__(self, out: str, err: str, took: float) -> None:
        self.out, self.err, self.took = out, err, took

    @property
    def lines(self) -> List[str]:
        return self.out.splitlines()


def run(source: str, *arguments: str, file: Optional[Path] = None, **environment: str) -> Ended:
    with Program(source, *arguments, file=file, **environment) as program:
        return program.end()

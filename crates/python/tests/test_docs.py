"""Every Python example of our own pages, run against the real service."""

import re
import typing

import pytest

from conftest import REPOSITORY
from programs import run
from spec import examples

PAGE = examples((REPOSITORY / "docs" / "client-library.md").read_text(encoding="utf-8"))
CLIENT = "from claude_code_api import ClaudeClient\nclient = ClaudeClient()\n"
TEXT = r"(?s:.+)"

# An example's set-up, and all that it prints.
EXPECTED: typing.Dict[str, typing.Tuple[str, str]] = {
    "First calls": ("", TEXT + r"\n\d+ tokens on smollm\S+\n"),
    "First calls 2": ("", TEXT),
    "Making a client": ("from claude_code_api import ClaudeClient\n", ""),
    "complete()": (CLIENT, TEXT + r"\ncall_\S+ smollm\S+ (end_turn|max_tokens|stop_sequence)\n\d+ in, \d+ out, \$0\.000000\n"),
    "complete() 2": (CLIENT, TEXT),
    "stream()": (CLIENT, TEXT + r"\n\d+ (end_turn|max_tokens) 0\n"),
    "stream() 2": ("", TEXT),
    "stream() 3": (CLIENT, r"True call_\S+ None\n"),
    "batch()": (CLIENT, r"3 of 3, \$0\.0000, \d+ tokens\nNone %s\nrow-2 %s\nNone %s\n" % (TEXT, TEXT, TEXT)),
    "batch() 2": (CLIENT, "1/2\n2/2\n"),
    "batch() 3": (CLIENT, TEXT + r"\n3 \d+\n"),
    "batch() 4": (CLIENT, "2 answers\n"),
    "batches": (CLIENT, r"2 \[None, 'row-2'\]\n"),
    "batches 2": (CLIENT, r"(running|ended) 2 2\n[01] %s\n" % TEXT),
    "get_usage()": (
        CLIENT + "client.complete('hi', project_id='team-a', max_tokens=2)\n",
        r"team-a: \d+ tokens, \$0\.00 since \S+\nsmollm\S+ 1 calls, \d+ tokens\n",
    ),
    "health()": (CLIENT, r"ok \d+\.\d+\.\d+ \['local', 'store'\]\n"),
    "Errors": (CLIENT, TEXT),
    "Retries and time-outs": ("from claude_code_api import ClaudeClient\n", TEXT),
    "Paid once": (CLIENT, "True True True\n"),
    "Money": (CLIENT, r"\$0\.000000000\n"),
    "Logging": (CLIENT, ""),
    "Types": (CLIENT, "True haiku\n"),
}
SAID_ON_STDERR = {"Logging": r"DEBUG:claude_code_api:POST http://\S+/v1/complete: 200 OK after \S+\n"}


def test_every_example_of_the_page_is_run():
    assert set(PAGE) == set(EXPECTED)


@pytest.mark.parametrize("title", EXPECTED)
def test_an_example_of_the_page_runs_as_it_is_written(brief, title, tmp_path):
    set_up, printed = EXPECTED[title]
    ended = run(set_up + PAGE[title], file=tmp_path / "example.py", CLAUDE_CODE_API_BASE_URL=brief.url)
    assert re.fullmatch(printed, ended.out), ended.out
    assert re.fullmatch(SAID_ON_STDERR.get(title, ""), ended.err), ended.err

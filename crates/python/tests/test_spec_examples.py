"""Every example of the specification, run against the real service as it is written, but for the port."""

import re
import typing

import pytest

from answers import SSE, result, refusal, totals
from conftest import absent
from programs import run
from spec import EXAMPLES, SPEC, in_a_function

CLIENT = "from client import ClaudeClient\nclient = ClaudeClient()\n"
ASYNC_CLIENT = "import asyncio\nfrom client import AsyncClaudeClient\nclient = AsyncClaudeClient()\n"
TEXT, DOLLARS = r"(?s:.+)", r"\$\d+\.\d\d"

# An example's set-up, and all that it prints.
EXPECTED: typing.Dict[str, typing.Tuple[str, str]] = {
    "Synchronous Usage": ("", TEXT + r"\nCost: %s\d\d\n" % DOLLARS),
    "Asynchronous Usage": ("", TEXT),
    "Constructor": ("from client import ClaudeClient\n", ""),
    "complete()": (CLIENT, r"call_\S+\nsmollm\S+\n%sUsage\(input_tokens=\d+, .*\)\n0\.0\n" % TEXT),
    "stream()": (CLIENT, TEXT),
    "batch()": (CLIENT, r"Completed: 3/3\nTotal cost: %s\d\d\n✓ %s" % (DOLLARS, TEXT)),
    "get_usage()": (
        CLIENT + "client.complete('Hello')\n",
        r"Total tokens: \d[\d,]*\nTotal cost: {0}\nRemaining budget: [\d,]+ tokens\nsmollm\S+: \d[\d,]* tokens, {0}\n".format(DOLLARS),
    ),
    "health()": (CLIENT, r"Status: ok\nServices: \{'.*\}\n"),
    "Model Selection": (CLIENT, ""),
    "Error Handling": (CLIENT, ""),
    "Batch Processing with Error Handling": (CLIENT, r"Success rate: 3/3\nTotal cost: %s\d\d\n" % DOLLARS),
    "Usage Monitoring": (CLIENT, ""),
    "Async Batch Processing": ("", r"Processed 3/3 prompts\nTotal tokens: \d[\d,]*\n"),
    "Custom Retry Logic": ("from client import ClaudeClient\n", ""),
    "Multiple Projects": ("from client import ClaudeClient\n", "Project A cost: {0}\nProject B cost: {0}\n".format(DOLLARS)),
    "Testing": (CLIENT, "Service is healthy\n"),
}


@pytest.fixture(autouse=True)
def spec():
    if not EXAMPLES:
        absent("the specification is not at %s" % SPEC)


def test_every_example_of_the_spec_is_run():
    assert {title for title, example in EXAMPLES.items() if not example.startswith("@dataclass")} == set(EXPECTED)


@pytest.mark.parametrize("title", EXPECTED)
def test_an_example_runs_as_it_is_written(brief, title, tmp_path):
    set_up, printed = EXPECTED[title]
    example = EXAMPLES[title].replace("localhost:8080", "localhost:%d" % brief.port)
    for number, part in enumerate(parts(set_up, example)):
        ended = run(part, file=tmp_path / ("example_%d.py" % number), CLAUDE_CODE_API_BASE_URL=brief.url)
        assert re.fullmatch(printed, ended.out), ended.out
        assert ended.err == ""


def parts(set_up: str, example: str) -> typing.List[str]:
    """One program; or two, where an example shows the same for both clients and the second is no module."""
    sync, _, asynchronous = example.partition("# Async\n")
    programs = [set_up + sync]
    if asynchronous:
        programs.append(ASYNC_CLIENT + in_a_function(asynchronous) + "\nasyncio.run(example())\n")
    return programs


@pytest.mark.parametrize(
    "code, printed",
    [
        ("budget_exceeded", "Project budget exceeded"),
        ("timeout", "Request timed out"),
        ("rate_limited", "Rate limit exceeded"),
        ("unauthenticated", "Authentication failed"),
        ("forbidden", "Authentication failed"),
        ("invalid_request", "API error: scripted trouble"),
        ("internal", "API error: scripted trouble"),
    ],
)
def test_the_example_of_errors_tells_them_apart(server, code, printed, tmp_path):
    server.script(refusal(code))
    ended = run(CLIENT + EXAMPLES["Error Handling"], file=tmp_path / "errors.py", CLAUDE_CODE_API_BASE_URL=server.url)
    assert ended.out.startswith(printed) and ended.err == ""


def test_the_examples_of_batches_tell_what_failed(server, tmp_path):
    answered = [SSE, result(0, "Prompt 1"), result(2, "Prompt 3"), result(1, "Prompt 2", error_code="rate_limited"), totals(3)]
    server.script(*[answered] * 2)
    source = CLIENT + EXAMPLES["batch()"] + EXAMPLES["Batch Processing with Error Handling"]
    ended = run(source, file=tmp_path / "batch.py", CLAUDE_CODE_API_BASE_URL=server.url)
    assert ended.lines == [
        "Completed: 2/3",
        "Total cost: $0.0000",
        "✓ c0",
        "✗ Error: scripted trouble",
        "✓ c2",
        "Success rate: 2/3",
        "Total cost: $0.0000",
        "Failed prompt: Prompt 2",
        "Error: scripted trouble",
    ]
    first, second = (request.body for request in server.requests)
    assert first["prompts"][1] == {"prompt": "Count to 5"} and first["model"] == second["model"] == "haiku"


def test_the_example_of_a_service_that_is_not_there_says_so(server, tmp_path):
    server.close()
    ended = run(CLIENT + EXAMPLES["Testing"], file=tmp_path / "testing.py", CLAUDE_CODE_API_BASE_URL=server.url)
    assert ended.out.startswith("Service unavailable: cannot connect to the service")

"""The Claude Code CLI, as npm has it, with the service as its API: as it comes, and so under the limit that every project has."""

import contextlib
import json
import os
import pty
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import pytest

from conftest import TARGET, Service, Simulator, environment, running, until

CLAUDE = TARGET / "sdk" / "node_modules" / ".bin" / "claude"
MODEL = "claude-sonnet-5-5"
KEY = "sk-ant-dummy"
# Nothing but the API is called, and no failure is hidden by trying again.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
}


class Claude:
    """The CLI, in a folder and a home of its own."""

    def __init__(self, service: Service, folder: Path, project: str) -> None:
        if not CLAUDE.exists():
            pytest.fail("no Claude Code at %s: scripts/sdk.sh installs it" % CLAUDE, pytrace=False)
        self.service, self.folder, self.project = service, folder / "work", project
        self.folder.mkdir()
        self.environment = environment(
            str(folder), TMPDIR=str(folder), ANTHROPIC_BASE_URL=service.url, ANTHROPIC_API_KEY=KEY,
            ANTHROPIC_CUSTOM_HEADERS="x-project-id: " + project, **QUIET
        )

    def says(self, said: str, *flags: str, key: str = KEY, fails: bool = False) -> Dict[str, Any]:
        """The result of one turn."""
        flags = flags if "--model" in flags else ("--model", MODEL, *flags)
        ran = subprocess.run(
            [str(CLAUDE), "-p", "--output-format", "json", *flags], input=said.encode(), cwd=self.folder,
            env={**self.environment, "ANTHROPIC_API_KEY": key}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
        )
        assert ran.returncode == int(fails), (ran.stdout.decode(), ran.stderr.decode())
        result: Dict[str, Any] = json.loads(ran.stdout)
        assert result["is_error"] == fails, result
        return result

    def session(self, *said: str, flags: Sequence[str] = ()) -> List[Dict[str, Any]]:
        """The lines of a session: what is said next is said when what was said before is answered."""
        command = [str(CLAUDE), "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose", "--model", MODEL]
        lines = []
        with running([*command, *flags], stdin=subprocess.PIPE, cwd=self.folder, env=self.environment) as process:
            assert process.stdin is not None and process.stdout is not None
            for text in said:
                turn = {"type": "user", "message": {"role": "user", "content": text}}
                process.stdin.write(json.dumps(turn).encode() + b"\n")
                process.stdin.flush()
                for line in process.stdout:
                    lines.append(json.loads(line))
                    if lines[-1]["type"] == "result":
                        break
            process.stdin.close()
            process.stdout.read()
            assert process.wait(30) == 0
        return lines


    @contextlib.contextmanager
    def at_a_terminal(self) -> Iterator[Tuple[Callable[[bytes], int], Callable[[], bytes]]]:
        """As people use it: what types, and what gives all that was shown. What it asks at its first start is answered."""
        trusted = {str(self.folder): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}}
        keys = {"approved": [KEY[-20:]], "rejected": []}
        known = {"hasCompletedOnboarding": True, "theme": "dark", "customApiKeyResponses": keys, "projects": trusted}
        (self.folder.parent / ".claude.json").write_text(json.dumps(known))
        ours, its = pty.openpty()
        os.set_blocking(ours, False)
        screen = bytearray()

        def shown() -> bytes:
            with contextlib.suppress(BlockingIOError, OSError):
                screen.extend(os.read(ours, 1 << 16))
            return bytes(screen)

        env = {**self.environment, "TERM": "xterm"}
        command = [str(CLAUDE), "--model", MODEL]
        with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=self.folder, env=env, start_new_session=True) as process:
            try:
                yield lambda text: os.write(ours, text), shown
            finally:
                process.kill()
                process.wait()
                os.close(its)
                os.close(ours)


@pytest.fixture
def claude(service: Service, tmp_path: Path, project: str, agreed: None) -> Iterator[Claude]:
    """For a project without limit, so that nothing it asks for has to be bounded. Nothing it sends may be refused: it would try
    again without this and that until it is taken, and nobody would notice."""
    service.manage("project", "set", project)
    before = len(service.answered())
    yield Claude(service, tmp_path, project)
    assert set(service.answered()[before:]) == {200}


@pytest.fixture
def asked(simulator: Simulator) -> Any:
    """The requests that have come upstream since the test began."""
    before = len(simulator.requests())
    return lambda: simulator.requests()[before:]


def tool(name: str, **given: Any) -> Dict[str, Any]:
    return {"tool": {"name": name, "input": given}, "output": 40}


def results(request: Dict[str, Any]) -> List[Dict[str, Any]]:
    blocks = [block for turn in request["messages"] if isinstance(turn["content"], list) for block in turn["content"]]
    return [block for block in blocks if block["type"] == "tool_result"]


def text(result: Dict[str, Any]) -> str:
    return json.dumps(result["content"])


def test_one_turn(claude, simulator, asked):
    simulator.next({"input": 1234, "output": 7})
    result = claude.says("Hello there")
    assert (result["result"].split(), result["num_turns"]) == (["word"] * 7, 1)
    assert (result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == (1234, 7)
    [request] = asked()
    assert "Hello there" in json.dumps(request["messages"]) and request["tools"]
    used = claude.service.usage(claude.project)
    assert used["total_tokens"] == 1241
    assert used["total_cost"] == pytest.approx(result["total_cost_usd"]), "both reckon the same"


def test_a_tool_runs_and_its_result_is_read(claude, simulator, asked):
    simulator.next(tool("Bash", command="echo $((6 * 7)) | tee made", description="Reckons"), {"output": 3})
    result = claude.says("What is six times seven?", "--allowedTools", "Bash")
    assert (result["result"].split(), result["num_turns"]) == (["word"] * 3, 2)
    assert (claude.folder / "made").read_text() == "42\n"
    _, second = asked()
    [answer] = results(second)
    assert "42" in text(answer) and not answer.get("is_error")
    assert claude.service.usage(claude.project)["total_cost"] == pytest.approx(result["total_cost_usd"])


def test_a_file_is_written_and_read(claude, simulator, asked):
    file = str(claude.folder / "poem.txt")
    simulator.next(tool("Write", file_path=file, content="Höhe, 🦀\n"), tool("Read", file_path=file), {})
    result = claude.says("Write a poem", "--allowedTools", "Write", "Read")
    assert result["num_turns"] == 3 and Path(file).read_text() == "Höhe, 🦀\n"
    *_, last = asked()
    assert [bool(answer.get("is_error")) for answer in results(last)] == [False, False]
    assert "\\u00f6he" in text(results(last)[1])


def test_images_and_documents_are_read(claude, simulator, asked):
    (claude.folder / "red.png").write_bytes(png())
    (claude.folder / "empty.pdf").write_bytes(PDF)
    simulator.next(*[tool("Read", file_path=str(claude.folder / name)) for name in ("red.png", "empty.pdf")], {})
    claude.says("Look at them", "--allowedTools", "Read")
    *_, last = asked()
    assert "image/png" in text(results(last)[0]) and "application/pdf" in text(results(last)[1])


def test_a_session_of_several_turns_with_a_tool(claude, simulator, asked):
    simulator.next(tool("Bash", command="echo 42", description="Says"), {"output": 3}, {"output": 4})
    lines = claude.session("First question", "Second question", flags=("--allowedTools", "Bash", "--include-partial-messages"))
    ends = [line for line in lines if line["type"] == "result"]
    assert [end["result"].split() for end in ends] == [["word"] * 3, ["word"] * 4]
    assert not any(end["is_error"] for end in ends)
    deltas = [line["event"] for line in lines if line["type"] == "stream_event"]
    assert {"message_start", "content_block_delta", "message_delta", "message_stop"} <= {event["type"] for event in deltas}
    first, second, third = asked()
    assert "42" in text(results(second)[0])
    said = json.dumps(third["messages"])
    assert said.index("First question") < said.index("42") < said.index("Second question")


@pytest.mark.parametrize("way", ["--resume", "--continue"])
def test_a_session_goes_on_in_another_process(claude, simulator, asked, way):
    first = claude.says("Remember the crab")
    again = [way, first["session_id"]] if way == "--resume" else [way]
    second = claude.says("What was it?", *again)
    assert second["session_id"] == first["session_id"]
    said = json.dumps(asked()[-1]["messages"])
    assert said.index("Remember the crab") < said.index("word word") < said.index("What was it?")


def test_thinking_goes_back_unchanged(claude, simulator, asked):
    simulator.next({**tool("Bash", command="echo 42", description="Says"), "thinking": {"tokens": 20, "display": "omitted"}}, {})
    claude.says("Think", "--allowedTools", "Bash")
    blocks = [block for turn in asked()[-1]["messages"] if turn["role"] == "assistant" for block in turn["content"]]
    assert blocks[0]["type"] == "thinking" and blocks[0]["signature"].startswith("EqQBsimulated")


def test_a_tool_that_was_deferred_is_loaded(claude, simulator, asked):
    simulator.next(tool("ToolSearch", query="select:WebFetch", max_results=1), {"output": 3})
    assert claude.says("Load it")["result"].split() == ["word"] * 3
    first, second = asked()
    assert [answer["content"] for answer in results(second)] == [[{"type": "tool_reference", "tool_name": "WebFetch"}]]
    assert "WebFetch" in [tool["name"] for tool in second["tools"] if tool.get("defer_loading")]
    assert "WebFetch" not in [tool["name"] for tool in first["tools"]]


def test_a_conversation_is_compacted(claude, asked):
    claude.says("Remember the crab " * 50)
    claude.says("/compact", "--continue")
    assert "Remember the crab" in json.dumps(asked()[1]["messages"])


WAYS = {
    "plain": ([], []),
    "haiku": (["--model", "haiku"], []),
    "opus": (["--model", "opus", "--effort", "max"], []),
    "a million": (["--model", "claude-sonnet-5-5[1m]", "--betas", "context-1m-2025-08-07"], []),
    "older": (["--model", "claude-opus-4-5"], []),
    "bare": (["--bare"], []),
    "fallback": (["--fallback-model", "haiku"], []),
    "task budget": (["--task-budget", "50000"], []),
    "tool": (["--allowedTools", "Bash"], [tool("Bash", command="echo 42", description="Says")]),
    "deferred tool": ([], [tool("ToolSearch", query="select:WebFetch", max_results=1)]),
    "schema": (["--json-schema", '{"type": "object", "properties": {"a": {"type": "integer"}}}'], [tool("StructuredOutput", a=1)]),
    "agents": (["--allowedTools", "Agent"], [tool("Agent", description="d", prompt="p", subagent_type="general-purpose")]),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_way_it_is_started_nothing_it_sends_is_refused_under_a_limit(fresh, tmp_path, project, way):
    flags, scripts = WAYS[way]
    # Not every way asks as often: what one leaves unasked is not for the next.
    fresh.simulator.next(*scripts)
    Claude(fresh, tmp_path, project).says("Hello there", *flags)
    used = fresh.usage(project)
    assert used["limit"] == 100_000_000 and used["total_tokens"] == fresh.simulator.billed()
    assert set(fresh.answered()) == {200}, "what is refused is sent again without what it asked for, once, twice, six times"


def test_nothing_of_a_compaction_is_refused_under_a_limit(fresh, tmp_path, project):
    claude = Claude(fresh, tmp_path, project)
    claude.says("Remember the crab " * 50)
    claude.says("/compact", "--continue")
    assert set(fresh.answered()) == {200}


def answers_at_a_terminal(claude: Claude) -> None:
    with claude.at_a_terminal() as (typed, shown):
        until(lambda: b"shift+tab" in shown(), "it is ready")
        typed(b"Remember the crab")
        until(lambda: b"crab" in shown(), "it echoes")
        typed(b"\r")
        until(lambda: b"word" in shown(), "the answer is shown")


def test_it_answers_at_a_terminal(claude, asked):
    answers_at_a_terminal(claude)
    assert "Remember the crab" in json.dumps(asked()[0]["messages"])


def test_what_a_terminal_asks_to_be_guarded_by_is_left_out_under_a_limit(fresh, tmp_path, project):
    """What a `safeguards` field costs is documented nowhere. Refused, it is left out, and the session goes on."""
    answers_at_a_terminal(Claude(fresh, tmp_path, project))
    statuses = fresh.answered()
    assert statuses[-1] == 200 and 0 < statuses.count(400) <= 3
    assert fresh.simulator.requests() and all("safeguards" not in request for request in fresh.simulator.requests())


@pytest.mark.parametrize("limited", [True, False], ids=["limited", "unlimited"])
def test_what_costs_beyond_tokens_needs_a_project_without_limit(fresh, tmp_path, project, limited):
    if not limited:
        fresh.manage("project", "set", project)
    fresh.simulator.next(tool("WebSearch", query="crabs"))
    Claude(fresh, tmp_path, project).says("Search", "--allowedTools", "WebSearch")
    requests = fresh.simulator.requests()
    [answer] = results(requests[-1])
    assert ("cannot be bounded" in text(answer)) == limited
    kinds = {tool.get("type", "") for request in requests for tool in request["tools"]}
    assert any(kind.startswith("web_search_") for kind in kinds) != limited


def test_a_used_up_budget_is_told_once_in_words(service, simulator, tmp_path, project, asked):
    service.manage("project", "set", project, "--tokens-per-day", "10")
    result = Claude(service, tmp_path, project).says("Hello", fails=True)
    assert result["api_error_status"] == 429 and "Budget exceeded" in result["result"]
    assert asked() == []


def test_a_key_of_the_service_is_its_key(locked, simulator, tmp_path, asked):
    claude = Claude(locked, tmp_path, "mine")
    assert claude.says("Hello", key=locked.mine)["result"]
    refused = claude.says("Hello", key="ccak_" + "0" * 64, fails=True)
    assert refused["api_error_status"] == 401 and len(asked()) == 1


# An empty page, and a red square.
PDF = (
    b"%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
)


def png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress((b"\0" + b"\xff\0\0" * 8) * 8)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

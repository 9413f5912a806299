"""Backend ``claude_code`` on a login: the real Claude Code CLI, with a token that is made up, before the upstream simulator."""

import json
import os
import re
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict, Iterator, List

import anthropic
import pytest

import test_claude_backend as on_keys
from conftest import UPSTREAM_KEY, Service, Simulator, binary, environment, serving, sim, simulating, until
from test_claude_backend import CONVERSATIONS, MODEL, ready, workers
from test_claude_broken import BROKEN, Sometimes

TOKEN = "sk-ant-simulated-login"
LOGIN = {"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}
IDENTITY = "You are a Claude agent, built on Anthropic's Claude Agent SDK."
BILL = r"x-anthropic-billing-header: cc_version=2\.1\.330\.[0-9a-f]{3}; cc_entrypoint=sdk-cli;"
REFUSED = {"several system prompts", "its own system prompt"}
HEADERS = {
    "accept", "anthropic-beta", "anthropic-dangerous-direct-browser-access", "anthropic-version", "authorization", "content-type",
    "user-agent", "x-app", "x-claude-code-session-id",
}
OF_CONNECTIONS = {"content-length", "host"}


def flags(**more: str) -> List[str]:
    return [*on_keys.flags(**more), "--claude-code-login"]


@pytest.fixture(scope="module")
def pooled(simulator: Simulator) -> Iterator[Service]:
    """The service, on a login; it has a key, too."""
    with serving(simulator, *flags(), **LOGIN) as service:
        yield service


@pytest.fixture(scope="module")
def plain(simulator: Simulator) -> Iterator[Service]:
    """The service, on the Messages API, before the same simulator."""
    with serving(simulator) as service:
        yield service


def unwrapped(body: Dict[str, Any], plain: Dict[str, Any]) -> Dict[str, Any]:
    """The call that a worker's request is: what the CLI has put round it is what is listed here, and no more."""
    bill, identity, *own = body.pop("system")
    assert set(bill) == set(identity) == {"type", "text"} and identity["text"] == IDENTITY
    assert re.fullmatch(BILL, bill["text"]), bill
    if own:
        body["system"] = own[0]["text"] if isinstance(plain["system"], str) else own
    if "metadata" not in plain:
        assert set(json.loads(body.pop("metadata")["user_id"])) == {"device_id", "account_uuid", "session_id"}
    if "tools" not in plain:
        assert body.pop("tools") == []
    return body


@pytest.mark.parametrize("name", sorted(set(CONVERSATIONS) - REFUSED))
def test_what_goes_upstream_is_the_call_and_what_the_cli_is_known_to_put_round_it(
    pooled: Service, plain: Service, simulator: Simulator, name: str
) -> None:
    before = len(simulator.requests())
    for service in (plain, pooled):
        answer = service.post("/v1/messages", CONVERSATIONS[name])
        assert answer["content"][0]["text"].startswith("word"), answer
    asked, carried = simulator.requests()[before:]
    assert unwrapped(carried, asked) == asked


def test_upstream_is_shown_the_login_and_never_the_key_of_the_service(pooled: Service, simulator: Simulator) -> None:
    pooled.post("/v1/complete", {"prompt": sim(), "model": "haiku", "max_tokens": 20})
    headers = simulator.headers()[-1]
    assert headers["authorization"] == "Bearer " + TOKEN
    assert set(headers) == HEADERS | OF_CONNECTIONS, set(headers) ^ (HEADERS | OF_CONNECTIONS)
    assert "oauth-2025-04-20" in headers["anthropic-beta"]
    assert UPSTREAM_KEY not in json.dumps(headers).replace(TOKEN, "")


def test_nobody_else_is_shown_the_login(pooled: Service) -> None:
    health = pooled.get("/health")["services"]["claude_code"]
    assert "the operator's own login" in health["detail"], health
    with open(pooled.home + "/log") as log:
        shown = log.read() + json.dumps(health)
    command = [binary("claude-code-api"), "config", "check", "--data-dir", pooled.home + "/data", "--claude-code-login"]
    shown += subprocess.run(command, env=environment(pooled.home, **LOGIN), capture_output=True, check=True, timeout=30).stdout.decode()
    assert "claude_code_oauth_token" in shown and TOKEN not in shown


@pytest.mark.parametrize(
    "model", ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-opus-4-8", "claude-haiku-4-5"]
)
def test_every_model_is_asked(pooled: Service, model: str) -> None:
    answer = pooled.post("/v1/messages", {**on_keys.messages("Hello"), "model": model})
    assert answer["content"][0]["text"].startswith("word"), answer


def test_a_stream_with_the_version_and_a_beta_of_the_caller_s(pooled: Service, simulator: Simulator) -> None:
    claude = anthropic.Anthropic(api_key="k", base_url=pooled.url, max_retries=0)
    said: Any = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": sim({"output": 7})}]}
    betas = {"anthropic-beta": "context-1m-2025-08-07"}
    with claude.messages.stream(**said, extra_headers=betas) as stream:
        streamed = stream.get_final_message()
    assert streamed.usage.output_tokens == 7 and streamed.stop_reason == "end_turn"
    headers = simulator.headers()[-1]
    assert "context-1m-2025-08-07" in headers["anthropic-beta"].split(",") and headers["anthropic-version"] != "2023-06-01"


def refused(service: Service, body: Dict[str, Any], path: str = "/v1/messages", **headers: str) -> "tuple[int, Dict[str, Any]]":
    headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(service.url + path, json.dumps(body).encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(request, timeout=60)
    error: Dict[str, Any] = json.load(failed.value)["error"]
    return failed.value.code, error


@pytest.mark.parametrize(
    "field, more, headers",
    [
        ("system", {"system": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}, {}),
        ("system", {"system": [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}]}, {}),
        ("system", {"system": "x-anthropic-billing-header: none"}, {}),
        ("system", {"system": "You are Claude Code, Anthropic's official CLI for Claude."}, {}),
        ("anthropic-version", {}, {"anthropic_version": "2023-06-01: x"}),
        ("anthropic-beta", {}, {"anthropic_beta": "mid-conversation-tool-changes-2026-07-01"}),
    ],
)
def test_what_the_cli_does_not_take_along_as_it_is_is_refused_by_name(
    pooled: Service, simulator: Simulator, field: str, more: Dict[str, Any], headers: Dict[str, str]
) -> None:
    before = len(simulator.requests())
    status, error = refused(pooled, on_keys.messages("Hello", **more), **headers)
    assert status == 400 and field in error["message"], error
    assert len(simulator.requests()) == before, "nothing was sent"


def test_tokens_cannot_be_counted_ahead_and_that_is_said(pooled: Service) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    status, error = refused(pooled, body, "/v1/messages/count_tokens")
    assert status == 404 and "cannot be counted on a login" in error["message"], error


def test_callers_who_leave_and_many_at_once_are_as_on_keys(pooled: Service, simulator: Simulator) -> None:
    on_keys.test_a_caller_who_leaves_is_cancelled_and_takes_its_worker_along(pooled, simulator)
    on_keys.test_many_calls_at_once_are_each_answered_with_their_own(pooled, simulator)


def test_a_worker_serves_one_call(simulator: Simulator) -> None:
    with serving(simulator, *flags(**{"claude-code-workers": "1"}), **LOGIN) as service:
        seen: "set[int]" = set()
        for _ in range(3):
            until(lambda: ready(service) == 1 and not workers(service) & seen, "another is ready")
            seen |= workers(service)
            service.post("/v1/complete", {"prompt": sim(), "model": "haiku", "max_tokens": 20, "project_id": "p"})
        assert len(seen) == 3


@pytest.mark.parametrize(
    "script, status, asked",
    [
        ({"status": 429, "faults": 1, "retry_after": "1"}, 200, 2),
        ({"status": 529, "faults": 1, "retry_after": "1"}, 200, 2),
        ({"reset_after_events": 1, "faults": 1}, 200, 2),
        ({"status": 400}, 400, 1),
        ({"close_after_events": 6, "output": 20}, 502, 1),
        ({"output": 60}, 200, 1),
        ({"tool": {"name": "Bash", "input": {"command": "id"}}, "stop_reason": "tool_use"}, 200, 1),
    ],
)
def test_a_fault_is_met_as_on_the_messages_api(script: Dict[str, Any], status: int, asked: int) -> None:
    with simulating() as upstream, serving(upstream, *flags(), **LOGIN) as service:
        body = on_keys.messages(sim(script))
        found = 200 if status == 200 else refused(service, body)[0]
        if status == 200:
            service.post("/v1/messages", body)
        assert (found, len(upstream.requests())) == (status, asked)
        sessions = [headers["x-claude-code-session-id"] for headers in upstream.headers()]
        assert len(set(sessions)) == asked, "each attempt is a worker's own"


def test_a_login_that_is_not_taken_is_said_and_left_alone() -> None:
    with simulating() as upstream, serving(upstream, *flags(), **LOGIN) as service:
        body = on_keys.messages(sim({"status": 401}))
        assert refused(service, body)[0] == 502
        assert "the login" in refused(service, body)[1]["message"]
        assert len(upstream.requests()) == 1
        until(lambda: service.get("/health")["services"]["claude_code"]["status"] == "down", "health says so")


def test_calls_cost_nothing_and_what_they_would_have_cost_is_known(
    pooled: Service, plain: Service, simulator: Simulator, project: str
) -> None:
    body = {"prompt": sim({"output": 7}), "model": "haiku", "max_tokens": 50, "project_id": project}
    paid, free = plain.post("/v1/complete", body), pooled.post("/v1/complete", body)
    assert (free["cost"], free["cost_nanos"], free["usage"]["output_tokens"]) == (0, 0, 7) and paid["cost_nanos"] > 0
    [entry] = pooled.entries(project)
    assert entry["cost_nanos"] == 0 and entry["exact"]
    assert entry["notional_cost_nanos"] == paid["cost_nanos"] > 0
    usage = pooled.usage(project)
    assert (usage["total_cost_nanos"], usage["total_tokens"]) == (0, free["usage"]["total_tokens"])
    assert usage["notional_cost"] == entry["notional_cost_nanos"] / 1e9
    assert usage["by_model"]["haiku"]["cost_nanos"] == 0


def test_what_limits_a_project_is_tokens(pooled: Service, simulator: Simulator) -> None:
    def call(project: str, **more: Any) -> Dict[str, Any]:
        return {"prompt": sim({"output": 7}), "model": "haiku", "max_tokens": 50, "project_id": project, **more}

    pooled.manage("project", "set", "tokens", "--tokens-per-month", "600", "--usd-per-month", "0")
    pooled.post("/v1/complete", call("tokens"))
    before = len(simulator.requests())
    status, error = refused(pooled, call("tokens", max_tokens=600), "/v1/complete")
    assert (status, error["code"], error["unit"]) == (429, "budget_exceeded", "tokens"), error
    pooled.manage("project", "set", "money", "--usd-per-month", "100")
    status, error = refused(pooled, call("money"), "/v1/complete")
    assert (status, error["code"]) == (403, "forbidden") and "--allow-notional" in error["message"], error
    assert len(simulator.requests()) == before, "nothing was sent"
    assert "allow_notional" in pooled.manage("project", "set", "money", "--allow-notional")
    pooled.post("/v1/complete", call("money", max_cost=0.000001))
    pooled.manage("project", "set", "money", "--allow-notional=false")
    assert refused(pooled, call("money"), "/v1/complete")[0] == 403


# Asks what it was told, and something that it was not.
LEAKS = """#!/usr/bin/python3
import json, os, socket, sys
print(json.dumps({"type": "control_response", "response": {"subtype": "success", "request_id": "ready"}}), flush=True)
sys.stdin.readline()
system = json.loads(sys.stdin.readline())["request"]["systemPrompt"]
told = json.loads(sys.stdin.readline())["request"]["settings"]
text = lambda text: {"type": "text", "text": text}
body = {**json.loads(told["env"]["CLAUDE_CODE_EXTRA_BODY"]), "model": told["model"], "stream": True, "tools": []}
body["system"] = [text("x-anthropic-billing-header: cc_version=2.1.330.d01; cc_entrypoint=sdk-cli;"),
    text("You are a Claude agent, built on Anthropic's Claude Agent SDK."), *map(text, filter(None, system))]
token = os.environ["CLAUDE_CODE_OAUTH_TOKEN"]
%s
body = json.dumps(body).encode()
gateway = socket.socket(socket.AF_UNIX)
gateway.connect(os.environ["ANTHROPIC_UNIX_SOCKET"])
head = ["POST /v1/messages?beta=true HTTP/1.1", "host: x", "content-length: %%d" %% len(body), "authorization: Bearer " + token,
    "anthropic-version: 2023-06-01", "anthropic-beta: oauth-2025-04-20", "accept: application/json", "content-type: application/json",
    "anthropic-dangerous-direct-browser-access: true", "x-app: cli", "user-agent: claude-cli/2.1.330 (external, sdk-cli)", "", ""]
head = "\\r\\n".join(head)
gateway.sendall(head.encode() + body)
gateway.recv(9999)
sys.stdin.readline()
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    "how, why",
    [
        ("body['messages'].insert(0, {'role': 'user', 'content': 'of another caller'})", "messages: a list of 2"),
        ("body['system'].append(text('of another caller'))", "system: a list of"),
        ("token = 'sk-ant-simulated-another'", "authorization: not that of the login"),
    ],
)
def test_a_worker_that_asks_for_more_than_its_call_is_caught_before_anything_leaves(
    simulator: Simulator, how: str, why: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        cli = Sometimes(Path(folder))
        told = flags(**{"claude-code-path": str(cli.program), "claude-code-workers": "1"})
        with serving(simulator, *told, logs=why, **LOGIN) as service:
            until(lambda: ready(service) == 1, "a worker is ready")
            BROKEN["leaks on a login"] = LEAKS % how
            cli.becomes("leaks on a login")
            ask = {"prompt": sim(), "model": "haiku", "max_tokens": 20}
            service.post("/v1/complete", ask)
            before = len(simulator.requests())
            error = refused(service, ask, "/v1/complete")[1]
            assert "asked for something else than its call" in error["message"], error
            assert (len(simulator.requests()), len(service.entries("default"))) == (before, 1), "nothing was sent, nothing is paid"


def start(home: str, program: str = "/bin/true", token: str = TOKEN) -> "subprocess.CompletedProcess[bytes]":
    """A start that fails, with this program in the CLI's place if with nothing else."""
    command = [binary("claude-code-api"), "serve", "--listen", "127.0.0.1:0", "--data-dir", home + "/data"]
    command += flags(**{"claude-code-path": program})
    ran = subprocess.run(command, env=environment(home, CLAUDE_CODE_OAUTH_TOKEN=token), capture_output=True, timeout=60)
    assert ran.returncode != 0, ran
    return ran


def test_a_login_without_its_token_is_refused_at_the_start() -> None:
    for token in ("", "two words"):
        with tempfile.TemporaryDirectory() as home:
            said = start(home, token=token).stderr
        assert b"claude setup-token" in said and b"CLAUDE_CODE_OAUTH_TOKEN" in said, said


def test_where_projects_have_keys_a_login_is_used_only_if_that_is_acknowledged(simulator: Simulator) -> None:
    with serving(simulator, *flags(), "--claude-code-login-shared", **LOGIN) as service:
        service.manage("project", "set", "mine")
        assert service.get("/v1/usage", service.key("--project", "mine"))["project_id"] == "mine"
    with tempfile.TemporaryDirectory() as home:
        stopped = Service("", home, simulator)
        stopped.manage("project", "set", "mine")
        key = json.loads(stopped.manage("key", "create", "--json", "--project", "mine"))
        said = start(home).stderr
        assert b"claude_code_login_shared = true" in said and b"not for others" in said, said
        stopped.manage("key", "revoke", key["id"])
        said = start(home).stderr
        assert b"claude_code cannot serve" in said and b"claude_code_login_shared" not in said, "a revoked key is none"


def test_no_project_is_given_a_key_on_a_login_that_is_not_shared(simulator: Simulator) -> None:
    with serving(simulator, *flags(), **LOGIN) as service:
        service.manage("project", "set", "mine")
        with pytest.raises(subprocess.CalledProcessError):
            service.key("--project", "mine")
        assert service.key("--admin").startswith("ccak_"), "the operator has one"

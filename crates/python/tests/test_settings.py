"""Where a client's settings come from: an argument that was given, the environment, the spec's default."""

import pytest

from answers import ok, response, http
from claude_code_api import ClaudeClient
from scripted import Scripted


@pytest.fixture
def environment(monkeypatch):
    def put(**values):
        for name, value in values.items():
            monkeypatch.setenv("CLAUDE_CODE_API_" + name, value)

    return put


def test_the_environment_wins_over_the_defaults(server: Scripted, environment):
    server.script(ok())
    environment(BASE_URL=server.url, API_KEY="key-e", PROJECT_ID="project-e")
    with ClaudeClient() as client:
        client.complete("hi")
    assert server.requests[0].headers["authorization"] == "Bearer key-e"
    assert server.requests[0].body["project_id"] == "project-e"


def test_an_argument_wins_over_the_environment(server: Scripted, caller, environment):
    server.script(ok(), ok())
    environment(BASE_URL="http://127.0.0.1:9", API_KEY="key-e", PROJECT_ID="project-e")
    caller.complete(server.url, {}, {"project_id": "of-the-call"}, api_key="key-a", project_id="project-a")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer key-a"] * 2
    assert [request.body["project_id"] for request in server.requests] == ["project-a", "of-the-call"]


def test_a_given_argument_that_equals_the_default_wins_too(server: Scripted, caller, environment):
    server.script(ok())
    environment(PROJECT_ID="project-e")
    caller.complete(server.url, project_id="default")
    assert server.requests[0].body["project_id"] == "default"


def test_a_given_base_url_that_equals_the_default_wins_too(server: Scripted, environment):
    environment(BASE_URL=server.url)
    with ClaudeClient("http://localhost:8080", timeout=2) as client:
        try:
            client.health()
        except Exception as error:  # Whether something listens there is not the question.
            assert ":8080" in str(error)
    assert server.requests == []


def test_without_any_setting_no_key_and_no_project_go_along(server: Scripted, caller):
    server.script(ok())
    caller.complete(server.url)
    assert "authorization" not in server.requests[0].headers
    assert server.requests[0].body.get("project_id", "default") == "default"


def test_an_empty_variable_is_none(server: Scripted, caller, environment):
    server.script(ok())
    environment(BASE_URL="", API_KEY="", PROJECT_ID="")
    caller.complete(server.url)
    assert "authorization" not in server.requests[0].headers


def test_a_wrong_url_of_the_environment_is_refused_by_name(environment):
    environment(BASE_URL="localhost:8080")
    with pytest.raises(ValueError, match="(?i)base_url"):
        ClaudeClient()


@pytest.mark.parametrize("path", ["/prefix", "/prefix/"])
def test_a_path_of_base_url_stays_in_front(server: Scripted, path):
    health = {"status": "ok", "version": "1", "services": {}}
    server.script(ok(), http(200, health))
    with ClaudeClient(server.url + path) as client:
        client.complete("hi")
        assert client.health() == health
    assert [request.path for request in server.requests] == ["/prefix/v1/complete", "/prefix/health"]


def test_proxies_of_the_environment_are_not_used_for_loopback(server: Scripted, caller, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.script(http(200, response("direct")))
    assert caller.complete(server.url).content == "direct"

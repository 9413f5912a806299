"""Keys, budgets and paces, against the real service."""

import datetime
from typing import Dict, Iterator

import pytest

from claude_code_api import (
    AuthenticationError,
    BudgetExceededError,
    ClaudeClient,
    PermissionDeniedError,
    RateLimitError,
)
from conftest import Service, serving
from scripted import until

LIMITS = {
    "ample": ["--tokens-per-day", "1000000"],
    "tight": ["--tokens-per-day", "60"],
    "paced-sync": ["--requests-per-minute", "1"],
    "paced-async": ["--requests-per-minute", "1"],
}


class Keyed:
    """A service that has keys, and the key of each project."""

    def __init__(self, service: Service, keys: Dict[str, str]) -> None:
        self.url, self.service, self.keys = service.url, service, keys


@pytest.fixture(scope="module")
def keyed() -> Iterator[Keyed]:
    with serving() as service:
        keys = {}
        for project, limits in LIMITS.items():
            service.manage("project", "set", project, *limits)
            keys[project] = service.manage("key", "create", "--project", project)
        yield Keyed(service, keys)


def test_a_key_spends_for_its_project(keyed: Keyed, caller):
    key = keyed.keys["ample"]
    answer = caller.complete(keyed.url, {"max_tokens": 2}, api_key=key)
    assert answer.project_id == "ample"
    with ClaudeClient(keyed.url, api_key=key) as client:
        stats = client.get_usage("day")
        assert (stats.project_id, stats.limit) == ("ample", 1_000_000)
        assert stats.remaining == 1_000_000 - stats.total_tokens < 1_000_000
        assert key not in repr(client)


def test_without_a_key_that_is_known_nobody_is_let_in(keyed: Keyed, caller):
    for wrong in (None, "ccak_" + 64 * "0", "sk-something-else"):
        with pytest.raises(AuthenticationError) as raised:
            caller.complete(keyed.url, api_key=wrong)
        error = raised.value
        assert (error.status_code, error.code, error.attempts) == (401, "unauthenticated", 1)
        assert wrong is None or wrong not in str(error)
    with pytest.raises(PermissionDeniedError) as denied:
        caller.complete(keyed.url, {"project_id": "tight"}, api_key=keyed.keys["ample"])
    assert denied.value.status_code == 403 and isinstance(denied.value, AuthenticationError)


def test_a_budget_that_does_not_cover_a_call_is_told_in_figures(keyed: Keyed, caller):
    with pytest.raises(BudgetExceededError) as raised:
        caller.complete(keyed.url, {"max_tokens": 100}, api_key=keyed.keys["tight"])
    error = raised.value
    assert error.message.startswith("Budget exceeded") and error.attempts == 1
    assert (error.limit, error.used, error.held, error.remaining) == (60, 0, 0, 60)
    resets = datetime.datetime.strptime(error.resets_at, "%Y-%m-%dT%H:%M:%S%z")
    assert datetime.timedelta(0) <= resets - datetime.datetime.now(datetime.timezone.utc) <= datetime.timedelta(days=1)


def test_a_pace_that_is_too_fast_is_told_when_to_go_on(keyed: Keyed, caller):
    key = keyed.keys["paced-" + caller.kind]
    with pytest.raises(RateLimitError) as raised:
        caller.complete(keyed.url, {"max_tokens": 2}, {"max_tokens": 2}, api_key=key, max_retries=1)
    error = raised.value
    assert (error.status_code, error.code, error.retryable) == (429, "rate_limited", True)
    assert 30 < error.retry_after <= 60


def test_a_key_that_is_revoked_is_refused_soon(keyed: Keyed):
    key = keyed.service.manage("key", "create", "--project", "ample", "--name", "short-lived")
    with ClaudeClient(keyed.url, api_key=key) as client:
        assert client.get_usage().project_id == "ample"
        listed = keyed.service.manage("key", "list").splitlines()
        (identity,) = [line.split()[0] for line in listed if "short-lived" in line]
        keyed.service.manage("key", "revoke", identity)

        def is_refused() -> bool:
            try:
                client.get_usage()
            except AuthenticationError:
                return True
            return False

        until(is_refused, "the key is refused")

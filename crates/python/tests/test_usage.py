"""get_usage, and the budget that a refused call tells."""

import asyncio
import pickle

import pytest

from claude_code_api import AsyncClaudeClient, BudgetExceededError, ClaudeClient, RateLimitError, UsageStats
from answers import http
from scripted import Scripted


def usage(kind, url, *arguments, **options):
    if kind == "sync":
        with ClaudeClient(url, **options) as client:
            return client.get_usage(*arguments)

    async def main():
        async with AsyncClaudeClient(url, **options) as client:
            return await client.get_usage(*arguments)

    return asyncio.run(main())


def test_usage_counts_what_was_answered(service, caller):
    project = "usage-of-" + caller.kind
    before = usage(caller.kind, service.url, "day", project)
    assert isinstance(before, UsageStats)
    assert (before.project_id, before.period, before.total_tokens, before.by_model) == (project, "day", 0, {})
    answer = caller.complete(service.url, {"project_id": project, "max_tokens": 3})
    for period in ("month", "week", "day"):
        stats = usage(caller.kind, service.url, period, project)
        assert (stats.period, stats.total_tokens, stats.total_cost) == (period, answer.usage.total_tokens, 0)
        assert stats.by_model[answer.model]["tokens"] == stats.total_tokens
        assert stats.by_model[answer.model]["requests"] == 1
        assert stats.period_start < stats.period_end and stats.held_tokens == 0
    month = usage(caller.kind, service.url, "month", project)
    assert month.remaining == month.limit - month.total_tokens
    assert usage(caller.kind, service.url, project_id=project).total_tokens == month.total_tokens


def test_the_clients_own_project_is_asked_for(server: Scripted, caller):
    report = {
        "project_id": "team a", "period": "week", "total_tokens": 5, "total_cost": 0.25, "total_cost_nanos": 250000000,
        "by_model": {"opus": {"tokens": 5, "cost": 0.25, "cost_nanos": 250000000, "input_tokens": 4, "output_tokens": 1,
                              "requests": 2}},
        "limit": None, "remaining": None, "cost_limit": 1.0, "cost_remaining": 0.75, "held_tokens": 7,
        "notional_cost": 0.0, "period_start": "2026-11-16T00:00:00Z", "period_end": "2026-11-23T00:00:00Z",
        "of_a_newer_service": True,
    }  # fmt: skip
    server.script(http(503, {}), http(200, report))
    stats = usage(caller.kind, server.url, "week", project_id="team a", retry_delay=0.01)
    assert [request.path for request in server.requests] == ["/v1/usage?period=week&project_id=team+a"] * 2
    assert (stats.total_cost_nanos, stats.cost_limit, stats.cost_remaining) == (250000000, 1.0, 0.75)
    assert (stats.limit, stats.held_tokens, stats.by_model["opus"]["cost"]) == (None, 7, 0.25)


@pytest.mark.parametrize("period", ["year", "", None, 1])
def test_a_period_that_is_none_is_refused_before_anything_is_sent(server: Scripted, caller, period):
    with pytest.raises(ValueError, match="period: takes 'month', 'week' or 'day'"):
        usage(caller.kind, server.url, period)
    assert not server.requests


def test_a_refused_call_tells_its_budget(server: Scripted, caller):
    body = {
        "code": "budget_exceeded", "message": "Budget exceeded: ...", "retryable": False, "request_id": "req_1",
        "unit": "tokens", "period": "month", "limit": 1000, "used": 900, "held": 50, "remaining": 50,
        "resets_at": "2026-12-01T00:00:00Z",
    }  # fmt: skip
    server.script(http(429, {"error": body, "detail": body["message"]}))
    with pytest.raises(BudgetExceededError) as raised:
        caller.complete(server.url)
    error = pickle.loads(pickle.dumps(raised.value))
    assert not isinstance(error, RateLimitError) and len(server.requests) == 1
    assert (error.limit, error.used, error.held, error.remaining) == (1000, 900, 50, 50)
    assert error.resets_at == "2026-12-01T00:00:00Z"

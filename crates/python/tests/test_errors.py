"""Every failure as an exception: which class, what it carries, what its text says, and what it must not say."""

import asyncio
import builtins
import copy
import pickle
import socket

import pytest

import claude_code_api
from answers import STATUS, envelope, event, http, ok, refusal, response
from answers import LAST, START
from claude_code_api import (
    APIConnectionError,
    AsyncClaudeClient,
    AuthenticationError,
    BudgetExceededError,
    ClaudeAPIError,
    ClaudeClient,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TimeoutError,
)
from scripted import Scripted

CLASSES = {
    "invalid_request": InvalidRequestError,
    "unauthenticated": AuthenticationError,
    "forbidden": PermissionDeniedError,
    "not_found": ClaudeAPIError,
    "conflict": ClaudeAPIError,
    "request_too_large": InvalidRequestError,
    "budget_exceeded": BudgetExceededError,
    "rate_limited": RateLimitError,
    "internal": ServerError,
    "backend_error": ServerError,
    "overloaded": ServerError,
    "timeout": TimeoutError,
}
EVERY = [
    value
    for value in vars(claude_code_api).values()
    if isinstance(value, type) and issubclass(value, ClaudeAPIError)
]
BUDGET = {"limit": 1000, "used": 900, "held": 50, "remaining": 50, "resets_at": "2026-12-01T00:00:00Z"}


def refused(server: Scripted, answer, **options) -> ClaudeAPIError:
    server.script(answer)
    with ClaudeClient(server.url, max_retries=1, **options) as client:
        with pytest.raises(ClaudeAPIError) as caught:
            client.complete("hi")
    return caught.value


@pytest.mark.parametrize("code", STATUS)
def test_a_code_of_the_service_is_a_class_that_carries_everything(server: Scripted, caller, code):
    server.script(refusal(code, "7", field="model", retryable=True, message="what is wrong", queue=3))
    with pytest.raises(CLASSES[code]) as caught:
        caller.complete(server.url, max_retries=1)
    error = caught.value
    assert type(error) is CLASSES[code]
    assert (error.code, error.status_code, error.request_id) == (code, STATUS[code], "req_7")
    assert (error.retry_after, error.retryable, error.attempts) == (7.0, True, 1)
    assert error.body == envelope(code, "what is wrong", True, field="model", queue=3)["error"]
    for part in ("what is wrong", server.url, "req_7"):
        assert part in str(error)
    assert str(error) == error.message


@pytest.mark.parametrize(
    "status, cls",
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, ClaudeAPIError),
        (408, TimeoutError),
        (413, InvalidRequestError),
        (418, ClaudeAPIError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, TimeoutError),
    ],
)
def test_an_answer_that_is_not_the_services_is_judged_by_its_status(server: Scripted, status, cls):
    error = refused(server, http(status, b"<html><h1>from the proxy</h1></html>", Content_Type="text/html"))
    assert type(error) is cls
    assert (error.status_code, error.request_id, error.body, error.attempts) == (status, None, None, 1)
    assert "from the proxy" in str(error) and "not the service" in str(error) and server.url in str(error)


@pytest.mark.parametrize("status", [404, 502])
def test_only_the_service_gives_a_code(server: Scripted, status):
    assert refused(server, http(status, b"<html></html>")).code is None


def test_a_code_of_a_newer_service_keeps_what_it_says(server: Scripted):
    error = refused(server, refusal("of_tomorrow", status=429, message="come back tomorrow"))
    assert "come back tomorrow" in str(error)
    assert (error.request_id, error.retryable) == ("req_7", False)


def test_words_of_a_newer_service_do_not_break_an_answer(server: Scripted):
    health = {"status": "of_tomorrow", "version": "9", "services": {"local": {"status": "of_tomorrow"}}, "more": 1}
    server.script(http(200, dict(response(), stop_reason="of_tomorrow", more=1)), http(200, health))
    with ClaudeClient(server.url, max_retries=1) as client:
        assert client.complete("hi").content == "hello"
        assert client.health()["version"] == "9"


def test_a_long_page_of_a_proxy_is_not_repeated_in_full(server: Scripted):
    assert len(str(refused(server, http(502, b"x" * 100_000)))) < 1000


def test_success_with_a_body_that_is_no_answer_is_an_error(server: Scripted, caller):
    server.script(http(200, b"<html>please log in</html>"))
    with pytest.raises(ClaudeAPIError, match="not of this API") as caught:
        caller.complete(server.url, max_retries=1)
    assert type(caught.value) is ClaudeAPIError


def test_a_redirect_is_an_error_and_is_not_followed(server: Scripted):
    assert refused(server, http(302, b"", Location=server.url + "/elsewhere")).status_code == 302
    assert len(server.requests) == 1


def test_an_error_event_of_a_stream_carries_what_a_refusal_does(server: Scripted, caller):
    server.script([START, event("error", envelope("budget_exceeded", "no more", **BUDGET)), LAST])
    _, _, error = caller.stream(server.url)
    assert type(error) is BudgetExceededError
    assert (error.code, error.request_id, error.remaining, error.attempts) == ("budget_exceeded", "req_7", 50, 1)


def test_an_exceeded_budget_says_how_it_stands_and_is_no_rate_limit(server: Scripted):
    error = refused(server, refusal("budget_exceeded", **BUDGET))
    assert isinstance(error, BudgetExceededError) and not isinstance(error, RateLimitError)
    assert {name: getattr(error, name) for name in BUDGET} == BUDGET
    assert BudgetExceededError("made by hand").limit is None


def test_a_service_that_is_not_there_is_a_connection_error_that_says_what_to_do(caller):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = "http://localhost:%d" % taken.getsockname()[1]
    with pytest.raises(APIConnectionError, match="claude-code-api serve") as caught:
        caller.complete(url, max_retries=2, retry_delay=0.01)
    error = caught.value
    assert url in str(error) and "2 attempts" in str(error)
    assert (error.code, error.status_code, error.attempts, error.retryable) == (None, None, 2, True)


def test_the_classes_are_also_the_built_in_ones():
    assert issubclass(TimeoutError, builtins.TimeoutError)
    assert issubclass(APIConnectionError, builtins.ConnectionError)
    assert issubclass(InvalidRequestError, ValueError)
    assert issubclass(PermissionDeniedError, AuthenticationError)
    assert not issubclass(BudgetExceededError, RateLimitError)
    assert all(issubclass(cls, ClaudeAPIError) for cls in EVERY) and len(EVERY) == 9


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_a_copy_of_an_error_is_the_same(cls):
    error = cls(
        "what is wrong",
        code="c",
        status_code=429,
        request_id="r",
        retry_after=1.5,
        retryable=True,
        attempts=2,
        body=dict(BUDGET),
    )
    error.note = "of the caller's"
    ways = [copy.copy, copy.deepcopy]
    ways += [lambda e, n=n: pickle.loads(pickle.dumps(e, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    for way in ways:
        twin = way(error)
        assert type(twin) is cls and twin is not error
        assert str(twin) == str(error) == "what is wrong" and twin.args == error.args
        assert vars(twin) == vars(error)
        assert repr(twin) == repr(error)


def test_an_error_from_the_core_can_be_pickled(server: Scripted):
    error = refused(server, refusal("budget_exceeded", **BUDGET))
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is BudgetExceededError and str(twin) == str(error) and twin.remaining == 50


def test_a_key_is_never_shown(server: Scripted, caller):
    key = "sk-" + "s3cret" * 4
    server.script(*[refusal(code) for code in STATUS], http(502, b"<html>"), [b"garbage\r\n\r\n"])
    for _ in range(len(STATUS) + 2):
        with pytest.raises(ClaudeAPIError) as caught:
            caller.complete(server.url, api_key=key, max_retries=1, timeout=5)
        error = caught.value
        shown = [str(error), repr(error), repr(vars(error)), repr(error.__cause__), repr(error.__context__)]
        assert not any("s3cret" in text for text in shown)
    assert all(request.headers["authorization"] == "Bearer " + key for request in server.requests)
    sync_client, async_client = ClaudeClient(server.url, api_key=key), AsyncClaudeClient(server.url, api_key=key)
    for client in (sync_client, async_client, sync_client._core, async_client._core):
        assert "s3cret" not in repr(client) + str(client) + repr(getattr(client, "__dict__", ""))
    sync_client.close()
    asyncio.run(async_client.close())


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(server: Scripted):
    server.script(ok())
    with pytest.raises(ValueError) as caught:
        ClaudeClient(server.url, api_key="s3cret\nx-evil: 1", max_retries=1).complete("hi")
    assert "s3cret" not in str(caught.value) + repr(caught.value)
    for wrong in ("http://me:s3cret@host/?x=1", "ftp://me:s3cret@host", "http://me:s3cret@host:port"):
        with pytest.raises(ValueError) as refused:
            ClaudeClient(wrong)
        assert "s3cret" not in str(refused.value) and "host" in str(refused.value)
    assert not server.requests


def test_a_password_in_base_url_is_never_shown(server: Scripted):
    with pytest.raises(ClaudeAPIError) as caught:
        ClaudeClient(server.url.replace("//", "//me:s3cret@"), max_retries=1).complete("hi")
    assert "s3cret" not in str(caught.value) + repr(caught.value)

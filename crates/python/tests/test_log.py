"""What the clients say through ``logging``, and what they never say."""

import logging

import pytest

from answers import SSE, http, ok, refusal, result, totals
from claude_code_api import ClaudeClient
from programs import run
from scripted import Scripted, hang_up

SECRETS = ["sk-secret-key", "secret prompt", "secret system", "secret answer", "secret-password"]


@pytest.fixture(autouse=True)
def everything(caplog):
    caplog.set_level(logging.DEBUG, "claude_code_api")


def lines(caplog, level):
    return [record.getMessage() for record in caplog.records if record.name == "claude_code_api" and record.levelno == level]


def test_an_attempt_that_is_followed_by_another_is_told(server: Scripted, caller, caplog):
    server.script([hang_up], refusal("overloaded", retryable=True, retry_after=0.0), ok())
    caller.complete(server.url, {}, retry_delay=0.01)
    first, second = lines(caplog, logging.INFO)
    assert first.startswith("attempt 1 of 3 failed: the connection broke") and "; another in " in first
    assert second.startswith("attempt 2 of 3 failed: scripted trouble (%s/v1/complete" % server.url)
    assert second.endswith("; another in 0.00 s")


def test_every_response_is_told_when_somebody_looks_closely(server: Scripted, caller, caplog):
    server.script(http(500, {}), ok())
    caller.complete(server.url, {}, retry_delay=0.01)
    failed, answered = lines(caplog, logging.DEBUG)
    assert failed.startswith("POST %s/v1/complete: 500 Internal Server Error after " % server.url)
    assert answered.startswith("POST %s/v1/complete: 200 OK after " % server.url)


def test_what_nobody_wants_is_not_told(server: Scripted, caller, caplog):
    caplog.set_level(logging.WARNING, "claude_code_api")
    server.script(refusal("overloaded", retryable=True, retry_after=0.0), ok())
    caller.complete(server.url, {})
    assert not caplog.records


def test_no_key_no_password_no_prompt_and_no_answer_is_told(server: Scripted, caller, caplog):
    url = server.url.replace("//", "//user:secret-password@")
    options = {"api_key": "sk-secret-key", "retry_delay": 0.01}
    answered = [SSE, result(0, "secret prompt", content="secret answer"), totals(1)]
    server.script(refusal("internal", retryable=True), ok("secret answer"), [hang_up], answered)
    caller.complete(url, {"system": "secret system"}, **options)
    ClaudeClient(url, **options).batch(["secret prompt"])
    assert len(lines(caplog, logging.INFO)) == 2 and len(lines(caplog, logging.DEBUG)) == 3
    for secret in SECRETS:
        assert secret not in caplog.text


def test_a_program_without_logging_is_told_nothing(server: Scripted):
    server.script(refusal("overloaded", retryable=True, retry_after=0.0), ok())
    program = """
        import sys
        from claude_code_api import ClaudeClient
        print(ClaudeClient(sys.argv[1]).complete("hi").content, "logging" in sys.modules)
    """
    ended = run(program, server.url)
    assert (ended.out, ended.err) == ("hello False\n", "")


def test_lines_of_asyncio_come_on_the_threads_of_their_loops(server: Scripted):
    server.script(refusal("overloaded", retryable=True, retry_after=0.0), ok())
    program = """
        import asyncio, logging, sys
        from claude_code_api import AsyncClaudeClient
        logging.basicConfig(level=logging.INFO, format="%(threadName)s %(levelname)s %(name)s", stream=sys.stdout)
        print(asyncio.run(AsyncClaudeClient(sys.argv[1]).complete("hi")).content)
    """
    assert run(program, server.url).lines == ["MainThread INFO claude_code_api", "hello"]


def test_ctrl_c_while_a_line_is_written_comes_through(server: Scripted):
    server.script(refusal("overloaded", retryable=True, retry_after=20.0))
    program = """
        import logging, os, signal, sys, time
        from claude_code_api import ClaudeClient
        class Slow(logging.Handler):
            def emit(self, record):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
        logger = logging.getLogger("claude_code_api")
        logger.addHandler(Slow())
        logger.setLevel(logging.INFO)
        try: ClaudeClient(sys.argv[1]).complete("hi")
        except KeyboardInterrupt: print("interrupted")
    """
    ended = run(program, server.url)
    assert (ended.out, ended.err) == ("interrupted\n", "")

"""What the clients do, on the real service; and what they refuse before anything is sent."""

import asyncio
import inspect

import pytest

from answers import START, delta, done, ok
from claude_code_api import AsyncClaudeClient, AsyncStream, Cache, ClaudeClient, Model, Response, Stream, Usage
from scripted import Scripted, hold

SHORT = {"max_tokens": 8}


def check_answer(answer):
    assert isinstance(answer, Response) and isinstance(answer.usage, Usage) and isinstance(answer.cache, Cache)
    assert answer.id.startswith("call_") and answer.content and answer.project_id
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert (type(answer.cost), type(answer.cost_nanos)) == (float, int)
    assert answer.model_id and answer.backend == "local" and answer.stop_reason in ("end_turn", "max_tokens")


def check_ended(stream, texts):
    assert "".join(texts) == stream.text == stream.response.content
    check_answer(stream.response)
    whole = stream.response
    assert (stream.id, stream.model, stream.usage, stream.stop_reason) == (
        whole.id,
        whole.model,
        whole.usage,
        whole.stop_reason,
    )
    assert (stream.cost, stream.cost_nanos) == (whole.cost, whole.cost_nanos)


def check_ended_early(stream, texts):
    assert "".join(texts) == stream.text and texts and stream.id.startswith("call_") and stream.model
    assert [stream.response, stream.usage, stream.cost, stream.cost_nanos, stream.stop_reason] == [None] * 5


def test_complete_answers(service, caller):
    check_answer(caller.complete(service.url, dict(SHORT, model=Model.HAIKU)))


def test_a_conversation_is_a_prompt(service):
    turns = [("user", "My name is Ada."), ("assistant", "Hello Ada!"), ("user", "What is my name?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    with ClaudeClient(service.url) as client:
        answer = client.complete(messages, system="Be brief.", temperature=0, **SHORT)
    check_answer(answer)
    assert answer.usage.input_tokens > 20


def test_every_argument_reaches_the_service(server: Scripted):
    server.script(ok())
    arguments = {
        "system": "Be brief.",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "stop_sequences": ("a", "b"),
        "seed": 7,
        "max_cost": 0.5,
        "routing": 2.5,
        "conversation_id": "ticket-17",
    }
    with ClaudeClient(server.url) as client:
        answer = client.complete("hi", Model.OPUS, "project-b", 5, **arguments)
    sent = server.requests[0]
    assert (sent.method, sent.path) == ("POST", "/v1/complete")
    assert 4.5 < sent.body.pop("timeout") < 5
    expected = dict(arguments, prompt="hi", model="opus", project_id="project-b", stop_sequences=["a", "b"])
    assert sent.body == expected
    assert (answer.cost, answer.cost_nanos, answer.cache) == (0.000023, 23000, Cache(1, 2))


def test_health_is_a_dict(service):
    async def main():
        async with AsyncClaudeClient(service.url) as client:
            return await client.health()

    with ClaudeClient(service.url) as client:
        health = client.health()
    assert health == asyncio.run(main()) == service.health()
    assert health["status"] == "ok" and "local" in health["services"]


def test_a_stream_is_an_iterator_and_knows_the_answer_at_its_end(service, caller):
    texts, stream, error = caller.stream(service.url, call=SHORT)
    assert error is None and len(texts) > 1
    check_ended(stream, texts)


def test_a_stream_is_a_context_manager(service):
    with ClaudeClient(service.url) as client:
        with client.stream("Count to ten", **SHORT) as stream:
            assert isinstance(stream, Stream) and iter(stream) is stream
            assert (stream.text, stream.id, stream.response) == ("", None, None), "nothing is sent before it is read"
            texts = [next(stream)]
            check_ended_early(stream, texts)
        check_ended_early(stream, texts)
        assert list(stream) == []

    async def main():
        async with AsyncClaudeClient(service.url) as client:
            async with client.stream("Count to ten", **SHORT) as stream:
                assert isinstance(stream, AsyncStream) and stream.__aiter__() is stream
                texts = [await stream.__anext__()]
                check_ended_early(stream, texts)
            check_ended_early(stream, texts)
            assert [text async for text in stream] == []

    asyncio.run(main())


def test_a_stream_that_was_closed_early_still_has_what_came(service):
    with ClaudeClient(service.url) as client:
        stream = client.stream("Tell me a long story", max_tokens=500)
        texts = [next(stream), next(stream)]
        stream.close()
        stream.close()
        check_ended_early(stream, texts)

    async def main():
        async with AsyncClaudeClient(service.url) as client:
            stream = client.stream("Tell me a long story", max_tokens=500)
            texts = [await stream.__anext__(), await stream.__anext__()]
            await stream.close()
            await stream.close()
            check_ended_early(stream, texts)

    asyncio.run(main())
    service.until_running(0)


def test_texts_are_handed_over_as_they_come(server: Scripted, caller):
    server.script([START, *[step for n in range(5) for step in (delta(str(n)), 0.1)], done("01234")])
    texts, _, error = caller.stream(server.url)
    assert error is None and texts == list("01234")


def test_text_of_any_script_survives_any_cut(server: Scripted, caller):
    text = "Ünïcödé 日本語 🦀\u2028\x00\n\r\t\"\\ "
    wire = delta(text)
    server.script([START, *[step for n in range(len(wire)) for step in (wire[n : n + 1], 0.001)], done(text)])
    texts, stream, error = caller.stream(server.url)
    assert error is None and "".join(texts) == stream.text == text


def test_a_stream_that_was_never_read_sends_nothing(server: Scripted):
    with ClaudeClient(server.url) as client:
        client.stream("hi").close()
        del client
    assert server.requests == []


def test_a_closed_client_makes_no_more_calls(service):
    client = ClaudeClient(service.url)
    client.health()
    client.close()
    client.close()
    for call in (client.health, lambda: client.complete("hi"), lambda: client.stream("hi")):
        with pytest.raises(RuntimeError, match="closed"):
            call()

    async def main():
        async with AsyncClaudeClient(service.url) as client:
            await client.health()
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.health()
        with pytest.raises(RuntimeError, match="closed"):
            await client.complete("hi")
        with pytest.raises(RuntimeError, match="closed"):
            client.stream("hi")

    asyncio.run(main())


@pytest.mark.parametrize("kind", [ClaudeClient, AsyncClaudeClient])
def test_close_closes_the_sockets(server: Scripted, kind):
    server.script([*ok(), hold])

    async def main():
        client = kind(server.url)
        answer = client.complete("hi")
        assert (await answer if inspect.isawaitable(answer) else answer).content == "hello"
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
        return client

    client = asyncio.run(main())
    server.await_hangup()
    assert client is not None


@pytest.mark.parametrize("kind", [ClaudeClient, AsyncClaudeClient])
@pytest.mark.parametrize(
    "options, error, named",
    [
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "soon"}, TypeError, "timeout"),
        ({"timeout": None}, TypeError, "timeout"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"max_retries": 2.5}, TypeError, "max_retries"),
        ({"api_key": b"key"}, TypeError, "api_key"),
        ({"retry_delay": -0.1}, ValueError, "retry_delay"),
        ({"retry_delay": float("nan")}, ValueError, "retry_delay"),
        ({"max_retry_after": -1}, ValueError, "max_retry_after"),
        ({"base_url": "localhost:8080"}, ValueError, "base_url"),
        ({"base_url": "ftp://localhost"}, ValueError, "base_url"),
        ({"base_url": ""}, ValueError, "base_url"),
        ({"base_url": "http://localhost/?a=b"}, ValueError, "base_url"),
    ],
)
def test_a_wrong_option_is_refused_by_name(kind, options, error, named):
    with pytest.raises(error, match=named):
        kind(**options)


@pytest.mark.parametrize("method", ["complete", "stream"])
@pytest.mark.parametrize(
    "arguments, error, named",
    [
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"prompt": b"bytes"}, TypeError, "prompt"),
        ({"prompt": None}, TypeError, "prompt"),
        ({"prompt": 7}, TypeError, "prompt"),
        ({"prompt": {"role": "user", "content": "hi"}}, TypeError, "prompt"),
        ({"prompt": ["hi"]}, TypeError, "prompt"),
        ({"prompt": [{"role": "user"}]}, TypeError, "prompt"),
        ({"prompt": [{"role": "robot", "content": "hi"}]}, ValueError, "role"),
        ({"prompt": [{"role": "user", "content": "hi", "name": "Ada"}]}, TypeError, r"prompt\[0\]"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, TypeError, r"prompt\[0\]: content"),
        ({"prompt": "half of \ud83d\ude00 is \ud83d"}, ValueError, "prompt: holds half a character, at 8"),
        ({"system": 7}, TypeError, "system"),
        ({"temperature": "hot"}, TypeError, "temperature"),
        ({"max_cost": "0.1"}, TypeError, "max_cost"),
        ({"routing": "cheap"}, ValueError, "routing: takes economy, balanced, quality"),
        ({"routing": 51}, ValueError, "routing"),
        ({"routing": float("nan")}, ValueError, "routing"),
        ({"routing": []}, TypeError, "routing"),
        ({"conversation_id": 7}, TypeError, "conversation_id"),
        ({"idempotency_key": 7}, TypeError, "idempotency_key"),
        ({"stop_sequences": ["END", 7]}, TypeError, "stop_sequences"),
        ({"stop_sequences": "END"}, TypeError, "stop_sequences"),
        ({"max_tokens": 0}, ValueError, "max_tokens"),
        ({"max_tokens": -5}, ValueError, "max_tokens"),
        ({"max_tokens": 1 << 40}, ValueError, "max_tokens"),
        ({"max_tokens": "many"}, TypeError, "max_tokens"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_sent(server: Scripted, method, arguments, error, named):
    arguments = dict({"prompt": "hi"}, **arguments)
    with ClaudeClient(server.url) as client, pytest.raises(error, match=named):
        getattr(client, method)(**arguments)
    with pytest.raises(error, match=named):
        pending = getattr(AsyncClaudeClient(server.url), method)(**arguments)
        asyncio.run(pending)
    assert server.requests == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["max_cost", "temperature", "top_p"])
def test_a_limit_that_is_no_number_is_refused_and_not_left_out(server: Scripted, caller, name, number):
    with pytest.raises(ValueError, match=name):
        caller.complete(server.url, {name: number})
    assert isinstance(caller.stream(server.url, call={name: number})[2], ValueError)
    assert server.requests == []

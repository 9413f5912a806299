"""Anthropic's SDK, unchanged but for its base URL: what it gives is what the Messages API would give it."""

import asyncio
import base64
import json
import re
import time

import anthropic
import pytest

from conftest import PATIENCE_S, Clients, Service, abandoned, done, each, every, opened, sim, simulating

MODEL = "claude-sonnet-5-5"
VERSION = anthropic._constants.ANTHROPIC_API_VERSION
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(64))).decode()
ADD = {
    "name": "add",
    "description": "Adds",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
CALL = {"tool": {"name": "add", "input": {"a": 1, "b": [2.5, {"ö": "\"}\u2028"}], "c": None}}, "output": 30}


@pytest.fixture
def sdk(kind: str, service: Service, project: str) -> Clients:
    return Clients(anthropic.Anthropic if kind == "sync" else anthropic.AsyncAnthropic, service, project)


def asks(script=None, **more):
    content = more.pop("content", None) or sim(script)
    return {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": content}], **more}


def frames(text):
    """The events of a stream: names and data, to the byte, but for the ids that the simulator counts."""
    found = []
    for frame in re.split(r"\r?\n\r?\n", text):
        lines = [line.split(": ", 1) for line in frame.splitlines() if line and not line.startswith(":")]
        if lines:
            found.append([(name, re.sub("simulated[0-9]{8}", "simulated", value)) for name, value in lines])
    return found


def unnumbered(message):
    return re.sub("simulated[0-9]{8}", "simulated", json.dumps(message, sort_keys=True))


# What is answered


@pytest.mark.parametrize(
    "script",
    [
        {"input": 11, "output": 5},
        {"unknown_fields": True},
        {"output": 1000},
        {"stop_reason": "stop_sequence"},
        {"input": 900, "cache_write": 300, "cache_write_1h": 200, "cache_read": 100},
        {"thinking": {"tokens": 100}, "output": 120},
        {"thinking": {"tokens": 100, "display": "omitted"}, "output": 120},
        CALL,
    ],
    ids=["plain", "unknown fields", "full", "stop", "cached", "thought", "thought out of sight", "tool"],
)
async def test_a_message_is_that_of_the_api(sdk, simulator, agreed, script):
    message = await done(sdk().messages.create(**asks(script)))
    billed = simulator.bill()[-1]
    cached = billed["cache_write_5m_tokens"] + billed["cache_write_1h_tokens"] + billed["cache_read_tokens"]
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert message.usage.input_tokens + cached == billed["input_tokens"]
    assert message.usage.output_tokens == billed["output_tokens"]
    assert message._request_id.startswith("req_")
    # The bill of the direct call is not the project's.
    with simulating() as other:
        directly = json.loads(other.directly(asks(script), VERSION))
    assert unnumbered(message.to_dict(mode="json")) == unnumbered(directly)


async def test_an_answer_says_who_gave_it_and_what_is_left(sdk, agreed):
    answer = await done(sdk().messages.with_raw_response.create(**asks()))
    assert answer.headers["request-id"] == (await done(answer.parse()))._request_id
    for what in ("requests", "tokens", "input-tokens", "output-tokens"):
        for which in ("limit", "remaining", "reset"):
            assert answer.headers["anthropic-ratelimit-%s-%s" % (what, which)]


# Streams


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"unknown_events": True},
        {"unknown_fields": True},
        {"comments": True, "crlf": True, "chunk_bytes": 3},
        {"thinking": {"tokens": 100}, "output": 120},
        {"thinking": {"tokens": 100, "display": "omitted"}, "output": 120},
        CALL,
    ],
    ids=["plain", "unknown events", "unknown fields", "comments", "thought", "thought out of sight", "tool"],
)
async def test_the_events_of_a_stream_are_those_of_the_api(sdk, agreed, script):
    asked = asks(script, stream=True)
    async with opened(sdk().messages.with_streaming_response.create(**asked)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["anthropic-ratelimit-requests-limit"]
        text = await done(answer.text())
    with simulating() as other:
        assert frames(text) == frames(other.directly(asked, VERSION))


async def test_a_stream_gives_its_text_its_events_and_its_message(sdk, agreed):
    async with opened(sdk().messages.stream(**asks({"output": 20}))) as stream:
        text = "".join([text async for text in each(stream.text_stream)])
        message = await done(stream.get_final_message())
    assert text == message.content[0].text == "word " * 20
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 20)
    events = await every(await done(sdk().messages.create(**asks({"output": 20}, stream=True))))
    assert [event.type for event in events[:2]] == ["message_start", "content_block_start"]
    assert [event.type for event in events[-2:]] == ["message_delta", "message_stop"]


@pytest.mark.parametrize("display", ["summarized", "omitted"])
async def test_thinking_comes_whole_and_signed_and_goes_back_unchanged(sdk, simulator, agreed, display):
    script = {"thinking": {"tokens": 100, "display": display}, "output": 120}
    asked = asks(script, thinking={"type": "adaptive"})
    async with opened(sdk().messages.stream(**asked)) as stream:
        message = await done(stream.get_final_message())
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].signature and bool(message.content[0].thinking) == (display == "summarized")
    assert simulator.requests()[-1]["thinking"] == {"type": "adaptive"}
    again = [*asked["messages"], {"role": "assistant", "content": message.content}, {"role": "user", "content": sim()}]
    await done(sdk().messages.create(**{**asked, "messages": again}))
    assert simulator.requests()[-1]["messages"][1]["content"][0] == message.content[0].to_dict()


# What is asked


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_tool_is_called_and_its_result_is_read(sdk, simulator, agreed, streamed):
    client = sdk()
    asked = asks(CALL, tools=[ADD], tool_choice={"type": "auto"})
    if streamed:
        async with opened(client.messages.stream(**asked)) as stream:
            message = await done(stream.get_final_message())
    else:
        message = await done(client.messages.create(**asked))
    call = message.content[0]
    assert (message.stop_reason, call.type, call.name, call.input) == ("tool_use", "tool_use", "add", CALL["tool"]["input"])
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": sim({"output": 3}, "42")}]}
    turns = [*asked["messages"], {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    final = await done(client.messages.create(**{**asked, "messages": turns}))
    assert (final.stop_reason, final.content[0].text) == ("end_turn", "word " * 3)
    sent = simulator.requests()[-1]
    assert (sent["tools"], sent["tool_choice"], sent["messages"][2]["content"]) == ([ADD], {"type": "auto"}, [result])
    assert sent["messages"][1]["content"][0]["input"] == CALL["tool"]["input"]


async def test_images_and_documents_arrive_unchanged(sdk, simulator, agreed):
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A, ö, 🦀"}, "title": "T"},
        {"type": "text", "text": sim()},
    ]
    await done(sdk().messages.create(**asks(content=content)))
    assert simulator.requests()[-1]["messages"] == [{"role": "user", "content": content}]


async def test_a_system_prompt_is_cached(sdk, simulator, agreed):
    system = [
        {"type": "text", "text": "Be short."},
        {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    script = {"input": 900, "cache_write_1h": 200, "cache_read": 100}
    message = await done(sdk().messages.create(**asks(script, system=system, metadata={"user_id": "u"})))
    sent = simulator.requests()[-1]
    assert (sent["system"], sent["metadata"]) == (system, {"user_id": "u"})
    usage = message.usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (600, 200, 100)


async def test_betas_reach_upstream(sdk, simulator, agreed):
    betas = ["interleaved-thinking-2025-05-14", "context-management-2025-06-27"]
    message = await done(sdk().beta.messages.create(**asks(), betas=betas))
    assert message.content[0].text.startswith("word")
    headers = simulator.headers()[-1]
    assert headers["anthropic-beta"].replace(" ", "").split(",") == betas
    assert headers["anthropic-version"] == VERSION
    assert headers["x-api-key"] == "sk-ant-simulated" and "authorization" not in headers


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"extra_body": {"field_of_tomorrow": {"b": 1.50, "a": [None, "ö"]}}}, "field_of_tomorrow"),
        ({"betas": ["beta-of-tomorrow-2027-01-01"]}, "anthropic-beta"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
    ],
    ids=["field", "beta", "server tool"],
)
async def test_what_is_not_known_passes_without_a_limit_and_is_refused_under_one(sdk, service, simulator, more, field):
    asked = {**asks(), **more}
    await done(sdk(project="unlimited").beta.messages.create(**asked))
    sent, headers = simulator.requests()[-1], simulator.headers()[-1]
    unread = {**more.get("extra_body", {}), **({"tools": more["tools"]} if "tools" in more else {})}
    assert {name: sent[name] for name in unread} == unread
    assert list(sent.get("field_of_tomorrow", {"b": 0}))[0] == "b", "in its own order"
    assert headers.get("anthropic-beta") == (more["betas"][0] if "betas" in more else None)
    before = len(simulator.requests())
    with pytest.raises(anthropic.BadRequestError) as raised:
        await done(sdk().beta.messages.create(**asked))
    assert field in str(raised.value) and "cannot be bounded" in str(raised.value)
    assert len(simulator.requests()) == before


async def test_tokens_are_counted(sdk):
    asked = asks({"count": 1234}, system="Be short.", tools=[ADD])
    del asked["max_tokens"]
    assert (await done(sdk().messages.count_tokens(**asked))).input_tokens == 1234
    counted = await done(sdk().beta.messages.count_tokens(**asked, betas=["token-counting-2024-11-01"]))
    assert counted.input_tokens == 1234


async def test_models_are_listed_and_shown(sdk):
    models = await every(sdk().models.list())
    assert {"auto", "haiku", "sonnet", "opus", MODEL} <= {model.id for model in models}
    model = await done(sdk().models.retrieve(MODEL))
    assert (model.type, model.id, bool(model.display_name)) == ("model", MODEL, True)
    assert model.created_at.year
    with pytest.raises(anthropic.NotFoundError):
        await done(sdk().models.retrieve("claude-of-tomorrow"))


async def test_a_tier_is_a_model(sdk, agreed):
    message = await done(sdk().messages.create(**{**asks(), "model": "haiku"}))
    assert message.model == "claude-haiku-5-5"


# Errors


@pytest.mark.parametrize(
    ("script", "kind_of_error", "status"),
    [
        ({"status": 400}, anthropic.BadRequestError, 400),
        ({"status": 404}, anthropic.NotFoundError, 404),
        ({"status": 413}, anthropic.RequestTooLargeError, 413),
        ({"status": 500}, anthropic.InternalServerError, None),
        ({"status": 529, "retry_after": "30"}, anthropic.OverloadedError, 529),
        ({"status": 429, "retry_after": "60"}, anthropic.RateLimitError, 429),
        ({"fault": "reset_before"}, anthropic.InternalServerError, None),
    ],
    ids=["400", "404", "413", "500", "529", "429", "reset"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_error_of_upstream_is_one_of_the_sdk(sdk, fresh, script, kind_of_error, status, stream):
    with pytest.raises(kind_of_error) as raised:
        await done(sdk(fresh, max_retries=0).messages.create(**asks(script, stream=stream)))
    error = raised.value
    assert status in (None, error.status_code) and error.request_id.startswith("req_")
    assert (error.body["type"], error.body["request_id"]) == ("error", error.request_id)
    kinds = {400: "invalid_request_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
             529: "overloaded_error"}
    assert error.body["error"]["type"] == kinds.get(script.get("status"), "api_error")
    if script.get("status") in (400, 404, 413):
        assert "refused on request" in error.message
    if script.get("status") == 429:
        assert 58 <= int(error.response.headers["retry-after"]) <= 60
        assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"extra_body": {"max_tokens": "many"}}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"model": "claude-of-tomorrow"}, "model"),
        ({"model": "gpt-5"}, "model"),
        ({"messages": []}, "messages"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_named(sdk, simulator, change, names):
    with pytest.raises((anthropic.BadRequestError, anthropic.NotFoundError)) as raised:
        await done(sdk().messages.create(**{**asks(), **change}))
    error = raised.value
    assert names in error.message and error.request_id
    assert error.body["error"]["type"] in ("invalid_request_error", "not_found_error")


async def test_a_body_that_is_too_large_is_told_so(sdk, simulator):
    before = len(simulator.requests())
    with pytest.raises(anthropic.RequestTooLargeError) as raised:
        await done(sdk().messages.create(**asks(content="x" * (17 << 20))))
    assert raised.value.body["error"]["type"] == "request_too_large"
    assert len(simulator.requests()) == before


async def test_a_key_is_taken_from_either_header(sdk, locked, simulator):
    before, used = len(simulator.bill()), locked.usage("mine", locked.admin)["total_tokens"]
    ways = [{"api_key": locked.mine}, {"api_key": None, "auth_token": locked.mine},
            {"api_key": None, "default_headers": {"X-Api-Key": locked.mine}}]
    for way in ways:
        message = await done(sdk(locked, "mine", **way).messages.create(**asks()))
        assert message.content[0].text
    await done(sdk(locked, "mine", api_key=locked.admin).messages.create(**asks()))
    assert locked.usage("mine", locked.admin)["total_tokens"] - used == simulator.billed(before)
    for header in simulator.headers()[-4:]:
        assert locked.mine not in str(header) and locked.admin not in str(header), "no key of ours goes upstream"


async def test_a_wrong_key_is_refused(sdk, locked, simulator):
    before = len(simulator.requests())
    wrong = "ccak_" + "0" * 64
    for way in [{"api_key": wrong}, {"api_key": None, "default_headers": {"X-Api-Key": wrong}}, {"api_key": "sk-ant-mine"}]:
        for act in (lambda client: client.messages.create(**asks()), lambda client: client.models.retrieve(MODEL)):
            with pytest.raises(anthropic.AuthenticationError) as raised:
                await done(act(sdk(locked, "mine", **way)))
            assert raised.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.PermissionDeniedError) as denied:
        await done(sdk(locked, "theirs", api_key=locked.mine).messages.create(**asks()))
    assert denied.value.body["error"]["type"] == "permission_error" and "mine" in denied.value.message
    with pytest.raises(anthropic.NotFoundError):
        await done(sdk(locked, "nobody-s", api_key=locked.admin).messages.create(**asks()))
    assert len(simulator.requests()) == before


async def test_what_the_service_does_not_have_is_told_in_the_same_words(sdk):
    for act in (lambda client: client.messages.batches.retrieve("msgbatch_1"), lambda client: client.beta.files.list()):
        with pytest.raises(anthropic.NotFoundError) as raised:
            await done(act(sdk()))
        assert raised.value.body["error"].get("type") == "not_found_error" and raised.value.request_id


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_budget_that_is_used_up_is_told_once(sdk, service, simulator, project, stream):
    service.manage("project", "set", project, "--tokens-per-day", "10")
    before, answered = len(simulator.requests()), len(service.answered())
    with pytest.raises(anthropic.RateLimitError) as raised:
        await done(sdk().messages.create(**asks(stream=stream)))
    error = raised.value
    assert error.message.startswith("Error code: 429") and "Budget exceeded" in error.message
    assert error.body["error"]["type"] == "rate_limit_error" and error.body["error"]["code"] == "budget_exceeded"
    assert service.answered()[answered:] == [429], "it was not tried again"
    assert error.response.headers["x-should-retry"] == "false"
    assert len(simulator.requests()) == before


async def test_who_cannot_be_reached_is_a_connection_error(sdk):
    with pytest.raises(anthropic.APIConnectionError):
        await done(sdk(base_url="http://127.0.0.1:9", max_retries=0).messages.create(**asks()))


async def test_what_can_be_tried_again_is_tried_again(sdk, fresh, project):
    # The service has tried three times before it gives up; then the SDK does.
    message = await done(sdk(fresh).messages.create(**asks({"status": 500, "faults": 4})))
    assert message.content[0].text and len(fresh.simulator.requests()) == 5
    with pytest.raises(anthropic.InternalServerError) as raised:
        await done(sdk(fresh, max_retries=0).messages.create(**asks({"status": 501})))
    assert fresh.answered()[-1:] == [502] and fresh.answered().count(502) == 2
    assert fresh.usage(project)["total_tokens"] == fresh.simulator.billed()


@pytest.mark.parametrize("type_of_error", ["overloaded_error", "api_error"])
async def test_an_error_in_the_midst_of_a_stream_is_raised(sdk, fresh, project, type_of_error):
    script = {"error_event": {"type": type_of_error, "after": 6}, "output": 50}
    texts = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        async with opened(sdk(fresh).messages.stream(**asks(script))) as stream:
            async for text in each(stream.text_stream):
                texts.append(text)
    assert texts and raised.value.body["error"]["type"] == type_of_error
    assert len(fresh.simulator.requests()) == 1, "what has begun is not begun again"
    [entry] = fresh.entries(project)
    assert not entry["exact"] and entry["input_tokens"] + entry["output_tokens"] >= fresh.simulator.billed()


@pytest.mark.parametrize("broken", ["close_after_events", "reset_after_events", "half_event_after"])
async def test_a_stream_that_breaks_off_is_an_error_and_no_short_answer(sdk, fresh, broken):
    with pytest.raises(anthropic.APIError):
        async with opened(sdk(fresh).messages.stream(**asks({broken: 8, "output": 50}))) as stream:
            await done(stream.get_final_message())


# Giving up


async def test_a_stream_that_is_closed_is_closed_upstream(sdk, service, simulator, project):
    before = len(simulator.bill())
    async with opened(sdk().messages.stream(**asks({"endless": True, "token_ms": 5}))) as stream:
        async for text in each(stream.text_stream):
            assert text and simulator.open() == 1
            break
    abandoned(service, simulator, project, before)


async def test_raw_events_that_are_left_are_closed_upstream(sdk, service, simulator, project):
    before = len(simulator.bill())
    stream = await done(sdk().messages.create(**asks({"endless": True, "token_ms": 5}, stream=True)))
    async for _ in each(stream):
        break
    await done(stream.close())
    abandoned(service, simulator, project, before)


@pytest.mark.parametrize("kind", ["async"], indirect=True)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_task_that_is_cancelled_cancels_the_call(sdk, service, simulator, project, stream):
    before = len(simulator.bill())

    async def ask():
        answer = await sdk().messages.create(**asks({"output": 900, "token_ms": 10}, stream=stream))
        await every(answer)

    task = asyncio.create_task(ask())
    begun = time.monotonic()
    while simulator.billed(before) < 30 and time.monotonic() - begun < PATIENCE_S:
        await asyncio.sleep(0.02)
    assert simulator.open() == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    abandoned(service, simulator, project, before)


@pytest.mark.parametrize("first", [False, True], ids=["whole first", "streamed first"])
async def test_a_call_that_is_sent_again_under_its_key_is_paid_once(sdk, service, simulator, project, agreed, first):
    before = len(simulator.bill())
    once = {"extra_headers": {"Idempotency-Key": "k-" + project}}
    ids = []
    for stream in (first, first, not first):
        if stream:
            async with opened(sdk().messages.stream(**asks(), **once)) as answer:
                message = await done(answer.get_final_message())
        else:
            message = await done(sdk().messages.create(**asks(), **once))
        ids.append((message.id, message.content[0].text, message.usage.output_tokens))
    assert len(set(ids)) == 1 and len(simulator.bill()) - before == 1
    with pytest.raises((anthropic.ConflictError, anthropic.BadRequestError)):
        await done(sdk().messages.create(**{**asks(), "max_tokens": 7}, **once))

"""OpenAI's SDK, unchanged but for its base URL."""

import asyncio
import base64
import json
import time
from typing import List

import openai
import pydantic
import pytest

from conftest import PATIENCE_S, Clients, Service, abandoned, done, each, every, opened, sim

MODEL = "claude-sonnet-5-5"
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
ADD = {
    "type": "function",
    "function": {"name": "add", "description": "Adds", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
CALL = {"tool": {"name": "add", "input": {"a": 1, "b": [2.5, {"ö": "\"}\u2028"}]}}, "output": 30}


def synchronous(base_url: str, **options):
    return openai.OpenAI(base_url=base_url + "/v1", **options)


def asynchronous(base_url: str, **options):
    return openai.AsyncOpenAI(base_url=base_url + "/v1", **options)


@pytest.fixture
def sdk(kind: str, service: Service, project: str) -> Clients:
    return Clients(synchronous if kind == "sync" else asynchronous, service, project)


def asks(script=None, **more):
    content = more.pop("content", None) or sim(script)
    return {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": content}], **more}


# What is answered


async def test_a_completion_has_all_its_fields(sdk, service, simulator, project, agreed):
    before = time.time()
    completion = await done(sdk().chat.completions.create(**asks({"input": 101, "output": 7})))
    assert (completion.object, completion.model) == ("chat.completion", MODEL)
    assert completion.id and before - 1 <= completion.created <= time.time() + 1
    [choice] = completion.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    message = choice.message
    assert (message.role, message.content, message.refusal) == ("assistant", "word " * 7, None)
    assert not message.tool_calls
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (101, 7, 108)
    assert usage.model_extra["cost"] == pytest.approx(101 * 2e-6 + 7 * 10e-6)
    assert service.usage(project)["total_cost"] == pytest.approx(usage.model_extra["cost"])
    assert completion._request_id.startswith("req_")


async def test_cached_and_thought_tokens_are_told(sdk, agreed):
    script = {"input": 900, "cache_read": 300, "thinking": {"tokens": 100}, "output": 120}
    completion = await done(sdk().chat.completions.create(**asks(script)))
    assert completion.usage.prompt_tokens == 900
    assert completion.usage.prompt_tokens_details.cached_tokens == 300
    assert completion.choices[0].message.content == "word " * 20


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"output": 1000}, "length"),
        ({"stop_reason": "stop_sequence"}, "stop"),
        ({"stop_reason": "refusal"}, "content_filter"),
        ({"stop_reason": "model_context_window_exceeded"}, "length"),
        (CALL, "tool_calls"),
    ],
    ids=["full", "stop", "refusal", "context", "tool"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_why_it_ended_is_told_in_openais_words(sdk, agreed, script, reason, stream):
    answer = await done(sdk().chat.completions.create(**asks(script, stream=stream)))
    if stream:
        *_, last = [chunk async for chunk in each(answer)]
        assert last.choices[0].finish_reason == reason
    else:
        assert answer.choices[0].finish_reason == reason


async def test_an_answer_says_who_gave_it_and_what_is_left(sdk, agreed):
    answer = await done(sdk().chat.completions.with_raw_response.create(**asks()))
    assert answer.headers["x-request-id"] == answer.headers["request-id"]
    assert answer.headers["anthropic-ratelimit-requests-limit"]


# Streams


@pytest.mark.parametrize("script", [{}, {"unknown_events": True, "unknown_fields": True, "comments": True}], ids=["plain", "unknown"])
async def test_a_stream_is_the_text_and_ends_with_the_usage(sdk, agreed, script):
    asked = asks({"input": 50, "output": 20, **script}, stream=True, stream_options={"include_usage": True})
    chunks = await every(await done(sdk().chat.completions.create(**asked)))
    assert {(chunk.object, chunk.model, chunk.id) for chunk in chunks} == {("chat.completion.chunk", MODEL, chunks[0].id)}
    *said, last = chunks
    assert said[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "word " * 20
    assert [chunk.choices[0].finish_reason for chunk in said] == [None] * (len(said) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in said)
    assert last.choices == [] and (last.usage.prompt_tokens, last.usage.completion_tokens) == (50, 20)
    assert last.usage.model_extra["cost"] > 0


async def test_a_stream_that_was_not_asked_for_its_usage_has_none(sdk, agreed):
    chunks = await every(await done(sdk().chat.completions.create(**asks(stream=True))))
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)


async def test_the_helper_for_streams_puts_the_completion_together(sdk, agreed):
    options = {"tools": [{**ADD, "function": {**ADD["function"], "strict": True}}], "stream_options": {"include_usage": True}}
    async with opened(sdk().chat.completions.stream(**asks(CALL), **options)) as stream:
        kinds = {event.type async for event in each(stream)}
        completion = await done(stream.get_final_completion())
    assert {"chunk", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    [call] = completion.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == CALL["tool"]["input"]
    assert completion.usage.completion_tokens == 30


# What is asked


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tool_is_called_and_its_result_is_read(sdk, simulator, agreed, stream):
    client, asked = sdk(), asks(CALL, tools=[ADD], tool_choice="auto", parallel_tool_calls=False)
    if stream:
        async with opened(client.chat.completions.stream(**asked)) as answer:
            completion = await done(answer.get_final_completion())
    else:
        completion = await done(client.chat.completions.create(**asked))
    message = completion.choices[0].message
    [call] = message.tool_calls
    assert (completion.choices[0].finish_reason, call.type, call.function.name) == ("tool_calls", "function", "add")
    assert json.loads(call.function.arguments) == CALL["tool"]["input"]
    sent = simulator.requests()[-1]
    assert sent["tools"][0]["name"] == "add" and sent["tools"][0]["input_schema"] == ADD["function"]["parameters"]
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    result = {"role": "tool", "tool_call_id": call.id, "content": sim({"output": 3}, "42")}
    turns = [*asked["messages"], message, result]
    final = await done(client.chat.completions.create(**{**asked, "messages": turns}))
    assert (final.choices[0].finish_reason, final.choices[0].message.content) == ("stop", "word " * 3)
    _, called, answered = simulator.requests()[-1]["messages"]
    assert called["content"][-1]["input"] == CALL["tool"]["input"] and called["content"][-1]["id"] == call.id
    assert answered["content"][0]["tool_use_id"] == call.id
    assert "42" in json.dumps(answered["content"][0]["content"])


async def test_an_image_arrives_unchanged(sdk, simulator, agreed):
    data = base64.b64encode(IMAGE).decode()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data, "detail": "high"}}
    await done(sdk().chat.completions.create(**asks(content=[{"type": "text", "text": sim()}, image])))
    source = simulator.requests()[-1]["messages"][0]["content"][1]["source"]
    assert source == {"type": "base64", "media_type": "image/png", "data": data}


class Person(pydantic.BaseModel):
    name: str
    tags: List[str]


async def test_an_answer_can_follow_a_schema(sdk, simulator, agreed):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    await done(sdk().chat.completions.create(**asks(response_format=form)))
    assert simulator.requests()[-1]["output_config"]["format"] == {"type": "json_schema", "schema": schema}


async def test_a_model_of_pydantic_is_the_schema_and_reads_a_tool_s_call(sdk, simulator, agreed):
    call = {"tool": {"name": "Person", "input": {"name": "Ada", "tags": ["ö"]}}}
    completion = await done(
        sdk().chat.completions.parse(**asks(call), response_format=Person, tools=[openai.pydantic_function_tool(Person)])
    )
    sent = simulator.requests()[-1]
    assert sent["output_config"]["format"]["schema"]["properties"].keys() == {"name", "tags"}
    assert sent["tools"][0]["strict"] is True
    [call] = completion.choices[0].message.tool_calls
    assert call.function.parsed_arguments == Person(name="Ada", tags=["ö"])


async def test_what_else_can_be_said_reaches_upstream(sdk, simulator, agreed):
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": sim()},
    ]
    asked = {"model": MODEL, "messages": messages, "max_completion_tokens": 77, "stop": ["END", "\n\nUser:"],
             "temperature": 0.5, "user": "u", "n": 1, "reasoning_effort": "low"}
    await done(sdk().chat.completions.create(**asked))
    sent = simulator.requests()[-1]
    assert sent["system"] == "Be short.\nBe kind."
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert (sent["max_tokens"], sent["stop_sequences"], sent["temperature"]) == (77, ["END", "\n\nUser:"], 0.5)
    assert (sent["metadata"], sent["output_config"]["effort"]) == ({"user_id": "u"}, "low")
    await done(sdk().chat.completions.create(**asks(max_tokens=33, stop="END")))
    assert (simulator.requests()[-1]["max_tokens"], simulator.requests()[-1]["stop_sequences"]) == (33, ["END"])


async def test_models_are_listed_and_shown(sdk):
    models = await every(sdk().models.list())
    assert {"auto", "haiku", "sonnet", "opus", MODEL} <= {model.id for model in models}
    model = await done(sdk().models.retrieve(MODEL))
    assert (model.object, model.id) == ("model", MODEL) and model.owned_by and model.created >= 0
    with pytest.raises(openai.NotFoundError):
        await done(sdk().models.retrieve("gpt-5"))


async def test_the_project_is_named_in_the_body_or_in_a_header(sdk, service, simulator, project):
    client = sdk(project=project + "-header")
    completion = await done(client.chat.completions.create(**asks(model="sonnet"), extra_body={"project_id": project + "-body"}))
    assert completion.choices[0].message.content, "from an SDK it is never the older dialect"
    bare = {"model": "sonnet", "messages": [{"role": "user", "content": sim()}]}
    completion = await done(client.chat.completions.create(**bare, extra_body={"project_id": project + "-body"}))
    assert completion.choices[0].message.content
    await done(client.chat.completions.create(**asks()))
    requests = [service.usage(project + where)["by_model"]["sonnet"]["requests"] for where in ("-body", "-header")]
    assert requests == [2, 1]


def test_a_program_of_the_older_dialect_gets_its_six_fields(service, simulator, project):
    before = len(simulator.bill())
    asked = {"model": "sonnet", "messages": [{"role": "user", "content": sim({"input": 9, "output": 4})}], "project_id": project}
    answer = service.post("/v1/chat/completions", asked)
    assert answer.keys() == {"id", "model", "content", "usage", "cost", "project_id"}
    assert (answer["model"], answer["content"], answer["project_id"]) == ("sonnet", "word " * 4, project)
    assert answer["usage"] == {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    assert answer["cost"] == pytest.approx(9 * 2e-6 + 4 * 10e-6)
    assert service.usage(project)["total_tokens"] == simulator.billed(before)


# Errors


@pytest.mark.parametrize(
    ("script", "kind_of_error", "status"),
    [
        ({"status": 400}, openai.BadRequestError, 400),
        ({"status": 404}, openai.NotFoundError, 404),
        ({"status": 413}, openai.APIStatusError, 413),
        ({"status": 500}, openai.InternalServerError, 502),
        ({"status": 529, "retry_after": "30"}, openai.InternalServerError, 503),
        ({"status": 429, "retry_after": "60"}, openai.RateLimitError, 429),
    ],
    ids=["400", "404", "413", "500", "529", "429"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_error_of_upstream_is_one_of_the_sdk(sdk, fresh, script, kind_of_error, status, stream):
    with pytest.raises(kind_of_error) as raised:
        await done(sdk(fresh, max_retries=0).chat.completions.create(**asks(script, stream=stream)))
    error = raised.value
    assert error.status_code == status and error.request_id.startswith("req_")
    assert error.body["message"] and error.type and error.code
    if script["status"] == 429:
        assert 58 <= int(error.response.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"logprobs": True}, "logprobs"),
        ({"max_completion_tokens": 7}, "max_tokens"),
        ({"extra_body": {"field_of_tomorrow": 1}}, "field_of_tomorrow"),
        ({"seed": 7}, "seed"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages[0].content[0].type"),
        ({"model": "gpt-5"}, "model"),
    ],
    ids=str,
)
async def test_what_claude_cannot_honour_is_refused_by_name(sdk, simulator, change, param):
    before = len(simulator.requests())
    with pytest.raises(openai.BadRequestError) as raised:
        await done(sdk().chat.completions.create(**{**asks(), **change}))
    error = raised.value
    assert (error.param, error.type, error.code) == (param, "invalid_request_error", "invalid_request")
    assert error.body["message"].startswith(param) and len(simulator.requests()) == before


async def test_a_key_opens_its_own_project_alone(sdk, locked, simulator):
    before, used = len(simulator.bill()), locked.usage("mine", locked.admin)["total_tokens"]
    for project, key in [("mine", locked.mine), ("default", locked.mine), ("mine", locked.admin)]:
        await done(sdk(locked, project, api_key=key).chat.completions.create(**asks()))
    assert locked.usage("mine", locked.admin)["total_tokens"] - used == simulator.billed(before)
    before = len(simulator.requests())
    with pytest.raises(openai.AuthenticationError) as raised:
        await done(sdk(locked, "mine", api_key="ccak_" + "0" * 64).chat.completions.create(**asks()))
    assert raised.value.type == "authentication_error" and raised.value.request_id
    with pytest.raises(openai.AuthenticationError):
        await every(sdk(locked, "mine", api_key="sk-proj-mine").models.list())
    with pytest.raises(openai.PermissionDeniedError) as denied:
        await done(sdk(locked, "theirs", api_key=locked.mine).chat.completions.create(**asks()))
    assert denied.value.type == "permission_error"
    with pytest.raises(openai.PermissionDeniedError):
        await done(sdk(locked, "mine", api_key=locked.mine).chat.completions.create(**asks(), extra_body={"project_id": "theirs"}))
    assert len(simulator.requests()) == before


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_budget_that_is_used_up_is_told_once(sdk, service, simulator, project, stream):
    service.manage("project", "set", project, "--tokens-per-day", "10")
    before, answered = len(simulator.requests()), len(service.answered())
    with pytest.raises(openai.RateLimitError) as raised:
        await done(sdk().chat.completions.create(**asks(stream=stream)))
    error = raised.value
    assert "Budget exceeded" in error.message
    assert (error.type, error.code) == ("insufficient_quota", "budget_exceeded")
    assert service.answered()[answered:] == [429], "it was not tried again"
    assert len(simulator.requests()) == before


async def test_what_can_be_tried_again_is_tried_again(sdk, fresh, project):
    completion = await done(sdk(fresh).chat.completions.create(**asks({"status": 500, "faults": 4})))
    assert completion.choices[0].message.content and len(fresh.simulator.requests()) == 5
    assert fresh.usage(project)["total_tokens"] == fresh.simulator.billed()


async def test_who_cannot_be_reached_is_a_connection_error(sdk):
    with pytest.raises(openai.APIConnectionError):
        await done(sdk(base_url="http://127.0.0.1:9", max_retries=0).chat.completions.create(**asks()))


async def test_an_error_in_the_midst_of_a_stream_is_raised(sdk, fresh, project):
    script = {"error_event": {"type": "overloaded_error", "after": 6}, "output": 50}
    texts = []
    with pytest.raises(openai.APIError) as raised:
        async for chunk in each(await done(sdk(fresh).chat.completions.create(**asks(script, stream=True)))):
            texts.append(chunk.choices[0].delta.content)
    assert any(texts) and raised.value.code == "overloaded" and raised.value.message
    assert len(fresh.simulator.requests()) == 1, "what has begun is not begun again"
    [entry] = fresh.entries(project)
    assert not entry["exact"] and entry["input_tokens"] + entry["output_tokens"] >= fresh.simulator.billed()


# Giving up


async def test_a_stream_that_is_closed_is_closed_upstream(sdk, service, simulator, project):
    before = len(simulator.bill())
    stream = await done(sdk().chat.completions.create(**asks({"endless": True, "token_ms": 5}, stream=True)))
    async for chunk in each(stream):
        if chunk.choices[0].delta.content:
            break
    assert simulator.open() == 1
    await done(stream.close())
    abandoned(service, simulator, project, before)


@pytest.mark.parametrize("kind", ["async"], indirect=True)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_task_that_is_cancelled_cancels_the_call(sdk, service, simulator, project, stream):
    before = len(simulator.bill())

    async def ask():
        answer = await sdk().chat.completions.create(**asks({"output": 900, "token_ms": 10}, stream=stream))
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


async def test_a_call_that_is_sent_again_under_its_key_is_paid_once(sdk, simulator, project, agreed):
    before = len(simulator.bill())
    once = {"extra_headers": {"Idempotency-Key": "k-" + project}}
    answers = [await done(sdk().chat.completions.create(**asks(), **once)) for _ in range(3)]
    assert len({(answer.id, answer.choices[0].message.content) for answer in answers}) == 1
    assert len(simulator.bill()) - before == 1
    with pytest.raises(openai.ConflictError):
        await done(sdk().chat.completions.create(**asks(max_tokens=7), **once))

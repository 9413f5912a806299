"""The specification of the client library, read by the test: its data models, signatures, exceptions, and its examples, run."""

import ast
import builtins
import dataclasses
import inspect
import re
import textwrap
import typing

import pytest

import claude_code_api
import client as client_package
from answers import SSE, START, delta, done, result, totals
from claude_code_api import AsyncClaudeClient, ClaudeAPIError, ClaudeClient, Model
from conftest import REPOSITORY, absent
from programs import run

SPEC = REPOSITORY.parent / "shared" / "spec" / "client-library.md"
TEXT = SPEC.read_text(encoding="utf-8") if SPEC.exists() else ""


def section(title: str) -> str:
    """What stands under a heading, the headings below it included."""
    found = re.search(r"^(#+) %s\n(.*?)(?=^\1 |\Z)" % re.escape(title), TEXT, re.MULTILINE | re.DOTALL)
    assert found, "the spec has a section %s" % title
    # A comment in an example looks like a heading of the first level; no section that is asked for is of that level.
    return found.group(2)


def blocks(title: str) -> typing.List[str]:
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", section(title), re.DOTALL)]


@pytest.fixture(autouse=True)
def spec():
    if not TEXT:
        absent("the specification is not at %s" % SPEC)


MODELS = ["Response", "Usage", "BatchResult", "BatchResponse", "UsageStats"]


def spec_fields(name: str) -> typing.Dict[str, typing.Any]:
    (block,) = blocks(name)
    (definition,) = ast.parse(block).body
    assert isinstance(definition, ast.ClassDef) and definition.name == name
    names = dict(vars(typing), **{name: getattr(claude_code_api, name) for name in claude_code_api.__all__})
    fields = {}
    for line in definition.body:
        assert isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is None
        fields[line.target.id] = eval(compile(ast.Expression(line.annotation), str(SPEC), "eval"), names)
    return fields


def test_every_data_model_of_the_spec_is_tested():
    assert re.findall(r"class (\w+):", "".join(blocks("Data Models"))) == MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_data_model_has_the_fields_of_the_spec_first(name):
    expected, model = spec_fields(name), getattr(claude_code_api, name)
    assert dataclasses.is_dataclass(model)
    hints = typing.get_type_hints(model)
    fields = dataclasses.fields(model)
    assert [(field.name, hints[field.name]) for field in fields[: len(expected)]] == list(expected.items())
    for field in fields[len(expected) :]:
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        assert has_default, "%s.%s is beyond the spec and so has a default" % (name, field.name)


@pytest.mark.parametrize("name", MODELS)
def test_a_data_model_can_be_made_from_the_specs_fields_alone(name):
    names = list(spec_fields(name))
    model = getattr(claude_code_api, name)
    by_name, by_place = model(**{field: field for field in names}), model(*names)
    assert by_name == by_place
    assert [getattr(by_name, field) for field in names] == names


def positional(function) -> typing.Dict[str, typing.Any]:
    """Parameters that can be given by place, with their defaults; all others have one."""
    shown = {}
    for parameter in list(inspect.signature(function).parameters.values()):
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            shown[parameter.name] = parameter.default
        else:
            assert parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty, parameter
    shown.pop("self", None)
    return shown


def of_the_example(title: str) -> typing.Dict[str, typing.Any]:
    """Arguments of the call with which an API section opens."""
    statement = ast.parse(blocks(title)[0]).body[0]
    assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in statement.value.keywords}


@pytest.mark.parametrize("kind", [ClaudeClient, AsyncClaudeClient])
def test_the_constructor_is_that_of_the_spec(kind):
    expected = {
        "base_url": "http://localhost:8080",
        "api_key": None,
        "project_id": "default",
        "timeout": 30.0,
        "max_retries": 3,
        "retry_delay": 1.0,
    }
    assert of_the_example("Constructor") == expected
    shown = positional(kind)
    assert list(shown.items()) == list(expected.items())
    assert [type(shown[name]) for name in ("timeout", "max_retries", "retry_delay")] == [float, int, float]
    kind(*expected.values())


@pytest.mark.parametrize("kind", [ClaudeClient, AsyncClaudeClient])
@pytest.mark.parametrize("method", ["complete", "stream"])
def test_calls_take_the_specs_arguments_in_its_order(kind, method):
    expected = dict(of_the_example("complete()"), prompt=inspect.Parameter.empty)
    assert list(expected) == ["prompt", "model", "project_id", "timeout"]
    shown = positional(getattr(kind, method))
    assert list(shown.items()) == list(expected.items())
    assert inspect.iscoroutinefunction(AsyncClaudeClient.complete) and not inspect.iscoroutinefunction(ClaudeClient.complete)


@pytest.mark.parametrize("kind", [ClaudeClient, AsyncClaudeClient])
def test_a_batch_takes_the_specs_arguments_in_its_order(kind):
    (call,) = [node.value for node in ast.parse(blocks("batch()")[0]).body if isinstance(getattr(node, "value", None), ast.Call)][:1]
    arguments = {str(keyword.arg): keyword.value for keyword in call.keywords}
    assert list(arguments) == ["prompts", "model", "project_id", "parallel", "timeout"]
    defaults = {name: ast.literal_eval(value) for name, value in list(arguments.items())[2:]}
    # The model of the example is one that somebody chose; where the spec leaves it out, it is chosen for them.
    expected = dict({"prompts": inspect.Parameter.empty, "model": Model.AUTO}, **defaults)
    assert list(positional(kind.batch).items()) == list(expected.items())
    assert list(positional(kind.batch_as_completed).items()) == list(expected.items())


def test_every_name_that_the_spec_imports_is_there():
    names = set()
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        for node in ast.walk(ast.parse(in_a_function(block))):
            if isinstance(node, ast.ImportFrom) and node.module == "client":
                names.update(alias.name for alias in node.names)
    assert {"ClaudeClient", "AsyncClaudeClient", "Model"} <= names
    for name in names:
        assert getattr(client_package, name) is getattr(claude_code_api, name), name


def in_a_function(block: str) -> str:
    """An example with ``async for`` at its top is no module, but the body of a function."""
    return "async def example():\n" + textwrap.indent(block, "    ")


def test_the_exceptions_of_the_spec_have_one_base():
    names = re.findall(r"except (\w+)", blocks("Error Handling")[0])
    assert names == [
        "BudgetExceededError",
        "TimeoutError",
        "RateLimitError",
        "AuthenticationError",
        "ClaudeAPIError",
    ]
    for name in names:
        assert issubclass(getattr(client_package, name), ClaudeAPIError), name
    assert claude_code_api.TimeoutError is not builtins.TimeoutError


def test_models_equal_their_texts():
    assert {model.name: model.value for model in Model} == {name.upper(): name for name in "auto haiku sonnet opus".split()}
    for model in Model:
        assert model == model.value and str(model) == model.value and "%s" % model == model.value
        assert "{}".format(model) == model.value and isinstance(model, str) and hash(model) == hash(model.value)
        assert Model(model.value) is model
    for name in re.findall(r"Model\.(\w+)", "".join(blocks("Model Selection"))):
        assert name in Model.__members__


@pytest.mark.parametrize("title", ["Synchronous Usage", "Asynchronous Usage"])
def test_the_quick_start_runs_as_it_is_written(service, title, tmp_path):
    (block,) = blocks(title)
    assert "localhost:8080" in block
    ended = run(block.replace(":8080", ":%d" % service.port), file=tmp_path / "quick_start.py")
    assert ended.out.strip() and ended.err == ""
    assert "Async" in block or re.search(r"^Cost: \$\d+\.\d{4}$", ended.out, re.MULTILINE)


def test_the_health_example_runs_as_it_is_written(service, tmp_path):
    source = "from client import ClaudeClient\nclient = ClaudeClient('%s')\n" % service.url
    ended = run(source + blocks("Testing")[0] + blocks("health()")[0], file=tmp_path / "health.py")
    assert ended.lines[:2] == ["Service is healthy", "Status: ok"] and ended.err == ""


def test_the_examples_of_streams_run_as_they_are_written(server, tmp_path):
    server.script(*[[START, delta("he"), delta("llo"), done("hello")]] * 2)
    sync_example, async_example = blocks("stream()")[0].split("# Async\n")
    source = "import asyncio\nfrom client import AsyncClaudeClient, ClaudeClient\nclient = ClaudeClient('%s')\n" % server.url
    source += sync_example + "\nclient = AsyncClaudeClient('%s')\n" % server.url
    source += in_a_function(async_example) + "\nasyncio.run(example())\n"
    assert run(source, file=tmp_path / "stream.py").out == "hellohello"


ANSWERED = [SSE, result(0, "Prompt 1"), result(2, "Prompt 3"), result(1, "Prompt 2", error_code="rate_limited"), totals(3)]


def test_the_examples_of_batches_run_as_they_are_written(server, tmp_path):
    server.script(*[ANSWERED] * 2)
    source = "from client import ClaudeClient\nclient = ClaudeClient('%s')\n" % server.url
    source += blocks("batch()")[0] + blocks("Batch Processing with Error Handling")[0]
    ended = run(source, file=tmp_path / "batch.py")
    assert ended.lines == [
        "Completed: 2/3",
        "Total cost: $0.0000",
        "\u2713 c0",
        "\u2717 Error: scripted trouble",
        "\u2713 c2",
        "Success rate: 2/3",
        "Total cost: $0.0000",
        "Failed prompt: Prompt 2",
        "Error: scripted trouble",
    ]
    first, second = (request.body for request in server.requests)
    assert first["prompts"][1] == {"prompt": "Count to 5"} and first["model"] == second["model"] == "haiku"


def test_the_example_of_an_asynchronous_batch_runs_as_it_is_written(service, tmp_path):
    (block,) = blocks("Async Batch Processing")
    ended = run(block, file=tmp_path / "batch.py", CLAUDE_CODE_API_BASE_URL=service.url)
    assert ended.lines[0] == "Processed 3/3 prompts" and ended.lines[1].startswith("Total tokens: ") and ended.err == ""

"""The surface of the client library, compared with its specification: data models, signatures, exceptions, names."""

import ast
import builtins
import dataclasses
import inspect
import re
import typing

import pytest

import claude_code_api
import client as client_package
from claude_code_api import AsyncClaudeClient, ClaudeAPIError, ClaudeClient, Model
from conftest import absent
from spec import EXAMPLES, SPEC, in_a_function

@pytest.fixture(autouse=True)
def spec():
    if not EXAMPLES:
        absent("the specification is not at %s" % SPEC)


MODELS = ["Response", "Usage", "BatchResult", "BatchResponse", "UsageStats"]


def spec_fields(name: str) -> typing.Dict[str, typing.Any]:
    (definition,) = ast.parse(EXAMPLES[name]).body
    assert isinstance(definition, ast.ClassDef) and definition.name == name
    names = dict(vars(typing), **{name: getattr(claude_code_api, name) for name in claude_code_api.__all__})
    fields = {}
    for line in definition.body:
        assert isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is None
        fields[line.target.id] = eval(compile(ast.Expression(line.annotation), str(SPEC), "eval"), names)
    return fields


def test_every_data_model_of_the_spec_is_tested():
    assert re.findall(r"class (\w+):", "".join(EXAMPLES.values())) == MODELS


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
    statement = ast.parse(EXAMPLES[title]).body[0]
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
    (call,) = [node.value for node in ast.parse(EXAMPLES["batch()"]).body if isinstance(getattr(node, "value", None), ast.Call)][:1]
    arguments = {str(keyword.arg): keyword.value for keyword in call.keywords}
    assert list(arguments) == ["prompts", "model", "project_id", "parallel", "timeout"]
    defaults = {name: ast.literal_eval(value) for name, value in list(arguments.items())[2:]}
    # The model of the example is one that somebody chose; where the spec leaves it out, it is chosen for them.
    expected = dict({"prompts": inspect.Parameter.empty, "model": Model.AUTO}, **defaults)
    assert list(positional(kind.batch).items()) == list(expected.items())
    assert list(positional(kind.batch_as_completed).items()) == list(expected.items())


def test_every_name_that_the_spec_imports_is_there():
    names = set()
    for example in EXAMPLES.values():
        for node in ast.walk(ast.parse(in_a_function(example))):
            if isinstance(node, ast.ImportFrom) and node.module == "client":
                names.update(alias.name for alias in node.names)
    assert {"ClaudeClient", "AsyncClaudeClient", "Model"} <= names
    for name in names:
        assert getattr(client_package, name) is getattr(claude_code_api, name), name


def test_the_exceptions_of_the_spec_have_one_base():
    names = re.findall(r"except (\w+)", EXAMPLES["Error Handling"])
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
    for name in re.findall(r"Model\.(\w+)", EXAMPLES["Model Selection"]):
        assert name in Model.__members__

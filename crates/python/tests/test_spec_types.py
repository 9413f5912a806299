"""The specification's examples under mypy and pyright, as a program that is checked without being strict."""

import textwrap

import pytest

from checkers import mypy, pyright
from conftest import absent
from spec import EXAMPLES, SPEC

pytestmark = pytest.mark.once

# What an example takes from the ones before it, and from the program round it.
BEFORE = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import Dict, List, Optional, Union
from client import AsyncClaudeClient, BatchResult, ClaudeClient, Usage

client = %s()

async def example() -> None:
"""


@pytest.fixture
def examples(tmp_path):
    if not EXAMPLES:
        absent("the specification is not at %s" % SPEC)
    # The two halves of one example, each with a client of its own kind.
    halves = [half for example in EXAMPLES.values() for half in example.split("# Async\n")]
    for number, half in enumerate(halves):
        before = BEFORE % ("AsyncClaudeClient" if "async for" in half else "ClaudeClient")
        (tmp_path / ("example_%d.py" % number)).write_text(before + textwrap.indent(half, "    "), encoding="utf-8")
    assert len(EXAMPLES) > 20 and len(halves) == len(EXAMPLES) + 1
    return tmp_path


def test_every_example_is_well_typed(examples):
    # Functions of the examples have no annotations, and their bodies are to be checked all the same.
    mypy(examples, "--check-untyped-defs", ".")


def test_every_example_is_well_typed_for_pyright_too(examples):
    pyright(examples, "standard")

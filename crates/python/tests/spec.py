"""The examples of a page, by heading; and those of the specification of the client library, where it is."""

import itertools
import textwrap
from typing import Dict

from conftest import REPOSITORY

SPEC = REPOSITORY.parent / "shared" / "spec" / "client-library.md"


def examples(page: str) -> Dict[str, str]:
    """Every Python example by its heading; where one has several, they are ``heading``, ``heading 2``, and so on."""
    found: Dict[str, str] = {}
    title, language, lines = "", "", []
    for line in page.splitlines(keepends=True):
        is_fence = line.startswith("```")
        if is_fence and not language:
            language, lines = line[3:].strip() or "text", []
        elif is_fence:
            if language == "python":
                names = itertools.chain([title], ("%s %d" % (title, count) for count in itertools.count(2)))
                found[next(name for name in names if name not in found)] = "".join(lines)
            language = ""
        elif language:
            lines.append(line)  # A comment in an example looks like a heading.
        elif line.startswith("#"):
            title = line.strip("#").strip()
    return found


EXAMPLES = examples(SPEC.read_text(encoding="utf-8") if SPEC.exists() else "")


def in_a_function(example: str) -> str:
    """An example with ``async for`` at its top is no module, but the body of a function."""
    return "async def example():\n" + textwrap.indent(example, "    ")

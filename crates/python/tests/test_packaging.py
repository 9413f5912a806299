"""What is handed out: the wheel that the build has made, and a source distribution."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path
from typing import List, Set

import pytest

import claude_code_api
from conftest import REPOSITORY, TARGET, absent

pytestmark = pytest.mark.once

ROOT = REPOSITORY / "crates" / "python"
ABOUT = "claude_code_api-%s.dist-info/" % claude_code_api.__version__


@pytest.fixture
def wheel():
    wheels = list((TARGET / "wheels").glob("*.whl"))
    assert len(wheels) == 1, "scripts/build.sh leaves one wheel: %s" % wheels
    with zipfile.ZipFile(str(wheels[0])) as opened:
        yield opened


def about(wheel: zipfile.ZipFile, name: str):
    return BytesParser().parsebytes(wheel.read(ABOUT + name))


def files(folder: Path, *below: str) -> List[Path]:
    """Files of a folder, by their paths in it; nothing that running leaves there."""
    found = [path.relative_to(folder) for name in below for path in (folder / name).rglob("*") if path.is_file()]
    return [path for path in found if "__pycache__" not in path.parts]


def test_one_wheel_is_for_every_python_from_3_8(wheel):
    tags = about(wheel, "WHEEL").get_all("Tag")
    assert tags and all(tag.startswith("cp38-abi3-") for tag in tags)
    assert "-cp38-abi3-" in str(wheel.filename) and about(wheel, "METADATA")["Requires-Python"] == ">=3.8"


def test_the_wheel_needs_no_other_package(wheel):
    assert about(wheel, "METADATA").get_all("Requires-Dist") is None


def test_the_wheel_says_what_it_is(wheel):
    metadata = about(wheel, "METADATA")
    assert (metadata["Name"], metadata["Version"]) == ("claude-code-api", claude_code_api.__version__)
    assert metadata["Summary"] and metadata["License-Expression"] == "MIT" and metadata.get_all("License-File") == ["LICENSE"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert metadata["Description-Content-Type"].startswith("text/markdown")
    assert metadata.get_payload(decode=True).decode("utf-8").strip() == readme.strip()
    assert wheel.read(ABOUT + "licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()


def test_the_wheel_holds_the_package_as_it_is_in_the_checkout_and_nothing_else(wheel):
    source = files(ROOT / "python", "claude_code_api", "client")
    assert Path("claude_code_api/py.typed") in source and Path("client/py.typed") in source
    assert {path.suffix for path in source} == {".py", ".pyi", ".typed"}
    built = {"claude_code_api/_native.abi3.so", *(ABOUT + name for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE"))}
    assert set(wheel.namelist()) == built | {path.as_posix() for path in source}
    for path in source:
        assert wheel.read(path.as_posix()) == (ROOT / "python" / path).read_bytes(), path


def source_distribution(folder: Path) -> Set[str]:
    """Makes one; the names of what is in it."""
    maturin = Path(sys.executable).with_name("maturin")
    if not maturin.exists():
        absent("maturin is not beside %s" % sys.executable)
    command = [str(maturin), "sdist", "--manifest-path", str(ROOT / "Cargo.toml"), "--out", str(folder)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=100)
    assert ended.returncode == 0, ended.stdout
    (made,) = os.listdir(str(folder))
    top = "claude_code_api-%s" % claude_code_api.__version__
    assert made == top + ".tar.gz"
    with tarfile.open(str(folder / made)) as opened:
        return {os.path.relpath(name, top) for name in opened.getnames()}


def test_a_source_distribution_holds_what_building_takes_and_nothing_else(tmp_path):
    names = source_distribution(tmp_path)
    crates = ["crates/client", "crates/python", "crates/wire"]
    expected = {path.as_posix() for crate in crates for path in files(REPOSITORY, crate + "/src")}
    expected.update(path.as_posix() for path in files(ROOT, "python"))
    expected.update(crate + "/Cargo.toml" for crate in crates)
    expected.update(["Cargo.lock", "Cargo.toml", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"])
    # Of the crate's folder, too.
    assert names - {"crates/python/LICENSE", "crates/python/README.md"} == expected

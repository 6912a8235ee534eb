"""The documentation site names every page and every public name. `make docs` builds it and checks its links."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIG = (ROOT / "mkdocs.yml").read_text()
PACKAGES = ("artifex_bench", "artifex_bench.advice", "artifex_bench.checkpointing")


def resolve(name):
    """The object that a dotted name stands for: attributes of packages come before their submodules."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def list_documented():
    """Dotted name -> page of the API reference."""
    pages = sorted(DOCS.glob("api/*.md"))
    return {name: page.name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}


DOCUMENTED = list_documented()


def is_documented(name):
    """Whether the reference has the object that a name stands for, by this name or by another one."""
    return any(resolve(name) is resolve(documented) for documented in DOCUMENTED)


def test_every_page_is_in_the_navigation_once():
    listed = re.findall(
        r"^ *- (?:.*: )?(\S+\.md)$", CONFIG.partition("\nnav:")[2].partition("\nextra_css:")[0], re.MULTILINE
    )
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package):
    objects = [resolve(name) for name in DOCUMENTED]
    missing = [
        name for name in import_module(package).__all__ if not any(resolve(f"{package}.{name}") is o for o in objects)
    ]
    assert not missing


def test_every_name_of_the_reference_has_documentation():
    for name, page in DOCUMENTED.items():
        thing = resolve(name)
        assert callable(thing) or page == "checkpointing.md", name
        assert thing.__doc__, name


def imports(text):
    """The names that Python code imports from the package, without its modules."""
    lines = (line for line in text.splitlines() if line.startswith("from artifex_bench"))
    for node in ast.parse("\n".join(lines)).body:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            if not (ROOT / name.replace(".", "/")).is_dir() and not (ROOT / f"{name.replace('.', '/')}.py").exists():
                yield name


GUIDES = sorted(page for page in [ROOT / "README.md", *DOCS.glob("*.md")])


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_what_a_page_imports_is_in_the_reference(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for name in imports(dedent(block)):
            assert is_documented(name), name

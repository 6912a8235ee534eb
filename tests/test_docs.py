"""The documentation and the program agree."""

from __future__ import annotations

import ast
import pkgutil
import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import artifex_bench
from artifex_bench.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    inline = re.findall(r"`(artifex-bench [^`]+)`", README)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    return [line for line in (*lines, *inline) if line.startswith("artifex-bench ")]


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_readme_is_one_that_the_program_takes(line):
    _, name, *args = shlex.split(line)
    command = main.commands[name]
    with click.Context(command) as context:
        command.parse_args(context, args)


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_every_make_target_in_the_readme_is_there(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_model_in_the_docs_is_the_example():
    source = (ROOT / "examples" / "gated.py").read_text()
    assert source.strip() in (ROOT / "docs" / "own-models.md").read_text()


def test_advice_in_the_readme_is_what_the_command_prints():
    line = next(line for line in commands() if line.startswith("artifex-bench advise"))
    done = CliRunner().invoke(main, shlex.split(line)[1:])
    [block] = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    assert block.strip() in done.output


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_in_the_readme_is_python_and_imports_what_is_there(block):
    tree = ast.parse(block)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and "artifex" in (node.module or "")]
    for node in imports:
        exec(compile(ast.Module([node], []), "README", "exec"), {})


def test_python_in_the_page_on_checkpointing_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "checkpointing.md").read_text()
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "checkpointing.md", "exec"), names)
    told = capsys.readouterr().out
    assert "step 2" in told and "save every" in told


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_file_that_the_readme_links_is_there(path):
    assert (ROOT / path).exists()


def test_every_command_has_help_of_its_own():
    assert {command.help for command in main.commands.values()} and all(c.help for c in main.commands.values())


def test_the_version_to_cite_is_the_packages():
    assert f"version: {artifex_bench.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_changelog_has_a_section_for_the_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] in (artifex_bench.__version__, "Unreleased")
    assert artifex_bench.__version__ in headings


def test_every_new_name_in_the_changelog_exists():
    rows = re.findall(r"^\| .*`.* \| `(artifex_bench[\w.]*)`", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert len(rows) > 50
    for name in rows:
        pkgutil.resolve_name(name)


def test_pre_commit_runs_the_linters_of_make_lint():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    linters = re.findall(r"\$\(BIN\)/(ruff check|ruff format|mypy)", recipe)
    hooks = re.findall(
        r"entry: \.venv/bin/(ruff check|ruff format|mypy)", (ROOT / ".pre-commit-config.yaml").read_text()
    )
    assert linters == hooks == ["ruff check", "ruff format", "mypy"]

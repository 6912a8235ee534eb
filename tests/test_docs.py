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
from tests.test_imports import MAY_IMPORT

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FOLDERS = ("*.md", "docs/**/*.md", "results/*.md", "artifex_bench/**/*.md")
PAGES = sorted(page for pattern in FOLDERS for page in ROOT.glob(pattern))
SHOWN = [page for page in PAGES if page.name not in ("CHANGELOG.md", "contributing.md")]  # no old or made-up names


def commands():
    for page in SHOWN:
        text = page.read_text().replace("\\\n", " ")
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        inline = re.findall(r"`(artifex-bench [^`]+)`", text)
        lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
        yield from (line for line in (*lines, *inline) if line.startswith("artifex-bench "))


@pytest.mark.parametrize("line", dict.fromkeys(commands()))
def test_every_command_in_the_docs_is_accepted(line):
    _, name, *args = shlex.split(line)
    command = main.commands[name]
    while isinstance(command, click.Group):
        with click.Context(command) as context:
            _, rest, _ = command.make_parser(context).parse_args(args)
            if not rest:
                return
            _, command, args = command.resolve_command(context, rest)
    with click.Context(command) as context:
        command.parse_args(context, args)


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_every_make_target_in_the_readme_exists(target):
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
def test_python_in_the_readme_parses_and_its_imports_exist(block):
    tree = ast.parse(block)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and "artifex" in (node.module or "")]
    for node in imports:
        exec(compile(ast.Module([node], []), "README", "exec"), {})


@pytest.mark.parametrize("page", ["checkpointing", "memory-plans"])
def test_python_in_these_pages_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL):
        exec(compile(block, page, "exec"), names)


def links(page):
    """Return (file, heading) of each link to a file of the repository or to a heading of the page."""
    return re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for path, heading in links(page):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not heading or heading in anchors(target), f"{path}#{heading}"


ROOTS = ("artifex_bench", "docs", "examples", "notebooks", "results", "suites", "tests", "validation")


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_in_the_docs_exists(page):
    for path in re.findall(rf"`((?:{'|'.join(ROOTS)})/[^`\s]*)`", page.read_text()):
        assert (ROOT / path).exists() or "FOLDER" in path, path


def test_every_committed_run_is_listed():
    listed = re.findall(r"^\| `(reference-[^`]*)`", (ROOT / "results" / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "results").glob("reference-*"))


DESIGN = (ROOT / "docs" / "design.md").read_text()


def test_the_table_of_folders_is_the_package_and_its_import_rules():
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", DESIGN.split("## Folders")[1], re.MULTILINE)
    folders = {path.name for path in (ROOT / "artifex_bench").iterdir() if path.is_dir() and path.name[0] != "_"}
    listed = {name: set(re.findall(r"\w+", allowed)) for name, allowed in rows if name in folders}
    assert set(listed) == folders
    assert {name: allowed for name, allowed in listed.items() if name in MAY_IMPORT} == MAY_IMPORT


def test_every_name_in_the_design_exists():
    folders = "|".join(MAY_IMPORT)
    names = re.findall(rf"`((?:{folders})(?:\.\w+)+)`", DESIGN)
    assert len(names) > 10
    for name in names:
        pkgutil.resolve_name(f"artifex_bench.{name}")


def test_every_command_has_help_of_its_own():
    helps = [command.help for command in main.commands.values()]
    assert all(helps) and len(set(helps)) == len(helps)


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

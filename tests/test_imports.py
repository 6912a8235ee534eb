"""The import graph: which modules start without JAX, and which folders each folder may import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from artifex_bench.core import run_spec, store
from artifex_bench.core.run_spec import RunSpec
from tests.build import measured, record

ROOT = Path(__file__).parent.parent
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("artifex_bench", "suites", "validation")
    for path in (ROOT / package).rglob("*.py")
}
SLOW = ("jax", "jaxlib", "flax", "optax", "orbax", "tensorstore")
# folders and modules that start without JAX
WITHOUT_JAX = (
    *("core", "kinds", "sweep", "cli", "report", "advice", "suites", "integrations", "models", "targets", "execution"),
    *("execution.local", "execution.fork_server"),
    *("memory_profile.tables", "memory_profile.timeline", "memory_profile.page"),
    *("checkpoint_io.formats", "remat.measure.probes", "remat.case_checks", "remat.strategies", "remat.verdict"),
)
WHOLE = ("core", "kinds", "sweep", "cli", "report", "advice", "suites", "integrations")  # with every module
# folder -> other folders of artifex_bench that it may import; data goes one way (docs/design.md)
MAY_IMPORT = {
    "core": set(),
    "suites": {"core"},
    "compat": {"core"},
    "checkpointing": {"compat"},
    "models": {"core", "compat"},
    "targets": {"core", "compat"},
    "checkpoint_io": {"core", "compat", "checkpointing", "targets"},
    "remat": {"core", "compat", "models", "targets"},
    "kinds": {"core", "suites", "models", "targets", "remat", "checkpoint_io"},
    "report": {"core", "kinds"},
    "memory_profile": {"core", "compat", "targets", "remat", "kinds", "report"},
    "execution": {"core", "targets", "remat", "checkpoint_io", "memory_profile"},
    "sweep": {"core", "kinds", "models", "targets", "execution"},
    "advice": {"core", "kinds", "targets", "checkpointing", "checkpoint_io", "report"},
    "integrations": {"core", "kinds", "sweep", "execution", "report"},
}


def loaded(code):
    """Return the modules of SLOW that a fresh process has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint('loaded:', *(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.splitlines()[-1].removeprefix("loaded:").split()


def test_modules_that_start_fast_import_no_jax():
    names = [f"artifex_bench.{name}" for name in WITHOUT_JAX]
    names += [name for name in SOURCES if name.startswith(tuple(f"artifex_bench.{one}." for one in WHOLE))]
    assert loaded("\n".join(f"import {name}" for name in names)) == []


def test_importing_the_command_changes_no_other_click_application():
    script = """
import click
kinds = [kind for kind in vars(click).values() if isinstance(kind, type)]
before = [dict(vars(kind)) for kind in kinds]
import artifex_bench.cli
assert [dict(vars(kind)) for kind in kinds] == before
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_the_check_itself_sees_jax():
    assert "jaxlib" in loaded("import jaxlib")


COMMAND = """
import sys
from artifex_bench.cli import main
sys.argv[1:] = {arguments}
try: main()
except SystemExit as end: assert not end.code, end.code
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["report", "--help"], ["list"], ["--version"]])
def test_commands_that_measure_nothing_start_without_jax(arguments):
    assert loaded(COMMAND.format(arguments=arguments)) == []


def test_a_report_is_made_without_jax(tmp_path):
    spec = RunSpec("remat", (record().case,))
    store.create_run(tmp_path / "run", run_spec.run_spec_to_json(spec))
    store.append_record(tmp_path / "run", record(measurements=measured()))
    assert loaded(COMMAND.format(arguments=["report", str(tmp_path / "run"), "--no-plots"])) == []
    assert (tmp_path / "run" / "table.md").exists()


def test_help_loads_neither_pandas_nor_matplotlib():
    code = COMMAND.format(arguments=["--help"]) + "\nassert not {'pandas', 'matplotlib'} & set(sys.modules)"
    assert loaded(code) == []


def imports(path):
    """Yield the modules that a file imports anywhere, except imports for type checkers."""
    tree = ast.parse(path.read_text())
    seen_by_checkers = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test)
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in seen_by_checkers:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts(names):
    """Return the packages and modules directly under artifex_bench among the names."""
    found = {name.split(".")[1] for name in names if name.startswith("artifex_bench.")}
    return {part for part in found if f"artifex_bench.{part}" in SOURCES}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_follow_the_data(part):
    files = {name: path for name, path in SOURCES.items() if (name + ".").startswith(f"artifex_bench.{part}.")}
    assert files
    for name, path in files.items():
        imported = set(imports(path))
        assert parts(imported) - {part} <= MAY_IMPORT[part], name
        assert not any(other.split(".")[0] in ("suites", "validation") for other in imported), name


def module(name):
    """Return the module of the project that holds a name, or an empty string."""
    while name and name not in SOURCES:
        name = name.rpartition(".")[0]
    return name


def folder(name):
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize("level", [str, folder], ids=["modules", "folders"])
def test_imports_have_no_cycle(level):
    graph = {}
    for name, path in SOURCES.items():
        found = {level(one) for one in map(module, imports(path)) if one}
        graph.setdefault(level(name), set()).update(found - {level(name), "artifex_bench"})
    TopologicalSorter(graph).prepare()  # raises CycleError


PRIVATE = re.compile(
    r"jax\.(_src|extend|interpreters|core)\b|\bfrom (orbax|flax)[.\w]*\._|google\.protobuf"
    r"|orbax\.checkpoint import future|runtime_executable|source_info|name_stack|call_jaxpr|num_carry"
)


def test_private_apis_are_used_only_in_compat():
    found = {name for name, path in SOURCES.items() if PRIVATE.search(path.read_text())}
    assert {name.rpartition(".")[0] for name in found} == {"artifex_bench.compat"}


def test_suites_import_only_core_and_suites():
    for name, path in SOURCES.items():
        if name.startswith("artifex_bench.suites."):
            assert parts(imports(path)) <= {"core", "suites"}, name


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [path.parent.relative_to(ROOT) for path in (ROOT / "artifex_bench").rglob("__init__.py")]
    assert sorted(listed) == sorted([".".join(folder.parts) for folder in found])


def test_only_the_store_writes_a_runs_records():
    for name, path in SOURCES.items():
        if name != "artifex_bench.core.store":
            assert "records.jsonl" not in path.read_text(), name

"""`artifex-bench demo`: the recorded run of the package, and where it may be written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifex_bench.cli import main
from artifex_bench.cli.demo import NEXT_COMMAND, RECORDED_RUN
from artifex_bench.core import run_spec, store
from artifex_bench.sweep import scheduler

REFERENCE = Path(__file__).parent.parent.parent / "results" / "reference-remat-quick"


def invoke_demo(*arguments):
    return CliRunner().invoke(main, ["demo", *map(str, arguments)])


def test_it_shows_every_strategy_and_writes_a_complete_run(tmp_path):
    result = invoke_demo("--out", tmp_path / "a" / "demo")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "a" / "demo"
    records = store.load_records(folder)
    assert all(record.case.strategy in result.stdout for record in records)
    assert scheduler.remaining_jobs(run_spec.load_run_spec(folder), folder, records) == []
    assert (folder / "table.md").exists()


def test_it_names_device_version_date_and_the_next_command(tmp_path):
    lines = invoke_demo("--out", tmp_path).stdout.splitlines()
    record = store.load_records(tmp_path)[0]
    facts = (record.environment["cpu"], record.environment["versions"]["jax"], record.started_at[:10])
    assert [line for line in lines if all(fact in line for fact in facts)]
    assert lines[-1].endswith(NEXT_COMMAND)


def test_the_next_command_is_one_that_the_program_takes():
    _, name, *arguments = NEXT_COMMAND.split()
    command = main.commands[name]
    command.parse_args(command.make_context(name, list(arguments)), list(arguments))


@pytest.mark.parametrize("content", ["run.json", "notes.txt"])
def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / content).write_text("mine")
    result = invoke_demo("--out", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [content]
    assert (tmp_path / content).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke_demo("--out", tmp_path / "file" / "demo")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_the_records_are_those_of_the_reference_run():
    reference = (REFERENCE / store.RECORDS).read_text().splitlines()
    shipped = (RECORDED_RUN / store.RECORDS).read_text().splitlines()
    assert shipped
    assert set(shipped) <= set(reference)
    asked = json.loads((REFERENCE / store.MANIFEST).read_text())
    shipped_run = json.loads((RECORDED_RUN / store.MANIFEST).read_text())
    assert all(case in asked["cases"] for case in shipped_run["cases"])
    assert shipped_run == asked | {"cases": shipped_run["cases"]}

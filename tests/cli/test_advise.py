"""The command `advise`."""

from __future__ import annotations

import json

from click.testing import CliRunner

from artifex_bench.cli import main
from tests.advice.build import SWEEP, store_run


def call(*arguments):
    return CliRunner().invoke(main, ["advise", *map(str, arguments)])


def test_it_prints_the_advice_as_text_or_as_json(tmp_path):
    folder = store_run(tmp_path / "run")
    shown = call(folder, "--memory-budget", "60MiB")
    assert shown.exit_code == 0, shown.output
    assert "`dots_saveable`: 110 ms" in shown.output
    (advice,) = json.loads(call(folder, "--time-budget", "1.22x", "--json").output)
    assert advice["choice"]["name"] == "every-2"


def test_an_unfinished_run_is_named_with_its_remaining_jobs(tmp_path):
    folder = store_run(tmp_path / "run", SWEEP[:3], cases=tuple(record.case for record in SWEEP[:5]))
    shown = call(folder, "--memory-budget", "60MiB", "--json")
    assert json.loads(shown.stdout)[0]["choice"]["name"] == "every-2"
    assert shown.stderr.count("\n") == 1
    assert all(fact in shown.stderr for fact in (str(folder), "2 jobs", f"run --resume {folder}"))


def test_a_missing_budget_is_wrong_use(tmp_path):
    refused = call(store_run(tmp_path / "run"))
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1


def test_the_exit_code_is_1_only_if_nothing_fits(tmp_path):
    none = [record for record in SWEEP if record.case.strategy == "none"]
    folder = store_run(tmp_path / "run", none, cases=tuple(dict.fromkeys(record.case for record in none)))
    assert call(folder, "--memory-budget", "1GiB").exit_code == 0  # the only case fits, though it is no choice
    assert call(folder, "--memory-budget", "1KiB").exit_code == 1

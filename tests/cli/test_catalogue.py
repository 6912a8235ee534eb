"""What `list` shows is what there is."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from artifex_bench import models, targets
from artifex_bench.cli import catalogue
from artifex_bench.core import run_spec, store
from artifex_bench.remat.measure.probes import PROBES
from artifex_bench.remat.strategies import POLICIES, STRATEGIES, list_strategies, parse_strategy
from artifex_bench.suites.durations import DURATIONS
from artifex_bench.sweep import spec
from tests.build import SUITES

RESULTS = Path(__file__).parents[2] / "results"
SECTIONS = {name: make_list() for name, make_list in catalogue.LISTS.items()}
EVERY_PRESET = [(name, preset) for name in SUITES for preset in SUITES[name].presets]


def test_every_table_is_shown():
    for table, section in (
        (models.MODELS, "models"),
        (STRATEGIES, "strategies"),
        (SUITES, "suites"),
        (targets.load_descriptions(), "targets"),
        (PROBES, "probes"),
    ):
        assert set(table) <= set(SECTIONS[section])
    assert {name.partition(":")[0] for name in SECTIONS["policies"]} == {*POLICIES, "package.module"}
    assert set(SECTIONS["policies"]) <= set(list_strategies())


def test_every_entry_says_something_in_one_line():
    for section in SECTIONS.values():
        assert section
        assert all(text.strip() == text.splitlines()[0] for text in section.values())


def expand(suite, preset):
    """The cases of a preset. One that is sized to a device is expanded for an AOT target."""
    targets = {"gpu": ["gpu:h100"], "tpu": ["tpu:v5e"]}
    options = {"target": targets[SUITES[suite].sized[preset]]} if preset in SUITES[suite].sized else {}
    return spec.expand_preset(suite, preset, options)


@pytest.mark.parametrize(("suite", "preset"), EVERY_PRESET)
def test_suites_show_the_size_of_their_presets(suite, preset):
    shown = SECTIONS["suites"][f"{suite} --preset {preset}"]
    cases, rounds = expand(suite, preset), SUITES[suite].settings[preset]["rounds"]
    runs_here = preset in SUITES[suite].sized or cases[0].is_local
    jobs = len(cases) * (rounds if runs_here else 1)
    assert shown.startswith(f"{len(cases)} cases, {jobs} jobs, ")
    assert shown.endswith(" (the default)") == (preset == SUITES[suite].default)


@pytest.mark.parametrize(("suite", "preset"), EVERY_PRESET)
def test_expected_durations_are_those_of_the_committed_runs(suite, preset):
    duration = DURATIONS.get(suite, {}).get(preset)
    if duration is None:
        assert "not known" in SECTIONS["suites"][f"{suite} --preset {preset}"]
        return
    folder = RESULTS / duration.run
    ran, records = run_spec.load_run_spec(folder), store.load_records(folder)
    assert set(ran.cases) == set(expand(suite, preset))
    assert ran.rounds == SUITES[suite].settings[preset]["rounds"]
    starts = [datetime.datetime.fromisoformat(record.started_at).timestamp() for record in records]
    end = max(start + record.wall_seconds for start, record in zip(starts, records, strict=True))
    assert duration.seconds == pytest.approx(end - min(starts), abs=1)
    (where,) = {
        f"{r.environment['cores']} cores of an {r.environment['cpu']}, jax {r.environment['versions']['jax']}"
        for r in records
    }
    assert duration.where == where


@pytest.mark.parametrize(("suite", "preset"), EVERY_PRESET)
def test_every_preset_is_cases_that_can_be_led_by_their_reference(suite, preset):
    module = SUITES[suite]
    found = expand(suite, preset)
    assert set(found) == {*found, *(case.baseline for case in found)}
    assert all(parse_strategy(case.strategy, case.depth) for case in found if found[0].kind == "remat")
    assert module.settings[preset]["rounds"] >= 1
    assert module.default in module.presets


def test_the_quick_preset_is_as_large_as_it_must_be():
    """At least 5 strategies x 2 depths x 2 batch sizes of the transformer, and the mlp."""
    found = spec.expand_preset("remat", "quick", {})
    transformers = [case for case in found if case.model == "transformer"]
    for axis, least in (("strategy", 5), ("depth", 2), ("batch", 2)):
        assert len({getattr(case, axis) for case in transformers}) >= least
    assert any(case.model == "mlp" for case in found)

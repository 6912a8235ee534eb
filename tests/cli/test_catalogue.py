"""What `list` shows is what there is."""

from __future__ import annotations

import pytest

from artifex_bench import models, targets
from artifex_bench.cli import catalogue
from artifex_bench.remat.measure.probes import PROBES
from artifex_bench.remat.strategies import POLICIES, STRATEGIES, list_strategies, parse_strategy
from artifex_bench.sweep import spec
from tests.build import SUITES

SECTIONS = catalogue.make_catalogue()
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


def test_suites_show_their_presets():
    for name, preset in EVERY_PRESET:
        assert preset in SECTIONS["suites"][name].partition("Presets: ")[2].split(", ")


@pytest.mark.parametrize(("suite", "preset"), EVERY_PRESET)
def test_every_preset_is_cases_that_can_be_led_by_their_reference(suite, preset):
    module = SUITES[suite]
    found = spec.expand_preset(suite, preset, {})
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

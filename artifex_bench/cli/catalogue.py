"""The names that a user can choose from, read from the registries."""

from __future__ import annotations

import re
from collections.abc import Callable

from artifex_bench.checkpoint_io.formats import FORMATS
from artifex_bench.checkpointing.faults import FAULTS
from artifex_bench.core import units
from artifex_bench.core.kind import all_suites
from artifex_bench.models import MODELS
from artifex_bench.remat.measure.probes import PROBES
from artifex_bench.remat.strategies import ARGUMENTS, BUDGET, OWN_POLICY, PARTS, POLICIES, STRATEGIES
from artifex_bench.suites.durations import DURATIONS
from artifex_bench.targets import load_descriptions

AXIS_LISTS = {
    "model": "models",
    "strategy": "strategies",
    "target": "targets",
    "format": "formats",
    "fault": "faults",
}


def _list_models() -> dict[str, str]:
    return {
        **{name: entry.summary for name, entry in MODELS.items()},
        "package.module:attribute": "a model of your own",
    }


def _list_strategies() -> dict[str, str]:
    return {
        **{name: strategy.summary for name, strategy in STRATEGIES.items()},
        PARTS: "one part of every layer: attention-only, mlp-only",
        BUDGET: "what every layer saves, chosen to meet a budget: a fraction (0.5) or bytes (120MiB)",
        "<policy>": "every layer, saving what a policy says",
        "<strategy>/<policy>": "both, for example segments-sqrt/dots_saveable",
    }


def _list_policies() -> dict[str, str]:
    return {
        **{name + ARGUMENTS[p.arguments]: p.summary for name, p in POLICIES.items()},
        OWN_POLICY: "a policy of your own",
    }


def _list_targets() -> dict[str, str]:
    aot = {
        name: f"{found.chip}: cases are compiled for it; several devices: {name}:{found.topologies[0]}, "
        + ", ".join(found.topologies[1:])
        for name, found in load_descriptions().items()
    }
    return {"local": "the device that JAX finds here: cases run on it (`cpu` is an alias if it is a CPU)", **aot}


def _list_suites() -> dict[str, str]:
    """Each suite, and each of its presets with its size and how long it took."""
    lines = {}
    for name, (_, suite) in all_suites().items():
        lines[name] = suite.summary
        for preset in suite.presets:
            default = " (the default)" if preset == suite.default else ""
            lines[f"{name} --preset {preset}"] = describe_preset(name, preset) + default
    return lines


def describe_preset(suite_name: str, preset: str) -> str:
    """Return the size of a preset, and how long its committed run took: ``23 cases, 69 jobs, 2.65 min on ...``."""
    from artifex_bench.sweep.spec import expand_preset

    _, suite = all_suites()[suite_name]
    size_on = {"gpu": "gpu:h100", "tpu": "tpu:v5e"}  # the number of cases is the same on every device
    sized = suite.sized.get(preset)
    cases = expand_preset(suite_name, preset, {"target": [size_on[sized]]} if sized else {})
    rounds = suite.settings[preset]["rounds"]
    jobs = rounds * len(cases) if sized else sum(rounds if case.is_local else 1 for case in cases)
    words = [units.count_noun(len(cases), "case"), units.count_noun(jobs, "job")]
    if sized:
        words.append(f"sized to the memory of your {sized.upper()}")
    duration = DURATIONS.get(suite_name, {}).get(preset)
    if duration is None:
        return ", ".join([*words, "duration not known: no committed run"])
    return ", ".join([*words, f"{units.format_seconds(duration.seconds)} on {duration.where}"])


def _list_formats() -> dict[str, str]:
    return {
        **{name: entry.summary for name, entry in FORMATS.items()},
        "package.module:attribute": "a format of your own",
    }


LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "models": _list_models,
    "strategies": _list_strategies,
    "policies": _list_policies,
    "targets": _list_targets,
    "suites": _list_suites,
    "formats": _list_formats,
    "faults": lambda: {name: (fault.__doc__ or "").splitlines()[0] for name, fault in FAULTS.items()},
    "probes": lambda: {name: f"{probe.doc} Unit: {probe.unit}." for name, probe in PROBES.items()},
}


def axis_choices(axis: str, incomplete: str = "") -> list[str]:
    """Return the names that completion offers for an axis of a case; empty if it takes numbers.

    Args:
        axis: Name of the axis.
        incomplete: What the user has typed. After the slash of a strategy, policies are offered.
    """
    listed = LISTS[AXIS_LISTS[axis]]() if axis in AXIS_LISTS else {}
    names = [name for name in listed if not re.search("<|attribute", name)]
    if axis == "strategy":
        structure, slash, _ = incomplete.rpartition("/")
        policies = [f"{structure}{slash}{name}" for name in POLICIES]
        return policies if slash else [*names, *policies]
    return names

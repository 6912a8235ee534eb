"""The names that a user can choose from, read from the registries."""

from __future__ import annotations

import re

from artifex_bench.checkpoint_io.formats import FORMATS
from artifex_bench.checkpointing.faults import FAULTS
from artifex_bench.core.kind import all_suites
from artifex_bench.core.suite import Suite
from artifex_bench.models import MODELS
from artifex_bench.remat.measure.probes import PROBES
from artifex_bench.remat.strategies import ARGUMENTS, BUDGET, OWN_POLICY, PARTS, POLICIES, STRATEGIES
from artifex_bench.targets import load_descriptions

AXIS_LISTS = {
    "model": "models",
    "strategy": "strategies",
    "target": "targets",
    "format": "formats",
    "fault": "faults",
}


def make_catalogue() -> dict[str, dict[str, str]]:
    """Return {list: {name: summary}} of everything that a user can name."""
    return {
        "models": {
            **{name: entry.summary for name, entry in MODELS.items()},
            "package.module:attribute": "a model of your own",
        },
        "strategies": {
            **{name: strategy.summary for name, strategy in STRATEGIES.items()},
            PARTS: "one part of every layer: attention-only, mlp-only",
            BUDGET: "what every layer saves, chosen to meet a budget: a fraction (0.5) or bytes (120MiB)",
            "<policy>": "every layer, saving what a policy says",
            "<strategy>/<policy>": "both, for example segments-sqrt/dots_saveable",
        },
        "policies": {
            **{name + ARGUMENTS[p.arguments]: p.summary for name, p in POLICIES.items()},
            OWN_POLICY: "a policy of your own",
        },
        "targets": {
            "local": "the device that JAX finds here: cases run on it (`cpu` is an alias if it is a CPU)",
            **{
                name: f"{found.chip}: cases are compiled for it; several devices: {name}:{found.topologies[0]}, "
                + ", ".join(found.topologies[1:])
                for name, found in load_descriptions().items()
            },
        },
        "suites": {name: _describe_suite(suite) for name, (_, suite) in all_suites().items()},
        "formats": {
            **{name: entry.summary for name, entry in FORMATS.items()},
            "package.module:attribute": "a format of your own",
        },
        "faults": {name: (fault.__doc__ or "").splitlines()[0] for name, fault in FAULTS.items()},
        "probes": {name: f"{probe.doc} Unit: {probe.unit}." for name, probe in PROBES.items()},
    }


def axis_choices(axis: str, incomplete: str = "") -> list[str]:
    """Return the names that completion offers for an axis of a case; empty if it takes numbers.

    Args:
        axis: Name of the axis.
        incomplete: What the user has typed. After the slash of a strategy, policies are offered.
    """
    names = [name for name in make_catalogue().get(AXIS_LISTS.get(axis, ""), {}) if not re.search("<|attribute", name)]
    if axis == "strategy":
        structure, slash, _ = incomplete.rpartition("/")
        policies = [f"{structure}{slash}{name}" for name in POLICIES]
        return policies if slash else [*names, *policies]
    return names


def _describe_suite(suite: Suite) -> str:
    return f"{suite.summary} Presets: {', '.join(suite.presets)}"

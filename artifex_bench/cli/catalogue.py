"""What there is to choose from, read off the tables themselves."""

from __future__ import annotations

from artifex_bench import suites
from artifex_bench.checkpoint_io.formats import SAVERS
from artifex_bench.checkpointing.faults import FAULTS
from artifex_bench.execution.executors import EXECUTORS
from artifex_bench.models import MODELS
from artifex_bench.remat.measure.probes import PROBES
from artifex_bench.remat.strategies import ARGUMENTS, BUDGET, PARTS, POLICIES, STRATEGIES
from artifex_bench.targets import load_descriptions


def sections() -> dict[str, dict[str, str]]:
    """{what: {name: summary}}."""
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
            "<strategy>/<policy>": "both, e.g. segments-sqrt/dots_saveable",
        },
        "policies": {name + ARGUMENTS[p.arguments]: p.summary for name, p in POLICIES.items()},
        "targets": {
            "local": "the device that JAX finds here: cases run on it (cpu is another name of it where that is a CPU)",
            **{
                name: f"{found.chip}: cases are compiled for it, not run; several as {name}:{found.topologies[0]}, "
                + ", ".join(found.topologies[1:])
                for name, found in load_descriptions().items()
            },
        },
        "suites": {name: _presets(name) for name in suites.SUITES},
        "formats": {name: saver.summary for name, saver in SAVERS.items()},
        "faults": {name: (fault.__doc__ or "").splitlines()[0] for name, fault in FAULTS.items()},
        "probes": {name: f"{probe.summary} ({probe.unit})" for name, probe in PROBES.items()},
        "executors": {name: executor.summary for name, executor in EXECUTORS.items()},
    }


def _presets(name: str) -> str:
    suite = suites.load(name)
    summary = (suite.__doc__ or "").strip().splitlines()[0].partition(": ")[2] or suite.__doc__
    return f"{summary} Presets: {', '.join(suite.PRESETS)}"

"""Fabricated runs, and the advice on their only group of cases."""

from __future__ import annotations

from artifex_bench.advice import advise
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CheckpointCase
from artifex_bench.core.record import Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.verdicts import Verdict
from artifex_bench.kinds.frames import make_frame
from tests.build import case, measured, record, replaced, taken

MIB = 2**20


def job(strategy, milliseconds, mib, verdict="effective", status="ok", **fields):
    """A job whose steps take about so many milliseconds (None: not timed), with a compiled peak of so many MiB."""
    factors = fields.pop("spread", (0.99, 1.0, 1.01))
    steps = [] if milliseconds is None else [milliseconds * factor / 1e3 for factor in factors]
    judged = None if strategy == "none" else Verdict(verdict, f"because it is {verdict}")
    measurements = measured(steps=steps, peak=mib * MIB) if status == "ok" else ()
    return record(case(strategy), status, measurements=measurements, verdict=judged, **fields)


def with_measured_peak(mib, record):
    others = (m for m in record.measurements if m.probe != "measured_peak_bytes")
    return replaced(record, measurements=(*others, taken("measured_peak_bytes", mib * MIB)))


def saved(mode, blocking, restore, lost=None, status="ok", format="auto"):
    """A record of a save that blocks for so many seconds."""
    values = {
        "blocking_seconds": (0.99 * blocking, blocking, 1.01 * blocking),
        "committed_seconds": (2 * blocking,),
        "restore_seconds": (restore,),
        "training_step_seconds": (0.01,),
        **({"lost_seconds": lost} if lost is not None else {}),
    }
    measurements = tuple(taken(name, *seconds) for name, seconds in values.items()) if status == "ok" else ()
    return Record(
        CheckpointCase(format=format, mode=mode),
        0,
        status,
        "" if status == "ok" else "no torch here",
        measurements=measurements,
    )


SWEEP = (
    job("none", 100, 80),
    job("all", 140, 20),
    job("every-2", 120, 50),
    job("attention-only", 125, 55),
    job("dots_saveable", 110, 60),
    job("mlp-only", 90, 85, "eliminated"),
    job("segments-2", 1, 1, status="oom"),
)


def advise_on(*records, **budget):
    (advice,) = advise(make_frame(records), **budget)
    return advice


def name_choices(advice):
    """The names of the choice and of the runner-up."""
    return tuple(candidate and candidate.name for candidate in (advice.choice, advice.runner_up))


def store_run(folder, records=SWEEP, cases=None):
    store.create_run(
        folder, run_spec.run_spec_to_json(RunSpec("remat", cases or tuple(r.case for r in records), rounds=1))
    )
    for one in records:
        store.append_record(folder, one)
    return folder

"""Hypothesis strategies for cases, measurements, records, jobs and run specs."""

from __future__ import annotations

from hypothesis import strategies as st

from artifex_bench.core.case import DTYPES, LOCAL, RematCase
from artifex_bench.core.details import Environment
from artifex_bench.core.fields import LARGEST
from artifex_bench.core.job import Job
from artifex_bench.core.record import DETAILS, STATUSES, Measurement, Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.verdicts import Agreement, Verdict, VerdictName

counts = st.integers(1, 2**40)
words = st.text(min_size=1, max_size=20).filter(str.strip)
numbers = st.floats(allow_nan=False, allow_infinity=False)
amounts = st.floats(0, LARGEST)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
# Hypothesis draws words from the package's code. Names whose values have types of their own are left out.
details = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in Environment.__annotations__), plain, max_size=3
)
probes = words.filter(lambda name: name not in DETAILS and not name.endswith("_trials"))
names = st.sampled_from(("none", "all", "every-2", "segments-sqrt/dots_saveable")) | words

cases = st.builds(
    RematCase,
    model=st.sampled_from(("transformer", "mlp", "vae")) | words,
    strategy=names,
    depth=counts,
    width=counts,
    batch=counts,
    sequence=st.none() | counts,
    heads=st.none() | counts,
    dtype=st.sampled_from(sorted(DTYPES)),
    layers=st.sampled_from(("scan", "unroll")),
    step=st.sampled_from(("train", "gradient")),
    optimizer=st.sampled_from(("adam", "adamw", "sgd")),
    compiler=st.sampled_from(("faithful", "default")),
    seed=st.integers(0, 2**32 - 1),
    target=st.sampled_from((LOCAL, "tpu:v5e", "gpu:h100")),
    mesh=st.none() | st.sampled_from(("data=8", "data=4,fsdp=2", "tensor=2")),
    remat3=st.sampled_from(("off", "on")),
)
measurements = st.one_of(
    st.builds(Measurement, probes, words, st.lists(amounts, min_size=1, max_size=4).map(tuple), words, detail=details),
    st.builds(Measurement, probes, words, note=words, detail=details),
)
errors = st.none() | amounts
records = st.builds(
    Record,
    cases,
    st.integers(0, 9),
    st.sampled_from(STATUSES),
    st.text(max_size=30),
    st.lists(measurements, max_size=4).map(tuple),
    st.none() | st.builds(Verdict, st.sampled_from(VerdictName), words, errors, errors, errors, errors),
    st.none() | st.builds(Agreement, st.sampled_from((True, False, None)), words, errors, errors, errors, words),
    details,
    st.text(max_size=25),
    errors,
)
jobs = st.builds(
    Job,
    cases,
    st.integers(0, 9),
    st.integers(0, 99),
    st.floats(0.1, 1e6),
    st.none() | counts,
    st.none() | words,
)
requests = st.builds(
    RunSpec,
    st.sampled_from(("remat", "chen")),
    st.lists(cases, min_size=1, max_size=3).map(tuple),
    st.integers(1, 9),
    st.integers(0, 99),
    st.floats(0.1, 1e6),
    st.none() | counts,
)

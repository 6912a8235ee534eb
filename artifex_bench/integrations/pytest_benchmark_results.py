"""Records in the files of pytest-benchmark: how they are added, and `load_pytest_benchmark`, which reads them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.core.record import Record, record_from_json, record_to_json
from artifex_bench.core.store import StoreError, add_record, read_object
from artifex_bench.kinds.frames import make_frame

KEY = "artifex_bench_records"


def add_records(output_json: dict[str, Any], records: Sequence[Record]) -> None:
    """Add the records of a run to what pytest-benchmark is about to write: every case, also those that failed."""
    output_json[KEY] = [record_to_json(record) for record in records]


def load_pytest_benchmark(path: str | Path) -> pd.DataFrame:
    """Return what pytest-benchmark's run of the suites measured, as `load_run` returns a run: one row per case.

    Args:
        path: A file that `--benchmark-json`, `--benchmark-save` or `--benchmark-autosave` wrote.

    Raises:
        StoreError: The file cannot be read, or holds no records of these suites, or records of several kinds of cases.
    """
    path = Path(path)
    stored = read_object(path).get(KEY)
    if not isinstance(stored, list) or not stored:
        raise StoreError(
            f"{path} holds no records ({KEY}): measure again with `pytest --benchmark-only` of version 0.2 or later"
        )
    records: dict[tuple[str, int], Record] = {}
    for number, value in enumerate(stored):
        try:
            add_record(records, record_from_json(value))
        except ValueError as error:
            raise StoreError(f"{path} {KEY}[{number}]: {error}") from error
    return make_frame(list(records.values()))

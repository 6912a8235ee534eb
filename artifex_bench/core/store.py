"""The only reader and writer of a run's folder. Records are appended one by one. No JAX.

A run's folder holds `run.json` (the run spec), `records.jsonl` (one record per line, each on disk before the next case
starts), the logs of jobs that failed, and the tables and plots made from the records.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from artifex_bench.core.case import Case
from artifex_bench.core.case_names import case_label
from artifex_bench.core.convert import show_value
from artifex_bench.core.record import Record, RecordError, SchemaError, record_from_json, record_to_json

RECORDS, MANIFEST, LOCK = "records.jsonl", "run.json", ".lock"


class StoreError(Exception):
    """A run's folder that cannot be used. The message is one line with the folder, what is wrong and what to do."""


def create_run(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Create the folder of a run without records.

    Args:
        folder: The folder. Missing parents are created.
        manifest: The run spec as JSON values.

    Raises:
        StoreError: The folder holds a run already, or cannot be written.
    """
    taken = f"{folder} already holds a run: resume it with --resume {folder}, or choose another --name"
    if os.path.exists(folder / MANIFEST):
        raise StoreError(taken)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORDS).touch()
        with lock_run(folder):  # another process may be creating it at this moment
            if os.path.exists(folder / MANIFEST):
                raise StoreError(taken)
            _write_whole(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; choose another --out") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the run spec of a folder as JSON values. Raises StoreError if the folder holds no run."""
    if not os.path.exists(folder / MANIFEST):
        raise StoreError(f"{folder} holds no run: it has no {MANIFEST}")
    return read_object(folder / MANIFEST)


def read_suite(folder: Path) -> str | None:
    """Return the suite of a run; None if the manifest does not name it. Raises StoreError if it is not text."""
    suite = read_manifest(folder).get("suite")
    if not isinstance(suite, str | None):
        raise StoreError(f"cannot read {folder / MANIFEST}: suite {show_value(suite)}: must be text")
    return suite


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises StoreError if it cannot be read or is not an object."""
    try:
        data = parse_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise StoreError(f"cannot read {path}: not a JSON object")
    return data


def parse_json(text: str | bytes) -> Any:
    """Return the value that JSON text holds.

    Raises:
        ValueError: The text is not JSON, has a number that is not finite, or is nested too deeply for Python.
    """
    try:
        return json.loads(text, parse_constant=_refuse_number, parse_float=_parse_finite)
    except RecursionError:
        raise ValueError("not JSON of a run: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def _refuse_number(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse_number(digits)


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Lock the folder while writing to it. Raises StoreError if another process has locked it, or it is read-only."""
    try:
        handle = (folder / LOCK).open("w")
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"{folder} is in use by another process: wait until it ends") from None
        yield


def cut_torn_line(folder: Path) -> int:
    """Remove an incomplete last line, which a killed writer leaves behind.

    A last line that is complete except for its line break, as an editor may leave it, gets one. If the file is missing,
    because the run was killed at its very beginning, it is created.

    Returns:
        Number of bytes removed.

    Raises:
        StoreError: The file cannot be written.
    """
    path = folder / RECORDS
    try:
        path.touch()
        data = path.read_bytes()
        torn = len(data) - (data.rfind(b"\n") + 1)
        if torn and _is_json(data[-torn:]):
            with path.open("ab") as file:
                file.write(b"\n")
            return 0
        if torn:
            os.truncate(path, len(data) - torn)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    return torn


def _is_json(line: bytes) -> bool:
    """Return whether a line is complete JSON. A torn object is not."""
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def encode_record(record: Record) -> bytes:
    """Return the line of a record. Raises StoreError if `load_records` would refuse it."""
    try:
        line = json.dumps(record_to_json(record), allow_nan=False)
        record_from_json(parse_json(line))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # of json, of msgspec, and of numpy
        why = "a value has no JSON form" if isinstance(error, AttributeError) else error
        raise StoreError(f"cannot store the record of {describe_key(record)}: {why}") from error
    return line.encode() + b"\n"


def describe_key(record: Record) -> str:
    """Return the case and the round of a record in words, whatever stands in their place."""
    case: object = record.case
    return f"{case_label(case) if isinstance(case, Case) else show_value(case)} round {show_value(record.round)}"


def append_record(folder: Path, record: Record) -> None:
    """Append a record and wait until it is on disk.

    Raises:
        StoreError: The record could not be read again, or cannot be written. Nothing half-written is left then.
    """
    path = folder / RECORDS
    line = encode_record(record)
    if not path.exists():  # a new file would hide that the earlier records are lost
        raise StoreError(f"cannot write {path}: the file was removed while the run went on: restore it")
    size = path.stat().st_size
    try:
        with path.open("ab", buffering=0) as file:
            written = 0
            while written < len(line):
                written += file.write(line[written:])
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise StoreError(f"cannot write {path}: {error.strerror}; the records before it are safe") from error


def load_records(path: Path) -> list[Record]:
    """Return the records of a run in their order, one per case and round. A torn last line is left out.

    If lines hold the same case and round, the last one counts, as it does when a run is resumed.

    Args:
        path: The run's folder, or a file that `write_records` wrote.

    Raises:
        StoreError: The folder holds no run, a line is damaged or has another schema, or cases are of several kinds.
    """
    if not path.is_file():
        read_manifest(path)
        path = path / RECORDS
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    found: dict[tuple[str, int], Record] = {}
    *lines, last = data.split(b"\n")
    for number, line in enumerate([*lines, last] if _is_json(last) else lines, 1):
        try:
            add_record(found, record_from_json(parse_json(line)))
        except ValueError as error:
            way_out = "" if isinstance(error, SchemaError) else _explain_deletion(path, number)
            raise StoreError(f"{path} line {number}: {error}{way_out}") from error
    return list(found.values())


def add_record(found: dict[tuple[str, int], Record], record: Record) -> None:
    """Add a record to those of a run, by its key. Raises RecordError if its case is of another kind than theirs."""
    kind = next(iter(found.values()), record).case.kind
    if record.case.kind != kind:
        raise RecordError(f"a {record.case.kind} case in a run of {kind} cases")
    found[record.key] = record


def _explain_deletion(path: Path, number: int) -> str:
    """Return how to go on without a line of a file of records."""
    file, folder = shlex.quote(str(path)), shlex.quote(str(path.parent))
    in_run = path.name == RECORDS and (path.parent / MANIFEST).exists()
    again = f"; then artifex-bench run --resume {folder} measures its case again" if in_run else ""
    return f". To go on without that line: sed -i {number}d {file}{again}"


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write a file of records alone, replacing an older one. Raises StoreError as `append_record` does."""
    text = b"".join(map(encode_record, records)).decode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, text)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def check_complete(folder: Path, count: int) -> None:
    """Raise StoreError unless `count` records are on disk. Another process may have cut or replaced the file."""
    if (found := len(load_records(folder))) < count:
        raise StoreError(f"{folder / RECORDS} holds {found} of {count} records: it was changed while the run went on")


def create_log(folder: Path, record_key: tuple[str, int]) -> Path:
    """Create the empty file that receives everything a job's process prints.

    Args:
        folder: The run's folder.
        record_key: The job's key.

    Raises:
        StoreError: The file cannot be written.
    """
    name, number = record_key
    safe = "".join(c if (c.isascii() and c.isalnum()) or c in "._-" else "_" for c in name)
    path = folder / "logs" / f"{safe[-200:]}.round{number}.log"  # the end, with its digest, tells cases apart
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; the records are safe") from error
    return path


def clear_folder(folder: Path) -> None:
    """Empty the folder, because a killed worker leaves files behind. Raises StoreError if it cannot be written."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; choose another --out") from error


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically: the complete file or nothing."""
    draft = path.with_name(path.name + ".tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)

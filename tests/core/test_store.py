"""The folder of a run: what is on disk, and how damage is handled."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.core import run_spec, store
from artifex_bench.core.record import Record, record_to_json
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.store import LOCK, MANIFEST, RECORDS, StoreError
from artifex_bench.sweep import scheduler
from tests import strategies as made
from tests.build import backend, case, ignore, record, taken

REQUEST = RunSpec("remat", (case("none"), case("all")), rounds=2)


@pytest.fixture
def folder(tmp_path):
    store.create_run(tmp_path / "run", run_spec.run_spec_to_json(REQUEST))
    return tmp_path / "run"


def fill(folder, *found):
    for one in found:
        store.append_record(folder, one)
    return list(found)


def refused(action, *arguments):
    """The message of the StoreError that is raised, which is one line."""
    with pytest.raises(StoreError) as raised:
        action(*arguments)
    error = str(raised.value)
    assert error.splitlines() == [error]
    return error


def test_a_new_run_has_its_spec_and_no_records(folder):
    assert run_spec.run_spec_from_json(store.read_manifest(folder)) == REQUEST
    assert store.load_records(folder) == []
    assert {path.name for path in folder.iterdir()} == {MANIFEST, RECORDS, LOCK}


def test_missing_parents_are_created(tmp_path):
    store.create_run(tmp_path / "a" / "b" / "run", {})
    assert store.read_manifest(tmp_path / "a" / "b" / "run") == {}


def test_a_run_is_never_overwritten(folder):
    found = fill(folder, record())
    error = refused(store.create_run, folder, {"suite": "other"})
    assert error.startswith(f"{folder} ") and f"--resume {folder}" in error and "--name" in error
    assert run_spec.run_spec_from_json(store.read_manifest(folder)) == REQUEST
    assert store.load_records(folder) == found


def test_a_run_is_created_once_however_many_try_at_the_same_time(tmp_path, monkeypatch):
    """Each sees no run before any of them writes."""
    meeting, outcomes = threading.Barrier(4, timeout=60), []
    exists = os.path.exists

    def look(path):
        there = exists(path)
        if not hasattr(threading.current_thread(), "has_met"):
            threading.current_thread().has_met = True
            meeting.wait()
        return there

    def create(number):
        try:
            store.create_run(tmp_path / "run", {"suite": str(number)})
            outcomes.append(str(number))
        except StoreError as error:
            assert str(tmp_path / "run") in str(error)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    with monkeypatch.context() as patched:
        patched.setattr(os.path, "exists", look)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == [store.read_suite(tmp_path / "run")]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    error = refused(store.create_run, tmp_path / "run", {})
    assert all(word in error for word in (str(tmp_path / "run"), os.strerror(errno.EEXIST), "--out"))


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path):
    assert "File name too long" in refused(store.create_run, tmp_path / ("n" * 300), {})


def test_records_are_loaded_in_order(folder):
    found = fill(folder, record("none"), record("all", "oom"), record("none", round=1))
    assert store.load_records(folder) == found


@given(st.lists(made.records, max_size=3, unique_by=lambda record: record.key))
@settings(max_examples=15)  # each writes to disk and waits for it
def test_any_records_are_loaded(tmp_path_factory, found):
    folder = tmp_path_factory.mktemp("runs") / "run"
    store.create_run(folder, {})
    fill(folder, *found)
    assert store.load_records(folder) == found
    assert store.cut_torn_line(folder) == 0
    assert (folder / RECORDS).read_bytes().count(b"\n") == len(found)


def test_a_folder_without_a_run_is_named(tmp_path):
    for action in (store.read_manifest, store.load_records):
        error = refused(action, tmp_path)
        assert error.startswith(f"{tmp_path} ") and MANIFEST in error
    assert str(tmp_path / "nowhere") in refused(store.load_records, tmp_path / "nowhere")


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[" * 100])
def test_a_damaged_manifest_is_named(folder, damage):
    (folder / MANIFEST).write_bytes(damage)
    assert refused(store.read_manifest, folder).startswith(f"cannot read {folder / MANIFEST}: ")


@pytest.mark.parametrize("damage", ["[]", "5", "null"])
def test_a_manifest_that_is_something_else_is_named(folder, damage):
    (folder / MANIFEST).write_text(damage)
    assert refused(store.read_manifest, folder).startswith(f"cannot read {folder / MANIFEST}: ")


@given(st.data())
@settings(max_examples=15)  # each writes to disk and waits for it
def test_a_torn_last_line_is_left_out_and_repaired_wherever_it_was_torn(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("runs") / "run"
    store.create_run(folder, {})
    whole = fill(folder, record("none"), record("all"))
    kept = (folder / RECORDS).stat().st_size
    fill(folder, record("none", round=1))
    size = (folder / RECORDS).stat().st_size
    cut = data.draw(st.integers(kept, size - 2))
    os.truncate(folder / RECORDS, cut)
    assert store.load_records(folder) == whole
    assert store.cut_torn_line(folder) == cut - kept
    assert (folder / RECORDS).stat().st_size == kept
    assert store.load_records(folder) + fill(folder, record("all", round=1)) == store.load_records(folder)


def test_a_last_line_without_its_line_break_is_a_record(folder):
    """Editors may leave it so, where a damaged line was deleted as the message says."""
    found = fill(folder, record("none"), record("all"))
    os.truncate(folder / RECORDS, (folder / RECORDS).stat().st_size - 1)
    assert store.load_records(folder) == found
    assert store.cut_torn_line(folder) == 0
    assert store.load_records(folder) == found
    assert [*found, *fill(folder, record("none", round=1))] == store.load_records(folder)


def test_a_file_that_is_one_torn_line_is_emptied(folder):
    (folder / RECORDS).write_bytes(b'{"case": {"kind": "re')
    assert store.load_records(folder) == []
    assert store.cut_torn_line(folder) == 21
    assert (folder / RECORDS).read_bytes() == b""


@pytest.mark.parametrize(
    "damage", [b"", b"not json", b"{}", b"5", b"[]", b'"text"', b"\xff", b'{"schema": 1}', b"null"]
)
def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_cut(folder, damage):
    fill(folder, record("none"), record("all"), record("none", round=1))
    lines = (folder / RECORDS).read_bytes().splitlines()
    lines[1] = damage
    (folder / RECORDS).write_bytes(b"\n".join(lines) + b"\n")
    assert refused(store.load_records, folder).startswith(f"{folder / RECORDS} line 2: ")
    assert store.cut_torn_line(folder) == 0
    with pytest.raises(StoreError, match="line 2"):
        scheduler.run_sweep(REQUEST, folder, backend([]), ignore)
    assert (folder / RECORDS).read_bytes().splitlines() == lines


def test_records_of_another_schema_are_named(folder):
    data = {**record_to_json(record()), "schema": 99}
    (folder / RECORDS).write_text(json.dumps(data) + "\n")
    error = refused(store.load_records, folder)
    assert error.startswith(f"{folder / RECORDS} line 1: ") and "99" in error


class Full:
    """Stands for a file on a disk that is full after `room` bytes."""

    def __init__(self, path, room):
        self._file, self._room = open(path, "ab", buffering=0), room  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def fileno(self):
        return self._file.fileno()

    def write(self, data):
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = self._file.write(data[: self._room])
        self._room -= done
        return done


@pytest.mark.parametrize("room", [0, 1, 200])
def test_a_record_that_does_not_fit_leaves_nothing_behind(folder, monkeypatch, room):
    found = fill(folder, record("none"))
    before = (folder / RECORDS).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "open", lambda path, *_, **__: Full(path, room))
        error = refused(store.append_record, folder, record("all"))
    assert str(folder / RECORDS) in error and os.strerror(errno.ENOSPC) in error
    assert (folder / RECORDS).read_bytes() == before
    assert found + fill(folder, record("all")) == store.load_records(folder)


def test_a_partial_write_is_continued(folder, monkeypatch):
    class Slow(Full):
        def write(self, data):
            return super().write(data[:100])

    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "open", lambda path, *_, **__: Slow(path, 10**9))
        store.append_record(folder, record("all"))
    assert store.load_records(folder) == [record("all")]


def test_values_without_json_are_not_written(folder):
    """Nor any line that could not be read again."""
    found = fill(folder, record("none"))
    nan = float("nan")
    for fields in (
        {"wall_seconds": nan},
        {"environment": {"load": nan}},
        {"environment": {"load": object()}},
        {"environment": {"versions": 3}},
        {"measurements": (taken("step_seconds", 1.0, load=nan),)},
        {"measurements": (taken("compiled_peak_bytes", 1.0, argument_bytes="many"),)},
        {"measurements": None},
        {"reason": None},
    ):
        refused(store.append_record, folder, record("all", **fields))
        refused(store.write_records, folder / "copy.jsonl", [record("all", **fields)])
        assert store.load_records(folder) == found and not (folder / "copy.jsonl").exists()
    for impossible in (None, 3, record()):
        refused(store.append_record, folder, Record(impossible, 0, "ok"))
    assert store.load_records(folder) == found


def test_one_writer_at_a_time(folder):
    with store.lock_run(folder):
        error = refused(lambda: store.lock_run(folder).__enter__())
        assert str(folder) in error and "--name" not in error  # which does not suit a resumed run
    with store.lock_run(folder):
        assert store.load_records(folder) == []


def test_a_killed_writer_leaves_no_lock(folder):
    code = "import os, pathlib, sys; from artifex_bench.core.store import lock_run\n"
    code += "with lock_run(pathlib.Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(folder)]).returncode == 9
    with store.lock_run(folder):
        assert store.load_records(folder) == []


def test_the_lock_of_a_missing_folder(tmp_path):
    error = refused(lambda: store.lock_run(tmp_path / "gone").__enter__())
    assert str(tmp_path / "gone") in error and os.strerror(errno.ENOENT) in error


def test_logs_are_files_of_their_own_however_the_case_is_called(folder):
    long = "+".join(["query"] * 200)
    names = ["all", "all/dots_saveable", "all:dots_saveable", f"save_only_these_names:{long}", "é" * 200, "../../up"]
    keys = [record(name, round=number).key for name in names for number in (0, 1)]
    paths = [store.create_log(folder, key) for key in keys]
    for path in paths:
        path.write_text("")
        assert path.parent == folder / "logs"
    assert len(set(paths)) == len(keys)


def test_a_log_that_cannot_be_made_is_a_store_error(folder):
    (folder / "logs").write_text("a file in the way")
    error = refused(store.create_log, folder, record().key)
    assert f"{folder / 'logs'}/transformer.none." in error and os.strerror(errno.EEXIST) in error


NESTED = '{"a":' * 100_000


@pytest.mark.parametrize("name", [MANIFEST, RECORDS])
def test_endless_nesting_is_one_line(folder, name):
    (folder / name).write_text(NESTED + "\n")
    error = refused(store.load_records, folder)
    assert (str(folder / MANIFEST) if name == MANIFEST else f"{folder / RECORDS} line 1: ") in error


def test_a_folder_in_the_place_of_the_records_is_named(folder):
    (folder / RECORDS).unlink()
    (folder / RECORDS).mkdir()
    for action in (store.load_records, store.cut_torn_line):
        assert f"{folder / RECORDS}: {os.strerror(errno.EISDIR)}" in refused(action, folder)


def test_a_manifest_that_an_editor_began_with_a_byte_order_mark_is_read(folder):
    (folder / MANIFEST).write_bytes(b"\xef\xbb\xbf" + (folder / MANIFEST).read_bytes())
    assert run_spec.load_run_spec(folder) == REQUEST


def test_a_file_of_records_alone_is_read_as_a_run(tmp_path):
    path = tmp_path / "folder" / "host.jsonl"
    for records in ([record("none"), record("all")], [record("all")]):  # the second replaces the first
        store.write_records(path, records)
        assert store.load_records(path) == records
    assert [file.name for file in path.parent.iterdir()] == ["host.jsonl"]


def test_a_file_of_records_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(store.StoreError, match=str(tmp_path / "file")):
        store.write_records(tmp_path / "file" / "host.jsonl", [])


def test_only_a_run_is_said_to_measure_the_case_of_a_deleted_line_again(folder, tmp_path):
    (folder / RECORDS).write_text("damaged\n\n")
    assert "--resume" in refused(store.load_records, folder)
    (tmp_path / RECORDS).write_text("damaged\n\n")
    assert "--resume" not in refused(store.load_records, tmp_path / RECORDS)

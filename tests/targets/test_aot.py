"""AOT targets: messages of their compilers, and real compilers if they are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifex_bench import load_run, targets
from artifex_bench.core import store
from artifex_bench.targets import aot, local

ROOT = Path(__file__).parents[2]
GIB = 2**30


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (20.25G) "
            "exceeds available HBM (15.75G).",
            20.25 * GIB,
        ),
        ("CompileTimeHbmOom: the program (5.00T) exceeds available HBM (15.75G)", 5 * 1024 * GIB),
        (
            "Ran out of memory in memory space hbm. Used 27.44G of 15.75G hbm. Exceeded hbm capacity by 11.69G.",
            27.44 * GIB,
        ),
        ("INTERNAL: something else (3G)", None),
        ("", None),
    ],
)
def test_needed_bytes_are_parsed_from_the_error(error, size):
    assert local.parse_needed_bytes(error) == (None if size is None else round(size))


def test_messages_are_formatted_as_protobuf_text():
    message = {"name": "a b", "inner": {"count": 3, "rate": 1.5, "deep": {"x": 1}}}
    assert aot.format_text_proto(message) == 'name: "a b" inner { count: 3 rate: 1.5 deep { x: 1 } }'


def installed(target):
    """Mark a test that compiles for a target."""
    missing = [name for name, version in targets.compiler_versions(target).items() if version is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} missing: make aot")


def run(tmp_path, *arguments, name="run"):
    """Return the table of a run of the command, and the finished process."""
    code = "from artifex_bench.cli import main; main()"
    small = ("--model", "mlp", "--strategy", "none,all", "--depth", "4", "--width", "256")
    where = ("--out", str(tmp_path), "--name", name)
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "remat", "--preset", "smoke", *small, *arguments, *where],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "ARTIFEX_BENCH_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    return load_run(tmp_path / name).set_index("strategy"), done


@installed("tpu:v5e")
@pytest.mark.parametrize(("batch", "fitting"), [(1024, True), (4_000_000, False)])
def test_a_tpu_reports_what_fits_and_by_how_much(tmp_path, batch, fitting):
    table, done = run(tmp_path, "--batch", str(batch), "--target", "tpu:v5e")
    assert list(table.status) == ["ok", "ok"]
    assert (table.compiled_peak_bytes <= table.capacity_bytes).to_dict() == {"none": fitting, "all": fitting}
    assert (table.estimated_step_seconds > 0).all() and table.step_seconds.isna().all()
    if fitting:  # the peak leaves out on-chip memory, and temporaries that are dead at the peak
        held = table.argument_bytes + table.temp_bytes  # results reuse the donated arguments
        assert (table.compiled_peak_bytes.between(table.argument_bytes, 1.001 * held + 2**16)).all()
    assert ("yes, " if fitting else " over") in done.stdout
    assert "WARNING" not in done.stderr  # messages of the compiler are in a log


@installed("tpu:v5e")
def test_the_peak_of_a_tpu_slice_is_that_of_one_device(tmp_path):
    sizes = ("--strategy", "none", "--depth", "2", "--width", "1024", "--batch", "8192")
    one, _ = run(tmp_path, *sizes, "--target", "tpu:v5e", name="one")
    mesh, done = run(tmp_path, *sizes, "--target", "tpu:v5e:2x4", "--mesh", "data=4,fsdp=2", name="mesh")
    assert mesh.compiled_peak_bytes["none"] < 0.5 * one.compiled_peak_bytes["none"]
    assert mesh.argument_bytes["none"] < 0.55 * one.argument_bytes["none"]  # half of the state
    assert mesh.capacity_bytes["none"] == one.capacity_bytes["none"]
    assert mesh.estimated_step_seconds.isna().all() and "8 devices" in done.stdout
    [record] = store.load_records(tmp_path / "mesh")
    assert record.get("estimated_step_seconds").note


@installed("gpu:h100")
@pytest.mark.parametrize("mesh", ["fsdp=4", "fsdp=2,tensor=2"])
def test_the_peak_of_several_gpus_is_that_of_one_device(tmp_path, mesh):
    small = ("--strategy", "none", "--batch", "65536", "--dtype", "bfloat16")
    one, _ = run(tmp_path, *small, "--target", "gpu:h100", name="one")
    four, _ = run(tmp_path, *small, "--target", "gpu:h100:4", "--mesh", mesh, name="four")
    assert four.compiled_peak_bytes["none"] < 0.8 * one.compiled_peak_bytes["none"]


@installed("gpu:h100")
def test_a_second_run_uses_the_compile_cache(tmp_path):
    table, _ = run(tmp_path, "--target", "gpu:h100")
    again, _ = run(tmp_path, "--target", "gpu:h100", name="again")
    assert table.compile_seconds.notna().all() and again.compile_seconds.isna().all()
    assert again.compiled_peak_bytes.tolist() == table.compiled_peak_bytes.tolist()


@installed("gpu:h100")
def test_a_gpu_program_is_compiled_like_plain_jit_and_once_with_cublas(tmp_path):
    table, done = run(tmp_path, "--batch", "65536", "--target", "gpu:h100", "--dtype", "bfloat16", "--layers", "unroll")
    for record in store.load_records(tmp_path / "run"):
        assert record.get("compiled_peak_bytes").detail["options"] == {}
        assert record.get("cublas_peak_bytes").detail["options"]["xla_gpu_enable_triton_gemm"] is False
    assert table.cublas_peak_bytes["none"] > 1.2 * table.compiled_peak_bytes["none"]
    assert "none: " in done.stdout and "with cuBLAS" in done.stdout


@installed("gpu:h100")
def test_a_gpu_has_a_plausible_peak_and_a_verdict(tmp_path):
    table, _ = run(tmp_path, "--batch", "65536", "--target", "gpu:h100", "--dtype", "bfloat16")
    assert table.compiled_peak_bytes["all"] < table.compiled_peak_bytes["none"] < table.capacity_bytes["none"]
    assert table.verdict["all"] == "effective"
    (line, *_) = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert set(targets.compiler_versions("gpu:h100")) <= set(json.loads(line)["environment"]["versions"])

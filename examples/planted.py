"""Measure false alarms and power of `artifex-bench compare` and `asv continuous`, with changes planted into a copy.

    python examples/planted.py compare --pairs 20
    python examples/planted.py asv --tries 5

Both commands work on copies of this project. In the copy `slow`, every step also waits for a share of its own time. In
the copy `memory`, the training state also holds a buffer, whose size is a share of the case's compiled peak.

`compare` runs the smoke suite of the original, an equal copy, `slow` and `memory` in turn. It compares each copy's run
with the original's. `asv` commits the copies, and commits without a change, and runs `asv continuous` on each commit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from artifex_bench.core import run_spec
from artifex_bench.execution.fork_server import ForkServer
from artifex_bench.execution.local import run_job, worker_environment

ROOT = Path(__file__).resolve().parent.parent
STEPS = 100
CHANGES = ("regression", "improvement")
RUN = (sys.executable, "-c", "from artifex_bench.cli import main; main()")
STEP = "        result = jax.block_until_ready(compiled.step(state, batch))\n"
Done = subprocess.CompletedProcess[str]
FUTURE = "from __future__ import annotations\n"
STATE = "        return state, model_class.batch(case, "


def replace_text(file: Path, old: str, new: str) -> None:
    """Replace `old` by `new` in a file. Raises SystemExit unless the file has `old` exactly once."""
    text = file.read_text()
    if text.count(old) != 1:
        raise SystemExit(
            f"{file.name} has {text.count(old)} copies of {old!r}, expected 1: update {Path(__file__).name}"
        )
    file.write_text(text.replace(old, new))


def plant_slowdown(tree: Path, share: float) -> None:
    """Make every step also wait for that share of its own time."""
    waiting = (
        "        planted = time.perf_counter()\n"
        + STEP
        + f"        planted += {1 + share} * (time.perf_counter() - planted)\n"
        + "        while time.perf_counter() < planted:\n"
        + "            pass\n"
    )
    stages = tree / "artifex_bench" / "remat" / "measure" / "stages.py"
    replace_text(stages, STEP, waiting)
    replace_text(stages, FUTURE, f"{FUTURE}\nimport time\n")


def plant_memory(tree: Path, share: float, peaks: dict[str, int]) -> None:
    """Add a buffer to every case's state: a share of its compiled peak. `peaks` maps case ids to bytes."""
    program = tree / "artifex_bench" / "remat" / "measure" / "program.py"
    sizes = {case: int(share * peak) for case, peak in peaks.items()}
    add_buffer = f'        state["planted"] = jax.numpy.zeros({sizes}[case_id(case)], "uint8")\n'
    replace_text(program, STATE, add_buffer + STATE)
    new_state = '{**state, "params": params, "optimizer": optimizer}'
    replace_text(program, new_state, new_state[:-1] + ', "planted": state["planted"].at[0].add(1)}')
    replace_text(program, FUTURE, f"{FUTURE}\nfrom artifex_bench.core.case_names import case_id\n")


def run_artifex_bench(tree: Path, *arguments: str) -> Done:
    """Run the `artifex-bench` of a copy. Raises SystemExit with its output if it fails."""
    return run_command(tree, [*RUN, *arguments], {**os.environ, "PYTHONPATH": str(tree)})


def run_command(
    tree: Path, words: list[str], environment: dict[str, str] | None = None, ok: tuple[int, ...] = (0,)
) -> Done:
    """Run a command in a copy. Raises SystemExit with its output unless its exit code is in `ok`."""
    done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode not in ok:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def load_peaks(run: Path) -> dict[str, int]:
    """Return {case id: compiled peak in bytes} of a run."""
    from artifex_bench.core import store
    from artifex_bench.core.case_names import case_id

    measured = ((record.case, record.get("compiled_peak_bytes")) for record in store.load_records(run))
    return {case_id(case): int(peak.values[0]) for case, peak in measured if peak is not None}


def copy_package(tree: Path) -> Path:
    shutil.copytree(ROOT / "artifex_bench", tree / "artifex_bench", ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def compare_pairs(scratch: Path, pairs: int, rounds: int, slowdown: float, memory: float) -> None:
    """Print in how many pairs of runs `artifex-bench compare` reports a change, per copy.

    The processes of all runs take turns (A B C A B C …), so that drift of the machine affects them equally.
    """
    kinds = {"equal programs": "again", f"steps {slowdown:.0%} slower": "slow", f"memory {memory:.0%} more": "memory"}
    trees = {name: copy_package(scratch / name) for name in ("base", *kinds.values())}
    run_artifex_bench(trees["base"], "run", "remat", "--preset", "smoke", "--out", str(scratch), "--name", "first")
    plant_slowdown(trees["slow"], slowdown)
    plant_memory(trees["memory"], memory, load_peaks(scratch / "first"))
    os.chdir(scratch)  # else workers could import this project's package from the current folder
    workers = {name: ForkServer({**worker_environment(), "PYTHONPATH": str(tree)}) for name, tree in trees.items()}
    quantity_counts: Counter[tuple[str, str]] = Counter()
    pair_counts: Counter[str] = Counter()
    for pair in range(1, pairs + 1):
        runs = {name: scratch / f"{name}-{pair}" for name in trees}
        measure_in_turn(runs, workers, rounds)
        for kind, name in kinds.items():
            folders = str(runs["base"]), str(runs[name])
            compared = run_artifex_bench(trees["base"], "compare", *folders, "--format", "json").stdout
            changed = {row["quantity"] for row in json.loads(compared) if row["change"] in CHANGES}
            pair_counts[kind] += bool(changed)
            quantity_counts.update((kind, quantity) for quantity in changed)
        print(f"pair {pair}/{pairs}: {dict(quantity_counts)}", flush=True)
    for kind in kinds:
        counts = [(quantity, n) for (counted, quantity), n in sorted(quantity_counts.items()) if counted == kind]
        details = ", ".join(f"{quantity} in {n}" for quantity, n in counts)
        print(f"{kind}: a change in {pair_counts[kind]} of {pairs} pairs" + (f" ({details})" if details else ""))


def measure_in_turn(runs: dict[str, Path], workers: dict[str, ForkServer], rounds: int) -> None:
    """Measure the smoke suite once per copy, in that copy's workers.

    The run of `memory` has one round, because compiled peaks do not vary.
    """
    from artifex_bench.core import store
    from artifex_bench.sweep import spec

    jobs = {}
    for name, folder in runs.items():
        cases = spec.expand_preset("remat", "smoke", {})
        copy_spec = run_spec.RunSpec("remat", cases, 1 if name == "memory" else rounds, STEPS)
        store.create_run(folder, run_spec.run_spec_to_json(copy_spec))
        jobs[name] = copy_spec.make_jobs(folder)
    for next_jobs in itertools.zip_longest(*jobs.values()):
        for name, job in zip(jobs, next_jobs, strict=True):
            if job is not None:
                record = run_job(job, store.create_log(runs[name], job.key), workers[name].start_worker)
                if record.status != "ok":
                    raise SystemExit(f"{name}: {record.status}: {record.reason}")
                store.append_record(runs[name], record)


def run_asv_tries(scratch: Path, tries: int, slowdown: float, memory: float) -> None:
    """Print the benchmarks that `asv continuous` reports for planted changes and for commits without a change."""
    tree = scratch / "project"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
    asv = [sys.executable, "-m", "asv"]
    run_command(tree, [*asv, "machine", "--yes", "--machine", "here"])
    compile_only = ("--rounds", "1", "--steps", "0")
    run_artifex_bench(tree, "run", "remat", "--preset", "asv", *compile_only, "--out", str(scratch), "--name", "p")
    peaks = load_peaks(scratch / "p")
    base = commit_change(tree, "base", lambda: None)
    commits = {
        f"steps {slowdown:.0%} slower": commit_change(tree, "slow", lambda: plant_slowdown(tree, slowdown)),
        f"memory {memory:.0%} more": commit_change(tree, "memory", lambda: plant_memory(tree, memory, peaks)),
        **{f"nothing changed, try {i + 1}": commit_change(tree, f"equal-{i}", lambda: None) for i in range(tries)},
    }
    for kind, head in commits.items():
        shutil.rmtree(tree / ".asv" / "results", ignore_errors=True)
        done = run_command(tree, [*asv, "continuous", "--record-samples", "--machine", "here", base, head], ok=(0, 1))
        lines = done.stdout.splitlines()
        rows = [line.strip() for line in lines if line.startswith("|") and ".t" in line]
        if done.returncode and not rows:
            raise SystemExit(f"asv continuous failed:\n{done.stdout}{done.stderr}")
        print(f"{kind}: exit code {done.returncode}, {len(rows)} benchmarks reported", *rows, sep="\n  ", flush=True)


def commit_change(tree: Path, name: str, change: Callable[[], None]) -> str:
    """Commit a change on a new branch from the cloned head. Returns the commit's hash."""
    git = ["git", "-C", str(tree), "-c", "user.name=planted", "-c", "user.email=planted@example.org"]
    subprocess.run([*git, "checkout", "--quiet", "-B", name, "origin/HEAD"], check=True)
    change()
    subprocess.run([*git, "commit", "--quiet", "--all", "--allow-empty", "-m", name], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    subprocess.run([*git, "checkout", "--quiet", "-B", "main", "origin/HEAD"], check=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(dest="tool", required=True)
    with_compare = tools.add_parser("compare", help="compare runs of the smoke suite")
    with_compare.add_argument("--pairs", type=int, default=20, help="pairs of runs per copy")
    with_compare.add_argument("--rounds", type=int, default=10, help="rounds per run of the smoke suite")
    with_asv = tools.add_parser("asv", help="compare commits with asv continuous")
    with_asv.add_argument("--tries", type=int, default=5, help="commits without a change")
    for tool, slowdown, memory in ((with_compare, 0.2, 0.05), (with_asv, 0.3, 0.2)):
        tool.add_argument("--slowdown", type=float, default=slowdown, help="waiting time as a share of the step time")
        tool.add_argument("--memory", type=float, default=memory, help="buffer as a share of the compiled peak")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.tool == "compare":
            compare_pairs(Path(scratch), options.pairs, options.rounds, options.slowdown, options.memory)
        else:
            run_asv_tries(Path(scratch), options.tries, options.slowdown, options.memory)


if __name__ == "__main__":
    main()

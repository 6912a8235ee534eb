"""What the comparisons raise on equal programs, and what they find of planted changes: false alarms and power.

    python examples/planted.py compare --pairs 20
    python examples/planted.py asv --tries 5

Both work on copies of this project. `slow` is a copy whose steps wait for a share of their own time, `memory` one whose
training state carries a buffer of that share of each case's compiled peak. `compare` runs the smoke suite of the
original, of an equal copy, of `slow` and of `memory` in turn, and holds each against the original's by `artifex-bench
compare`. `asv` commits the copies and lets `asv continuous` judge them, and commits that change nothing.
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


def edit(file: Path, old: str, new: str) -> None:
    """Put `new` in the place of `old`, which must be there once."""
    text = file.read_text()
    if text.count(old) != 1:
        raise SystemExit(f"{file.name} holds {text.count(old)} times what is to be changed: mend this script")
    file.write_text(text.replace(old, new))


def plant_slowdown(tree: Path, share: float) -> None:
    """Have every step wait for that share of its own time."""
    waiting = (
        "        planted = time.perf_counter()\n"
        + STEP
        + f"        planted += {1 + share} * (time.perf_counter() - planted)\n"
        + "        while time.perf_counter() < planted:\n"
        + "            pass\n"
    )
    edit(tree / "artifex_bench" / "remat" / "measure" / "stages.py", STEP, waiting)


def plant_memory(tree: Path, share: float, peaks: dict[str, int]) -> None:
    """Have every case's state carry a buffer of that share of its peak; `peaks` are bytes by case id."""
    program = tree / "artifex_bench" / "remat" / "measure" / "program.py"
    sizes = {case: int(share * peak) for case, peak in peaks.items()}
    carried = f'        state["planted"] = jax.numpy.zeros({sizes}[case_id(case)], "uint8")\n'
    edit(program, STATE, carried + STATE)
    kept = '{**state, "params": params, "optimizer": optimizer}'
    edit(program, kept, kept[:-1] + ', "planted": state["planted"].at[0].add(1)}')
    edit(program, FUTURE, f"{FUTURE}\nfrom artifex_bench.core.case_names import case_id\n")


def call(tree: Path, *arguments: str) -> Done:
    """Run the `artifex-bench` of that copy; SystemExit with what it said where it ends otherwise than expected."""
    return command(tree, [*RUN, *arguments], {**os.environ, "PYTHONPATH": str(tree)})


def command(
    tree: Path, words: list[str], environment: dict[str, str] | None = None, ok: tuple[int, ...] = (0,)
) -> Done:
    done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode not in ok:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def peaks_of(run: Path) -> dict[str, int]:
    """Compiled peaks, in bytes, by case id."""
    from artifex_bench.core import store
    from artifex_bench.core.case_names import case_id

    measured = ((record.case, record.get("compiled_peak_bytes")) for record in store.load_records(run))
    return {case_id(case): int(peak.values[0]) for case, peak in measured if peak is not None}


def copy(tree: Path) -> Path:
    for part in ("artifex_bench",):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def compare_pairs(scratch: Path, pairs: int, rounds: int, slowdown: float, memory: float) -> None:
    """Print in how many pairs of each kind `artifex-bench compare` calls a change. The runs that are held against each
    other are made in turn, a process of each (A B C A B C …), so that the machine's drift falls on all.
    """
    kinds = {"equal programs": "again", f"steps {slowdown:.0%} slower": "slow", f"memory {memory:.0%} more": "memory"}
    trees = {name: copy(scratch / name) for name in ("base", *kinds.values())}
    call(trees["base"], "run", "remat", "--preset", "smoke", "--out", str(scratch), "--name", "first")
    plant_slowdown(trees["slow"], slowdown)
    plant_memory(trees["memory"], memory, peaks_of(scratch / "first"))
    os.chdir(scratch)  # what is imported is a copy's, and not what lies here
    workers = {name: ForkServer({**worker_environment(), "PYTHONPATH": str(tree)}) for name, tree in trees.items()}
    found: Counter[tuple[str, str]] = Counter()
    alarmed: Counter[str] = Counter()
    for pair in range(1, pairs + 1):
        runs = {name: scratch / f"{name}-{pair}" for name in trees}
        in_turn(runs, workers, rounds)
        for kind, name in kinds.items():
            told = call(trees["base"], "compare", str(runs["base"]), str(runs[name]), "--format", "json").stdout
            changed = {row["quantity"] for row in json.loads(told) if row["change"] in CHANGES}
            alarmed[kind] += bool(changed)
            found.update((kind, quantity) for quantity in changed)
        print(f"pair {pair}/{pairs}: {dict(found)}", flush=True)
    for kind in kinds:
        each = ", ".join(f"{quantity} in {n}" for (of, quantity), n in sorted(found.items()) if of == kind)
        print(f"{kind}: a change in {alarmed[kind]} of {pairs} pairs" + (f" ({each})" if each else ""))


def in_turn(runs: dict[str, Path], workers: dict[str, ForkServer], rounds: int) -> None:
    """Make a run of the smoke suite by each one's workers. Memory never varies: its run has one round."""
    from artifex_bench.core import store
    from artifex_bench.sweep import spec

    jobs = {}
    for name, folder in runs.items():
        cases = spec.expand_preset("remat", "smoke", {})
        asked = run_spec.RunSpec("remat", cases, 1 if name == "memory" else rounds, STEPS)
        store.create_run(folder, run_spec.run_spec_to_json(asked))
        jobs[name] = asked.make_jobs(folder)
    for row in itertools.zip_longest(*jobs.values()):
        for name, job in zip(jobs, row, strict=True):
            if job is not None:
                record = run_job(job, store.create_log(runs[name], job.key), workers[name].start_worker)
                store.append_record(runs[name], record)


def asv_tries(scratch: Path, tries: int, slowdown: float, memory: float) -> None:
    """Print what `asv continuous` reports of planted commits, and of commits that change nothing."""
    tree = scratch / "project"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
    asv = [sys.executable, "-m", "asv"]
    command(tree, [*asv, "machine", "--yes", "--machine", "here"])
    call(tree, "run", "remat", "--preset", "asv", "--rounds", "1", "--steps", "0", "--out", str(scratch), "--name", "p")
    peaks = peaks_of(scratch / "p")
    base = commit(tree, "base", lambda: None)
    commits = {
        f"steps {slowdown:.0%} slower": commit(tree, "slow", lambda: plant_slowdown(tree, slowdown)),
        f"memory {memory:.0%} more": commit(tree, "memory", lambda: plant_memory(tree, memory, peaks)),
        **{f"nothing changed, try {i + 1}": commit(tree, f"equal-{i}", lambda: None) for i in range(tries)},
    }
    for kind, head in commits.items():
        shutil.rmtree(tree / ".asv" / "results", ignore_errors=True)
        done = command(tree, [*asv, "continuous", "--record-samples", "--machine", "here", base, head], ok=(0, 1))
        lines = done.stdout.splitlines()
        rows = [line.strip() for line in lines if line.startswith("|") and ".t" in line]
        if done.returncode and not rows:
            raise SystemExit(f"asv continuous failed:\n{done.stdout}{done.stderr}")
        print(f"{kind}: exit code {done.returncode}, {len(rows)} benchmarks reported", *rows, sep="\n  ", flush=True)


def commit(tree: Path, name: str, change: Callable[[], None]) -> str:
    """A branch `name` off main with that change; returns the commit."""
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
    with_compare = tools.add_parser("compare")
    with_compare.add_argument("--pairs", type=int, default=20)
    with_compare.add_argument("--rounds", type=int, default=10, help="of each run of the smoke suite")
    with_asv = tools.add_parser("asv")
    with_asv.add_argument("--tries", type=int, default=5)
    for tool, slowdown, memory in ((with_compare, 0.2, 0.05), (with_asv, 0.3, 0.2)):
        tool.add_argument("--slowdown", type=float, default=slowdown, help="share of a step's time")
        tool.add_argument("--memory", type=float, default=memory, help="share of the compiled peak")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.tool == "compare":
            compare_pairs(Path(scratch), chosen.pairs, chosen.rounds, chosen.slowdown, chosen.memory)
        else:
            asv_tries(Path(scratch), chosen.tries, chosen.slowdown, chosen.memory)


if __name__ == "__main__":
    main()

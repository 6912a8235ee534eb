"""The command line: the edge. Parses, validates, hands over, shows; everything else is elsewhere."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from artifex_bench.cli.params import MEMORY, MULTIPLE, SECONDS, Bytes, Listed, Picture, Threshold
from artifex_bench.core import case as cases
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CaseError
from artifex_bench.report.text import plain

WRONG_USE = 2


class _Group(click.Group):
    """Turns errors that users can mend into one line, without the usage, and exit code 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's own, but for errors."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            click.echo(f"Error: {error.format_message()}", err=True)
            code = WRONG_USE
        except click.Abort:
            click.echo("Aborted!", err=True)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (CaseError, store.StoreError) as error:
            raise click.ClickException(plain(str(error))) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="artifex-bench")
def main() -> None:
    """What each checkpointing choice costs your JAX model: time against memory, measured."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal's encoding has no sign for is no failure
        sys.stdout.reconfigure(errors="backslashreplace")


def warn_if_untested() -> None:
    """Print one line to standard error if the installed JAX is outside the tested range."""
    from artifex_bench.core.versions import untested_jax

    if (line := untested_jax()) is not None:
        click.echo(f"warning: {line}", err=True)


@main.command()
@click.argument("suite", required=False)
@click.option("--preset", help="A size of the suite: `artifex-bench list` shows them.")
@click.option("--model", type=Listed(), help="mlp, transformer, vae, or package.module:attribute.")
@click.option(
    "--strategy", type=Listed(), help="Rematerialization strategies, e.g. none,all,segments-sqrt/dots_saveable."
)
@click.option("--depth", type=Listed(int), help="Layers.")
@click.option("--width", type=Listed(int), help="Hidden size.")
@click.option("--batch", type=Listed(int), help="Sequences or samples a step.")
@click.option("--sequence", type=Listed(int), help="Tokens a sequence.")
@click.option("--heads", type=Listed(int), help="Attention heads.")
@click.option("--dtype", type=Listed(), help="float32, bfloat16.")
@click.option("--layers", type=Listed(), help="scan, unroll.")
@click.option("--step", type=Listed(), help="train, or gradient: forward and backward pass alone.")
@click.option("--optimizer", type=Listed(), help="adam, adamw, sgd.")
@click.option(
    "--target",
    type=Listed(),
    help="cpu (what is attached), or devices to compile for, e.g. cpu,tpu:v5e,tpu:v5e:2x4.",
)
@click.option(
    "--mesh",
    multiple=True,
    callback=lambda context, option, meshes: list(meshes) or None,
    help="Devices along data, fsdp and tensor, e.g. data=4,fsdp=2, over those of the target. May be repeated.",
)
@click.option(
    "--remat3",
    type=Listed(),
    help="off, on: JAX's new jax.checkpoint (JAX_REMAT3; jax 0.12 or later).",
)
@click.option("--seed", type=Listed(int), help="Of weights and data, or of the damage.")
@click.option("--format", type=Listed(), help="Of checkpoints: `artifex-bench list formats` shows them.")
@click.option("--mode", type=Listed(), help="sync, async.")
@click.option("--size", type=Listed(Bytes()), help="Of the saved parameters, e.g. 64MiB,1GiB.")
@click.option("--arrays", type=Listed(int), help="In how many arrays they are.")
@click.option("--content", type=Listed(), help="random, trained, zeros: how well they compress.")
@click.option("--devices", type=Listed(int), help="That they are sharded over.")
@click.option("--restore", type=Listed(), help="same, reshard, partial.")
@click.option("--cache", type=Listed(), help="warm, cold: whether restores find the files in the page cache.")
@click.option("--chunk", type=Listed(Bytes()), help="Bytes of a stored chunk at most.")
@click.option("--optimizer-state/--no-optimizer-state", default=None, help="Save Adam's moments too.")
@click.option("--fault", type=Listed(), help="flip_bit, zero_block, truncate, delete.")
@click.option("--trials", type=Listed(int), help="Of each fault.")
@click.option("--compiler-default", is_flag=True, help="Compile as plain jit does, even where that undoes remat (CPU).")
@click.option("--rounds", type=click.IntRange(1), help="Fresh processes a case, measured in turn (A B C A B C).")
@click.option("--steps", type=click.IntRange(0), help="Timed steps a process; 0 compiles only.")
@click.option("--timeout", type=SECONDS, help="Of a job.  [default: 600]")
@click.option(
    "--memory-limit",
    type=MEMORY,
    help="Of a worker's process, e.g. 8GiB: past it the case is recorded as oom.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where runs go.  [default: results]")
@click.option("--name", help="The run's folder under --out; made up from suite, preset and time when left out.")
@click.option("--resume", type=click.Path(file_okay=False, path_type=Path), help="Go on with the run in this folder.")
@click.option(
    "--across", is_flag=True, help="With --resume: go on under other versions or on another machine, and mix both."
)
def run(**options: Any) -> None:
    """Measure the cases of SUITE (remat, remat-absent, chen, papers, checkpoint, fault).

    Every job is a fresh process and gives one record. Axes take lists (--depth 4,8) and replace those of the
    preset; every combination is a case.
    """
    from artifex_bench.cli import progress
    from artifex_bench.sweep.spec import new_run, resume_run

    warn_if_untested()
    folder, spec = resume_run(options) if options["resume"] else new_run(options)
    if spec.suite == run_spec.PROFILE:
        from artifex_bench.cli import profiling

        sys.exit(profiling.run(spec, folder, options["across"]))
    sys.exit(progress.run(spec, folder, options["across"]))


_PROFILE = {*cases.axes(cases.RematCase), "compiler_default", "steps", "timeout", "memory_limit", "out", "name"}


@main.command(params=[option for option in run.params if option.name in _PROFILE])
def profile(**options: Any) -> None:
    """Show what one case's memory is made of: the buffers at its compiled peak, what autodiff saves, a trace.

    One value an axis; of --strategy one, or two to see side by side what the second removes.
    """
    from artifex_bench.cli import profiling
    from artifex_bench.sweep.spec import profile_run

    warn_if_untested()
    folder, spec = profile_run(options)
    sys.exit(profiling.run(spec, folder))


_MAX_BATCH = _PROFILE - {"batch", "steps", "timeout"}


@main.command(params=[option for option in run.params if option.name in _MAX_BATCH])
@click.option("--memory-budget", type=MEMORY, help="Where it is less than the target's capacity, e.g. 8GiB.")
@click.option("--multiple-of", type=click.IntRange(1), default=1, show_default=True, help="Batches to look at.")
@click.option("--limit", type=click.IntRange(1), default=2**20, show_default=True, help="No batch beyond is compiled.")
@click.option("--timeout", type=SECONDS, help="Of a compilation.  [default: 1800]")
def max_batch(**options: Any) -> None:
    """Find the largest batch that fits, for each --strategy and --target, by compiling.

    Every axis may be a list. The largest batch that fits and the smallest that does not are both compiled; they are 1
    apart (or --multiple-of), or 1 % where that is more.
    """
    from artifex_bench.cli import progress
    from artifex_bench.sweep.spec import max_batch_run

    warn_if_untested()
    folder, spec = max_batch_run(options)
    sys.exit(progress.run(spec, folder))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--plots/--no-plots", default=True, help="Draw the plots as well.")
@click.option("--html", is_flag=True, help="Write page.html as well: all of it in one file that works from disk.")
@click.option("--memory-budget", type=MEMORY, help="That the page's recommendation keeps: see advise.")
@click.option("--time-budget", type=MULTIPLE, help="The same.  [default, without a memory budget: 1.1x]")
@click.option("--mtbf", "mtbf_seconds", type=SECONDS, help="The same, of a checkpoint run.  [default: 4h]")
def report(folder: Path, plots: bool, html: bool, **budgets: Any) -> None:
    """Make the tables and plots of a run anew, from its records alone."""
    suite = run_spec.load_run_spec(folder).suite
    given = {name: value for name, value in budgets.items() if value is not None}
    if given and not html:
        raise CaseError("a budget is for the recommendation of the page: give --html as well, or use advise")
    if html:
        _check_told(folder, suite)
    from artifex_bench.cli import progress
    from artifex_bench.report.build import build

    table, written = build(folder, plots)
    if html:
        written.append(_page(folder, suite, table, given))
    progress.show_table(table, suite)
    for path in written:
        click.echo(plain(str(path)))


def _check_told(folder: Path, suite: str | None) -> None:
    """Raise CaseError where the answer of a run is its table, which no page or advice tells."""
    from artifex_bench.report.views import SUITES

    if suite in SUITES:
        raise CaseError(f"{folder} holds searches for the largest batch: table.md and plots/ in it tell what fits")


def _page(folder: Path, suite: str | None, table: Any, budgets: dict[str, Any]) -> Path:
    from artifex_bench.advice import remat as advice
    from artifex_bench.cli import progress
    from artifex_bench.report.views import parts

    try:
        from artifex_bench.report.html import page
    except ImportError as error:
        raise click.ClickException(f"--html needs {error.name}: pip install 'artifex-bench[html]'") from error
    told = [(budgets, table)] if budgets else [(view.usual(rows), rows) for view, rows in parts(table, suite)]
    found = [one for asked, rows in told if asked is not None for one in advice.advise(rows, **asked)]
    left = progress.tell_left(folder)
    try:
        return page.write_page(store.load(folder), found, folder.resolve().name, folder / "page.html", left)
    except OSError as error:
        raise store.StoreError(f"cannot write the page of {folder}: {error.strerror}") from error


@main.command()
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--across", is_flag=True, help="Compare runs of differing machines, devices or versions all the same.")
@click.option("--all", "everything", is_flag=True, help="Show what is the same as well.")
@click.option("--threshold", type=Threshold(), multiple=True, help="E.g. step_seconds=0.2; may be repeated.")
@click.option("--format", "form", type=click.Choice(["table", "markdown", "csv", "json"]), default="table")
@click.option("--plot", type=Picture(), help="Draw the ratios into this file: .png, .svg or .pdf.")
@click.option(
    "--fail-on", type=click.Choice(["regression", "unsure"]), help="Exit with 1 where there is one, or worse."
)
def compare(
    base: Path,
    new: Path,
    across: bool,
    everything: bool,
    threshold: tuple[tuple[str, float], ...],
    form: str,
    plot: Path | None,
    fail_on: str | None,
) -> None:
    """Hold the run in NEW against that in BASE: what became slower or larger, and how sure that is."""
    from artifex_bench.cli import progress
    from artifex_bench.report import comparison

    records = store.load(base), store.load(new)
    found = comparison.compare(*records, across=across, thresholds=dict(threshold))
    for folder in (base, new):
        progress.tell_left(folder)
    progress.show_comparison(found, comparison.notes(*records), everything, form)
    if plot is not None:
        from artifex_bench.report.plots.comparison import write_comparison

        try:
            click.echo(write_comparison(found, plot), err=True)
            if left_out := int(found.ratio.isna().sum()):
                click.echo(f"not drawn, for they have no ratio: {left_out} of {len(found)} rows", err=True)
        except ValueError as error:
            raise CaseError(f"--plot {str(plot)!r}: {error}") from error
        except OSError as error:
            raise CaseError(f"--plot {str(plot)!r}: cannot be written: {error.strerror}") from error
    failing = {None: set(), "regression": {"regression"}, "unsure": {"regression", "unsure"}}[fail_on]
    sys.exit(1 if failing & set(found.change) else 0)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--memory-budget",
    type=MEMORY,
    help="Limit of the compiled and measured peak, e.g. 8GiB.",
)
@click.option("--time-budget", type=MULTIPLE, help="E.g. 1.1x the step of none: what needs the least memory within it.")
@click.option(
    "--mtbf", "mtbf_seconds", type=SECONDS, help="Mean time between failures, e.g. 4h: how and how often to save."
)
@click.option(
    "--target", help="E.g. tpu:v5e, which the run was compiled for: what fits its memory, by estimated steps."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def advise(folder: Path, as_json: bool, **budgets: Any) -> None:
    """Say what to choose from a run's figures, why the others fell, and how sure that is."""
    from artifex_bench.advice import remat as advice
    from artifex_bench.cli import progress
    from artifex_bench.report.frame import load_run

    _check_told(folder, run_spec.load_run_spec(folder).suite)
    found = advice.advise(load_run(folder), **budgets)
    progress.tell_left(folder)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in found], indent=1))
    else:
        click.echo("\n\n".join(map(advice.words, found)))


@main.command(name="list")
@click.argument("what", required=False)
def list_(what: str | None) -> None:
    """Show models, strategies, policies, suites with their presets, probes, backends (or one of these)."""
    from artifex_bench.cli import catalogue

    sections = catalogue.sections()
    if what is not None:
        cases.check_choice("list", what, sections)
    for title, entries in sections.items():
        if what in (None, title):
            click.echo(f"{title}:")
            width = max(map(len, entries))
            for name, summary in entries.items():
                click.echo(f"  {name:<{width}}  {summary}")

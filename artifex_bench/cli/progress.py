"""Runs jobs and shows their progress: a bar in a terminal, or plain lines in a pipe. Then it reports the run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from artifex_bench.cli.console import AS_IT_IS, print_line, print_status
from artifex_bench.cli.devices import show_devices
from artifex_bench.cli.failures import show_failures
from artifex_bench.cli.tables import show_tables
from artifex_bench.core import run_spec, store
from artifex_bench.core.case_names import case_label
from artifex_bench.core.job import Job
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.units import count_noun
from artifex_bench.execution.executors import load_executor
from artifex_bench.kinds.remat import describe_compiled
from artifex_bench.report.text import make_printable
from artifex_bench.sweep import scheduler

BAR_FROM = 100  # columns of a terminal that has room for a bar beside a case


def show_run(spec: RunSpec, folder: Path, across: bool = False, wide: bool = False) -> int:
    """Run the jobs of a spec, then show and write the report.

    Args:
        spec: The run spec.
        folder: The run's folder.
        across: Whether to resume in another environment, as `run_sweep` does.
        wide: Whether tables have all columns, however narrow the terminal is.

    Returns:
        The exit code: 0 if every case is ok or skipped, 1 if a case failed, 130 if interrupted.
    """
    console = Console(stderr=True, **AS_IT_IS)
    executor = load_executor(spec.executor)
    left = scheduler.remaining_jobs(spec, folder, store.load_records(folder))
    rounds = spec.rounds if any(case.is_local for case in spec.cases) else 1
    work = f"{count_noun(len(left), 'job')} ({count_noun(len(spec.cases), 'case')}, {count_noun(rounds, 'round')})"
    if spec.search is not None:
        work = f"{count_noun(len(spec.cases), 'search', 'searches')} for the largest batch"
    try:
        show_devices(spec, left, executor)
        print_line(console, f"{work} into {folder}")
        if spec.search is None:
            with JobProgress(console, len(left), spec.rounds) as shown:
                records = scheduler.run_sweep(spec, folder, executor.run, shown, executor.stop, across)
        else:
            records = scheduler.run_search(spec, folder, executor.run, _show_batch, executor.stop, across)
    except KeyboardInterrupt:
        print_line(console, f"stopped. All records are kept. To resume: artifex-bench run --resume {folder}")
        return 130
    except store.StoreError as error:
        print_line(console, f"Error: {error}. To resume: artifex-bench run --resume {folder}")
        return 1
    return _report_run(folder, spec, records, console, wide)


def _report_run(folder: Path, spec: RunSpec, records: list[Record], console: Console, wide: bool) -> int:
    from artifex_bench.report.build import write_report

    frame, _ = write_report(folder)
    show_tables(frame, spec.suite, wide)
    code = show_failures(records, spec)
    print_line(console, f"tables and plots: {folder}")
    return code


class _TimeLeft(ProgressColumn):
    """The time that the remaining jobs take if each takes as long as the mean so far."""

    def render(self, task: Task) -> Text:
        """Return hours, minutes and seconds; dashes before the first job is done."""
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("-:--:-- left")
        whole = task.fields["seconds"] / task.completed * task.total
        return Text(f"{timedelta(seconds=max(0, int(whole - task.elapsed)))} left")


class JobProgress:
    """Shows jobs as they begin and end."""

    def __init__(self, console: Console, total: int, rounds: int):
        """Make the bar, which is shown on entering.

        Args:
            console: Where it is shown.
            total: Number of jobs.
            rounds: Number of rounds.
        """
        self._console, self._total, self._rounds, self._done = console, total, rounds, 0
        self._bar = Progress(
            *([BarColumn(bar_width=24)] if console.width >= BAR_FROM else []),
            MofNCompleteColumn(),
            _TimeLeft(),
            # a long case continues on the next line
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, overflow="fold")),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, seconds=0.0)

    def __enter__(self) -> JobProgress:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def __call__(self, job: Job, record: Record | None) -> None:
        """Show that a job begins (no record) or has ended."""
        several = self._rounds > 1 and job.case.is_local  # compiled cases have one round
        name = case_label(job.case) + (f" round {job.round + 1}/{self._rounds}" if several else "")
        if record is None:
            self._bar.update(self._task, description=make_printable(name))
            return
        self._done += 1
        seconds = self._bar.tasks[0].elapsed or 0.0
        self._bar.update(self._task, completed=self._done, seconds=seconds)
        if not self._console.is_terminal:
            print_status(f"[{self._done}/{self._total}] {name}: {_describe_outcome(record)}")
        elif record.status not in ("ok", "skipped"):
            print_line(self._bar.console, f"{record.status}: {name}: {record.reason}")


def _show_batch(record: Record) -> None:
    """Print a compiled batch of a search, whose number of batches is not known beforehand."""
    outcome = describe_compiled(record) if record.status == "ok" else f"{record.status}: {record.reason}"
    print_status(f"{case_label(record.case)}: {outcome}")


def _describe_outcome(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    words: str = load_kind(record.case.kind).table_of(record.case).describe_outcome(record)
    return words


def warn_if_unfinished(folder: Path) -> int:
    """Return the number of jobs of a run that have not run yet. Warn if there are any."""
    left = len(scheduler.remaining_jobs(run_spec.load_run_spec(folder), folder, store.load_records(folder)))
    if left:
        have = "has" if left == 1 else "have"
        warning = f"{folder} is unfinished: {count_noun(left, 'job')} {have} not run yet, and may change the result"
        print_status(f"{warning}. To resume: artifex-bench run --resume {folder}")
    return left

"""Columns: one entry makes a number appear in the DataFrame, CSV, Markdown, terminal, page and docs/data.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from artifex_bench.core import units
from artifex_bench.core.case_names import case_id
from artifex_bench.core.fields import case_fields, field_meta
from artifex_bench.core.record import Record
from artifex_bench.core.results import CONTENDED_SHARE, CaseResult

# unit -> how a table shows a value
FORMATS: dict[str, Callable[[Any], str]] = {
    "seconds": units.format_seconds,
    "bytes": units.format_bytes,
    "ratio": units.format_ratio,
    "share": units.format_share,
    "count": units.format_whole,
    "text": units.format_text,
}


@dataclass(frozen=True)
class Compared:
    """How `artifex-bench compare` judges a column. Less is better.

    Attributes:
        threshold: The relative change that matters.
        exact: Whether the number is equal in every process, so that any difference is real.
        among: If it is a count of trials, the counts that add up to all trials.
    """

    threshold: float
    exact: bool = False
    among: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One column of a kind of case.

    Attributes:
        name: Name in the DataFrame and the CSV. It ends in its unit: `_seconds`, `_bytes`, `_ratio`.
        doc: One sentence for docs/data.md, with the source of the number.
        value: Reads the value from the result of a case; with `interval` it returns (value, low, high). None: the
            column is only shown, made by `text` from other columns.
        unit: `seconds`, `bytes`, `ratio`, `share`, `count`, or `text`.
        interval: Whether there are also `<name>_low` and `<name>_high`, the bootstrap 95 % interval.
        heading: Heading in tables; empty if no table shows the column.
        text: Makes the cell from a row of the DataFrame; by default `unit` says how the value is shown.
        sort_by: Reads the number that the page sorts by from a row; by default the column's own value.
        compared: How two runs are compared by it; None: they are not. Its name is then that of a probe.
        tables: Names of the tables that show it.
        priority: On a narrow terminal, columns with a larger number are dropped first.
    """

    name: str
    doc: str = ""
    value: Callable[[CaseResult], Any] | None = None
    unit: str = "text"
    interval: bool = False
    heading: str = ""
    text: Callable[[Any], str] | None = None
    sort_by: Callable[[Any], Any] | None = None
    compared: Compared | None = None
    tables: tuple[str, ...] = ()
    priority: int = 1

    @property
    def is_text(self) -> bool:
        """Whether cells are words, and so aligned to the left."""
        return self.unit == "text"

    def cells(self, result: CaseResult) -> Iterator[tuple[str, Any]]:
        """Yield (name, value) of the column, and of the ends of its interval."""
        assert self.value is not None
        if not self.interval:
            yield self.name, self.value(result)
            return
        yield from zip((self.name, f"{self.name}_low", f"{self.name}_high"), self.value(result), strict=True)

    def show(self, row: Any) -> str:
        """Return the cell of a row of the DataFrame, as tables show it."""
        return self.text(row) if self.text else FORMATS[self.unit](getattr(row, self.name))

    def sort_key(self, row: Any) -> float | None:
        """Return the number that rows are sorted by; None if it is absent. Columns of words have none."""
        number = self.sort_by(row) if self.sort_by else getattr(row, self.name)
        return float(number) if units.is_present(number) else None


def axis_columns(case_type: type[Any], shown: Iterable[Column] = ()) -> tuple[Column, ...]:
    """Return a column for each axis of a kind of case, documented by its metadata; `shown` are those of tables."""
    special = {column.name: column for column in shown}
    return tuple(
        special.get(field.name, axis_column(field.name, doc=field_meta(field).description or ""))
        for field in case_fields(case_type)
    )


def axis_column(name: str, **shown: Any) -> Column:
    """Return the column of an axis."""
    return Column(name, value=lambda result: getattr(result.case, name), **shown)


def interval_column(name: str, **shown: Any) -> Column:
    """Return the column that shows the 95 % interval of the ratio in the column `name`."""

    def show(row: Any) -> str:
        return units.format_interval(getattr(row, f"{name}_low"), getattr(row, f"{name}_high"))

    return Column(
        f"{name}_interval",
        heading="95 %",
        text=show,
        sort_by=lambda row: getattr(row, f"{name}_low"),
        unit="ratio",
        priority=2,
        **shown,
    )


def constant_column(name: str, doc: str, unit: str, **shown: Any) -> Column:
    """Return the column of a probe that is the same in every process: its first value."""
    return Column(name, doc, lambda result: result.first(name), unit, **shown)


def timed_column(name: str, doc: str, unit: str = "seconds", **shown: Any) -> Column:
    """Return the column of a probe that varies: its median over all rounds, with its interval."""
    return Column(name, doc, lambda result: result.median(name), unit, interval=True, **shown)


def _worst(result: CaseResult) -> Record:
    return next((record for record in result.rounds if record.status != "ok"), result.rounds[0])


def _other_cpu_share(result: CaseResult) -> float | None:
    shares = [share for record in result.rounds if (share := record.value("other_cpu_share")) is not None]
    return max(shares, default=None)


def _versions(package: str) -> Callable[[CaseResult], str | None]:
    def join_versions(result: CaseResult) -> str | None:
        return ", ".join(dict.fromkeys(filter(None, (package_version(one, package) for one in result.rounds)))) or None

    return join_versions


def package_version(record: Record, package: str) -> str | None:
    """Return the version of a package that a record was measured with; None if it is not known."""
    found: str | None = record.environment.get("versions", {}).get(package)
    return found


KIND = Column("kind", "Kind of case: `remat`, `checkpoint` or `fault`.", lambda result: result.case.kind)
CASE = Column(
    "case", "Stable name of the case: its leading axes and a digest of all axes.", lambda result: case_id(result.case)
)
STATUS = (
    Column(
        "status",
        "`ok`, `oom`, `timeout`, `failed` or `skipped`: the worst of its processes. `oom` is what an allocator "
        "reports, not an error whose text mentions memory.",
        lambda result: _worst(result).status,
    ),
    Column("reason", "Why the case is not ok.", lambda result: _worst(result).reason),
    Column("rounds", "Processes that measured the case.", lambda result: len(result.rounds), "count"),
    Column(
        "other_cpu_share",
        "Share of the machine's processor time that other processes took while steps were timed (/proc/stat, Linux); "
        "the largest of any process.",
        _other_cpu_share,
        "share",
    ),
    Column(
        "contended",
        f"Whether that share is known and above {CONTENDED_SHARE}.",
        lambda result: (_other_cpu_share(result) or 0) > CONTENDED_SHARE,
    ),
    Column("jax", "JAX versions of the processes that measured the case.", _versions("jax")),
)


def common_columns(axes: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return the columns that every kind has: kind, case, the axes, and how its processes ended."""
    return (KIND, CASE, *axes, *STATUS)


def show_status(row: Any) -> str:
    """Return the status of a row, with a word if other processes disturbed it."""
    return f"{row.status}, contended" if row.contended else str(row.status)

"""Types of command-line options, and the options of cases and runs."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from msgspec import inspect
from msgspec.structs import FieldInfo

from artifex_bench.core.convert import describe_range, plain_type, show_value
from artifex_bench.core.fields import case_fields, field_meta
from artifex_bench.core.units import LEAST_BARE_BYTES, parse_bytes


class Listed(click.ParamType):
    """Values separated by commas."""

    name = "LIST"

    def __init__(self, kind: type | click.ParamType = str, valid: Collection[str] | str = ()):
        """Make the type.

        Args:
            kind: Type of each value.
            valid: Values that completion offers, or the axis whose registry has them.
        """
        self.kind, self.valid = kind, valid

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the completions of the last value of the list."""
        from artifex_bench.cli.catalogue import axis_choices

        before, comma, last = incomplete.rpartition(",")
        valid = axis_choices(self.valid, last) if isinstance(self.valid, str) else self.valid
        return [CompletionItem(f"{before}{comma}{name}") for name in valid if name.startswith(last)]

    def convert(self, value: Any, param: Any, ctx: Any) -> list[Any]:
        """Return the values of the list."""
        items = [item.strip() for item in str(value).split(",")]
        if not all(items):
            self.fail(f"{value!r}: has an empty value: separate values by single commas", param, ctx)
        if isinstance(self.kind, click.ParamType):
            return [self.kind.convert(item, param, ctx) for item in items]
        if self.kind is not int:
            return list(items)
        if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", item) for item in items):
            self.fail(f"{show_value(value)}: must be whole numbers separated by commas", param, ctx)
        return [int(item) for item in items]


class Whole(click.ParamType):
    """A whole number of `least` or more."""

    name = "NUMBER"

    def __init__(self, least: int):
        """Make the type."""
        self.least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return the number."""
        number = int(value) if re.fullmatch(r"[+-]?[0-9]{1,18}", str(value).strip()) else self.least - 1
        if number < self.least:
            rule = describe_range("a whole number", self.least, None)
            self.fail(f"{show_value(value)}: must be {rule}", param, ctx)
        return number


class Bytes(click.ParamType):
    """A size: 8GiB, 512MiB, 16GB, or bytes. Below `least` a number needs a unit, because 45 may mean 45 GiB."""

    name = "SIZE"

    def __init__(self, least: int = 1):
        """Make the type."""
        self.least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return the size in bytes."""
        size = parse_bytes(str(value))
        if size is None or not 1 <= size < 2**63:  # 64-bit integers are the largest that the system accepts
            self.fail(f"{value!r}: must be a size such as 8GiB, 512MiB or 16GB", param, ctx)
        if size < self.least and str(value).strip()[-1].isdigit():
            self.fail(f"{value!r}: a number below {self.least} needs a unit, such as 8GiB", param, ctx)
        return int(size)


class Number(click.ParamType):
    """A finite number above zero with a unit. A number without a unit has the first one."""

    def __init__(self, name: str, what: str, units: dict[str, float]):
        """Make the type.

        Args:
            name: Name of the value in help.
            what: Description of valid values, for errors.
            units: Unit -> its size.
        """
        self.name, self._what, self._units = name, what, units

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the number in the first unit."""
        text = str(value).strip()
        unit = next((unit for unit in sorted(self._units, key=len, reverse=True) if text.endswith(unit)), "")
        try:
            found = float(text.removesuffix(unit)) * self._units[unit or next(iter(self._units))]
        except ValueError:
            found = math.nan
        if not 0 < found < math.inf:
            self.fail(f"{value!r}: must be {self._what}, above 0", param, ctx)
        return found


class Threshold(click.ParamType):
    """A quantity and the relative change of it that matters: step_seconds=0.2."""

    name = "QUANTITY=SHARE"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        """Return (quantity, share)."""
        name, _, share = str(value).partition("=")
        try:
            found = float(share)
        except ValueError:
            found = math.nan
        if not 0 <= found < math.inf:
            self.fail(f"{value!r}: must be a quantity and a share of 0 or more, such as step_seconds=0.2", param, ctx)
        return name, found


class Picture(click.Path):
    """A file for a plot."""

    kinds = (".png", ".svg", ".pdf")

    def __init__(self) -> None:
        """Make the type."""
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path."""
        if Path(value).suffix not in self.kinds:
            self.fail(f"{str(value)!r}: must end in {', '.join(self.kinds)}", param, ctx)
        return super().convert(value, param, ctx)


MEMORY = Bytes(LEAST_BARE_BYTES)
SECONDS = Number("SECONDS", "seconds, or a time such as 30min or 4h", {"s": 1, "min": 60, "h": 3600})
MULTIPLE = Number("MULTIPLE", "a multiple such as 1.1x", {"x": 1})


class GroupedOption(click.Option):
    """An option that help shows under the heading of its group."""

    def __init__(self, *args: Any, group: str = "Run", **kwargs: Any):
        """Make the option, as click does."""
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each group under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (line := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(line)
        for title, lines in groups.items():
            with formatter.section(title):
                formatter.write_dl(lines)


def case_options(case_type: type[Any], leave_out: Collection[str] = ()) -> list[click.Parameter]:
    """Return an option for each axis of a kind of case: type, help, group and completion come from its metadata."""
    options: list[click.Parameter] = []
    for field in case_fields(case_type):
        if field.name not in leave_out:
            options += _options_of(field)
    return options


def _options_of(field: FieldInfo) -> Iterator[click.Option]:
    meta = field_meta(field)
    extra = meta.extra or {}
    name, group = f"--{field.name.replace('_', '-')}", extra.get("group", "Case")
    info = plain_type(inspect.type_info(field.type))
    help_text = str(meta.description or "")
    if isinstance(info, inspect.BoolType):
        yield GroupedOption([f"{name}/--no-{name[2:]}"], default=None, help=help_text, group=group)
        return
    if field.name == "mesh":  # its values hold commas
        yield GroupedOption([name], multiple=True, callback=_list_or_none, help=help_text, group=group)
        return
    kind: Any = Bytes() if extra.get("unit") == "bytes" else int if isinstance(info, inspect.IntType) else str
    valid: tuple[str, ...] = tuple(map(str, info.values)) if isinstance(info, inspect.LiteralType) else ()
    if valid:
        help_text = f"{help_text}  [{', '.join(valid)}]"
    yield GroupedOption([name], type=Listed(kind, valid or field.name), help=help_text, group=group)
    if field.name == "compiler":  # the spelling of version 0.1
        yield GroupedOption(["--compiler-default"], is_flag=True, hidden=True, group=group)


def _list_or_none(ctx: Any, param: Any, values: Any) -> list[Any] | None:
    return list(values) or None


FOLDER = click.Path(file_okay=False, path_type=Path)


def wide_option() -> click.Option:
    """Return the option that shows all columns of tables."""
    return GroupedOption(["--wide"], is_flag=True, help="Show all columns of tables, however narrow the terminal is.")


def run_options(leave_out: Collection[str] = ()) -> list[click.Parameter]:
    """Return the options for how cases are measured and where the run is stored."""
    options = {
        "rounds": GroupedOption(
            ["--rounds"], type=Whole(1), help="Fresh processes per case, interleaved (A B C A B C)."
        ),
        "steps": GroupedOption(["--steps"], type=Whole(0), help="Timed steps per process; 0 only compiles."),
        "timeout": GroupedOption(
            ["--timeout"], type=SECONDS, help="Time limit per measurement: 90, 30min.  [default: 600]"
        ),
        "memory_limit": GroupedOption(
            ["--memory-limit"],
            type=MEMORY,
            help="Memory limit of each process: 8GiB. A case above it is recorded as oom.",
        ),
        "out": GroupedOption(["--out"], type=FOLDER, help="Folder that holds the run's folder.  [default: results]"),
        "name": GroupedOption(["--name"], help="Name of the run's folder.  [default: suite, preset and time]"),
    }
    return [*(option for name, option in options.items() if name not in leave_out), wide_option()]

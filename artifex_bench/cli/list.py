"""`artifex-bench list`: shows the names that a user can choose from."""

from __future__ import annotations

import click

from artifex_bench.cli.completion import complete_from
from artifex_bench.core.case import check_choice


def _list_names() -> list[str]:
    from artifex_bench.cli.catalogue import LISTS

    return list(LISTS)


@click.command(name="list")
@click.argument("what", required=False, shell_complete=complete_from(_list_names))
def list_choices(what: str | None) -> None:
    """List the models, strategies, targets and other names.

    The lists are models, strategies, policies, targets, suites, formats, faults and probes. WHAT shows one of them.

    Example: artifex-bench list strategies
    """
    from artifex_bench.cli.catalogue import LISTS

    if what is not None:
        check_choice("list", what, LISTS)
    for title, make_list in LISTS.items():
        if what in (None, title):
            entries = make_list()
            click.echo(f"{title}:")
            width = max(map(len, entries))
            for name, summary in entries.items():
                click.echo(f"  {name:<{width}}  {summary}")

"""`artifex-bench list`: shows what there is to choose from."""

from __future__ import annotations

import click

from artifex_bench.core.case import check_choice


@click.command(name="list")
@click.argument("what", required=False)
def list_choices(what: str | None) -> None:
    """Show models, strategies, policies, targets, suites, formats, faults and probes, or one of these lists.

    Example: artifex-bench list strategies
    """
    from artifex_bench.cli.catalogue import make_catalogue

    catalogue = make_catalogue()
    if what is not None:
        check_choice("list", what, catalogue)
    for title, entries in catalogue.items():
        if what in (None, title):
            click.echo(f"{title}:")
            width = max(map(len, entries))
            for name, summary in entries.items():
                click.echo(f"  {name:<{width}}  {summary}")

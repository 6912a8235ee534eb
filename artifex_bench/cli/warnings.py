"""Warnings that commands print before they measure."""

from __future__ import annotations

import click


def warn_if_untested() -> None:
    """Print one line to standard error if the installed JAX is outside the tested range."""
    from artifex_bench.core.versions import untested_jax

    if (line := untested_jax()) is not None:
        print_warning(line)


def print_warning(line: str) -> None:
    """Print one line to standard error."""
    click.echo(f"warning: {line}", err=True)

"""Choices written to a file and read again, so that what was chosen once need not be chosen anew."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifex_bench.remat.planner.stacks import Choice, Fine, Groups, Plain
from artifex_bench.remat.strategies import Plan, Policy


def write(path: Path, groups: Mapping[str, Groups]) -> None:
    """Write the choices of every stack, whole or not at all."""
    draft = path.with_suffix(f".{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {name: [(many, _told(choice)) for many, choice in chosen] for name, chosen in groups.items()}
    draft.write_text(json.dumps(told))
    os.replace(draft, path)


def read(path: Path) -> dict[str, Groups] | None:
    """The choices that were written there, or None."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return {name: tuple((many, _meant(told)) for many, told in chosen) for name, chosen in found.items()}


def _told(choice: Choice) -> dict[str, Any]:
    if isinstance(choice, Fine):
        return {"saved": sorted(choice.names), "on_host": sorted(choice.on_host)}
    if isinstance(choice, Policy):
        return {"policy": choice.name}
    if isinstance(choice, Plan):
        return {"period": choice.period, "layers": choice.layers, "group": choice.group}
    return {}


def _meant(told: Mapping[str, Any]) -> Choice:
    if "saved" in told:
        return Fine(frozenset(told["saved"]), frozenset(told.get("on_host", ())))
    if "policy" in told:
        return Policy(told["policy"])
    return Plan(told["period"], tuple(told["layers"]), told["group"]) if told else Plain()

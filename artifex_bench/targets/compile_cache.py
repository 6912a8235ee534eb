"""What compilers of devices that are not there have said before, kept by program, device and compiler.

A file for each under $ARTIFEX_BENCH_CACHE, or artifex-bench in the user's cache folder; deleting it is always safe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from artifex_bench.targets import Description, compiler_versions
from artifex_bench.targets.environment import program_flags

FORMAT = 3  # of the figures: those of another are not read


def path(program: str, description: Description, options: dict[str, Any]) -> Path:
    """Where the figures of a program (its text) for a device are kept."""
    compiler = {**compiler_versions(description.name), "options": options}
    flags = {name: value for name, value in program_flags(os.environ).items() if not name.endswith("_MEM_FRACTION")}
    told = {name: value for name, value in dataclasses.asdict(description).items() if not name.startswith("to_host")}
    what = json.dumps([FORMAT, program, told, compiler, flags], sort_keys=True)
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "artifex-bench"
    folder = Path(os.environ.get("ARTIFEX_BENCH_CACHE") or user)
    return folder / "compiled" / f"{hashlib.blake2b(what.encode(), digest_size=16).hexdigest()}.json"


def read(kept: Path) -> dict[str, Any] | None:
    """The figures kept there, or None."""
    try:
        return dict(json.loads(kept.read_text()))
    except (OSError, ValueError):
        return None


def write(kept: Path, figures: dict[str, Any]) -> None:
    """Keep figures there, whole or not at all; where that cannot be, they are computed again."""
    draft = kept.with_suffix(f".{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(figures))
        os.replace(draft, kept)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()

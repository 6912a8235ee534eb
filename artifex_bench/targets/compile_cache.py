"""The cache of AOT compilations: peaks by program, device, options and compiler version.

One file per compilation under $ARTIFEX_BENCH_CACHE, or under artifex-bench in the user's cache folder. Deleting it is
always safe.
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

FORMAT = 3  # part of every key: figures written in another format are not read


def entry_path(program: str, description: Description, options: dict[str, Any]) -> Path:
    """Return the file of a compilation's figures.

    Args:
        program: The lowered program's text.
        description: The AOT target.
        options: XLA options of the compilation.
    """
    compiler = {**compiler_versions(description.name), "options": options}
    # The share of the GPU's pool and the bandwidth to the host change no compilation.
    flags = {name: value for name, value in program_flags(os.environ).items() if not name.endswith("_MEM_FRACTION")}
    device = {name: value for name, value in dataclasses.asdict(description).items() if not name.startswith("to_host")}
    key = json.dumps([FORMAT, program, device, compiler, flags], sort_keys=True)
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "artifex-bench"
    folder = Path(os.environ.get("ARTIFEX_BENCH_CACHE") or user)
    return folder / "compiled" / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.json"


def read_entry(path: Path) -> dict[str, Any] | None:
    """Return the figures in that file; None if it does not exist or is damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def write_entry(path: Path, figures: dict[str, Any]) -> None:
    """Write figures to that file, all or nothing. If it cannot be written, the next run compiles again."""
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(figures))
        os.replace(draft, path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()

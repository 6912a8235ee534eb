"""Which JAX this package was tested with. Imports no JAX."""

from __future__ import annotations

import importlib.metadata
import os

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

REMAT3_SINCE = Version("0.12")  # earlier versions have JAX_REMAT3 with fewer policies, and are not tested
# measured on 0.10.2, 0.11.0, 0.11.1, 0.11.2 and 0.12.0.1 (docs/figures.md)
CPU_KEEPS_RECOMPUTATION = Version("0.11.1")  # before, XLA:CPU merges the recomputation of unrolled layers away
TANH_READS_ITS_RESULT = Version("0.11.2")  # from then on gelu keeps one value fewer for its derivative


def tested_jax() -> SpecifierSet:
    """Return the versions of JAX in this package's metadata, such as ``>=0.10,<0.13``; all if it is not installed."""
    try:
        found = map(Requirement, importlib.metadata.requires("artifex-bench") or ())
    except importlib.metadata.PackageNotFoundError:  # on PYTHONPATH, not installed
        return SpecifierSet()
    return next((one.specifier for one in found if one.name == "jax" and one.marker is None), SpecifierSet())


def has_remat3() -> bool:
    """Return whether the installed JAX has a tested JAX_REMAT3, the new implementation of `jax.checkpoint`."""
    return Version(importlib.metadata.version("jax")) >= REMAT3_SINCE


def chosen_remat3() -> str:
    """Return ``on`` if the environment variable JAX_REMAT3 is true, as JAX reads it, else ``off``."""
    return "on" if os.environ.get("JAX_REMAT3", "").lower() in ("y", "yes", "t", "true", "on", "1") else "off"


def untested_jax() -> str | None:
    """Return a warning if the installed JAX is outside the tested range, else None."""
    tested, installed = tested_jax(), importlib.metadata.version("jax")
    if tested.contains(installed, prereleases=True):
        return None
    return f"jax {installed} is untested: artifex-bench is tested with jax{tested}: install one of these versions"

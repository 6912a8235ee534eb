"""Which JAX this package was tested with. Imports no JAX."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

REMAT3_SINCE = Version("0.12")  # earlier versions have JAX_REMAT3, with fewer policies: it was not tested there


def tested_jax() -> SpecifierSet:
    """The versions of JAX that this package declares in its own metadata, such as ``>=0.10,<0.13``."""
    found = map(Requirement, importlib.metadata.requires("artifex-bench") or ())
    return next((one.specifier for one in found if one.name == "jax" and one.marker is None), SpecifierSet())


def has_remat3() -> bool:
    """Whether the installed JAX has a tested JAX_REMAT3, the new implementation of `jax.checkpoint`."""
    return Version(importlib.metadata.version("jax")) >= REMAT3_SINCE


def untested_jax() -> str | None:
    """One line if the installed JAX is outside the tested range, else None."""
    tested, installed = tested_jax(), importlib.metadata.version("jax")
    if tested.contains(installed, prereleases=True):
        return None
    return f"jax {installed} is untested: artifex-bench is tested with jax{tested}, so install one of these versions"

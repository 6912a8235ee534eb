"""Which JAX this package was tested with. Imports no JAX."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


def tested_jax() -> SpecifierSet:
    """The versions of JAX that this package declares in its own metadata, such as ``>=0.10,<0.13``."""
    found = map(Requirement, importlib.metadata.requires("artifex-bench") or ())
    return next((one.specifier for one in found if one.name == "jax" and one.marker is None), SpecifierSet())


def untested_jax() -> str | None:
    """One line if the installed JAX is outside the tested range, else None."""
    tested, installed = tested_jax(), importlib.metadata.version("jax")
    if tested.contains(installed, prereleases=True):
        return None
    return f"jax {installed} is untested: artifex-bench is tested with jax{tested}, so install one of these versions"

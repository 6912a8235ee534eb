"""docs/data.md names every column of every kind of run, and no other."""

from __future__ import annotations

import re

import pytest

from artifex_bench.core.record import Record
from artifex_bench.core.registry import KINDS, load_kind
from artifex_bench.kinds.frames import make_frame
from tests.test_views import ROOT

SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE | re.DOTALL)


def documented(*kinds):
    """The columns of the sections of these kinds; those marked ± with their interval."""
    for title, text in SECTIONS:
        for name, cells in re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE):
            if title.partition(":")[0] in kinds:
                yield from (name + end for end in (("", "_low", "_high") if cells.endswith("± ") else ("",)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_is_documented_and_no_other(kind):
    names = list(documented("All kinds", kind))
    assert set(names) == set(make_frame([Record(load_kind(kind).case_type(), 0, "skipped", "no disk")]))
    assert len(names) == len(set(names))

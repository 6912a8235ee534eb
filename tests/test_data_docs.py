"""docs/data.md lists every column of every kind, with the documentation of the column."""

from __future__ import annotations

import re
import shutil

import pytest

from artifex_bench.core.record import Record
from artifex_bench.core.registry import KINDS, load_kind
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.data_docs import update_docs
from tests.test_views import ROOT

DOCS = ROOT / "docs" / "data.md"


def test_the_page_is_made_from_the_columns(tmp_path):
    page = shutil.copy(DOCS, tmp_path)
    assert not update_docs(tmp_path / "data.md"), page


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_is_documented_and_no_other(kind):
    section = re.search(rf"^## Columns of kind `{kind}`\n(.*?)(?=^## |\Z)", DOCS.read_text(), re.M | re.S)[1]
    names = [
        name + end
        for name, interval in re.findall(r"^\| `(\w+)` \|.*\| (±?) \|$", section, re.M)
        for end in (("", "_low", "_high") if interval else ("",))
    ]
    assert set(names) == set(make_frame([Record(load_kind(kind).case_type(), 0, "skipped", "no disk")]))
    assert len(names) == len(set(names))

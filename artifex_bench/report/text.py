"""Text of users and of errors in what is written: each format's own signs are escaped, and no control character stays.

Names, reasons and devices may hold anything: line breaks, terminal escapes, HTML, formulas. Every writer passes text
through the function of its format here: `plain` (terminal), `markdown`, `csv`, `json_rows`, `caption` (plots). HTML is
escaped by jinja2, which gets `plain` text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from artifex_bench.core.units import is_present

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 100  # characters of a text in a plot, whose size follows from its texts
FORMULA = ("=", "+", "-", "@")  # how a spreadsheet knows a formula (OWASP, "CSV injection")
# what Markdown reads as more than text, wherever it stands; a star or bar between spaces or letters is none
_MARKUP = re.compile(r"[\\`\[\]<>&#$~]|\*(?=\S)|(?<=\S)\*|(?<!\w)_|_(?!\w)|://|(?<=www)\.")
# What GitHub reads in the text that markup has become, where no entity helps: emoji, people, issues. An empty character
# (zero-width space) behind the sign does, as bots that quote release notes use it.
_SIGN = re.compile(r":(?=[\w+-]+:)|@(?=\w)|#(?=\d)")
_EMPTY = "\u200b"
# at the beginning of a line: a list (12. or 12)), or any other sign: of a list, a quote, a heading
_BLOCK = re.compile(r"^(\d+)([.)])(?=\s|$)|^()([^\w\s&\\])")


def plain(text: str) -> str:
    r"""The text on one line, with what is not printable as Python writes it: ``\n``, ``\x1b``, ``\ud800``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def caption(text: str) -> str:
    """`plain` text in a plot: no longer than a plot has room for."""
    text = plain(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def captions(texts: Iterable[Any]) -> list[str]:
    """`caption` of each."""
    return [caption(str(text)) for text in texts]


def markdown(text: str) -> str:
    """Text within a line or a cell of a table: nothing in it is markup, HTML, a link, an emoji, the name of a person,
    or the border of a cell.
    """
    apart = _SIGN.sub(lambda found: found[0] + _EMPTY, plain(text))
    escaped = _MARKUP.sub(lambda found: _entities(found[0]), apart).replace(_EMPTY, _entities(_EMPTY))
    return escaped.replace("|", "\\|")


def markdown_block(text: str) -> str:
    """Text that a line of Markdown begins with."""
    return _BLOCK.sub(lambda found: (found[1] or "") + _entities(found[2] or found[4]), markdown(text).strip())


def csv(table: pd.DataFrame) -> str:
    """A table as CSV. Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    words = {name: table[name].map(_csv_cell) for name in table if table[name].dtype.kind == "O"}
    written: str = table.assign(**words).to_csv(index=False)
    return written


def json_rows(table: pd.DataFrame) -> str:
    """A table's rows as JSON objects in ASCII; what is absent is null."""
    rows = [
        {key: value if is_present(value) else None for key, value in row.items()} for row in table.to_dict("records")
    ]
    return json.dumps(rows, indent=1, allow_nan=False, default=lambda value: value.item())


def _entities(characters: str) -> str:
    return "".join(f"&#{ord(character)};" for character in characters)


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = plain(value)
    return f"'{value}" if value.lstrip().startswith(FORMULA) else value

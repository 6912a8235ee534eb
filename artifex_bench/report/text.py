"""Text of users and of errors, escaped for each format that is written.

Names, reasons and devices may contain anything: line breaks, terminal escapes, HTML, formulas. Every writer passes text
through the function of its format: `make_printable` (terminal, HTML), `escape_markdown`, `format_csv`,
`format_json_rows`, `shorten_label` (plots). Jinja2 escapes HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from artifex_bench.core.units import is_present

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 100  # characters of a label in a plot, because the plot grows with its labels
FORMULA = ("=", "+", "-", "@")  # how a spreadsheet recognizes a formula (OWASP, "CSV injection")
# what Markdown interprets anywhere in a text; not a star between spaces, nor a bar between letters
_MARKUP = re.compile(r"[\\`\[\]<>&#$~]|\*(?=\S)|(?<=\S)\*|(?<!\w)_|_(?!\w)|://|(?<=www)\.")
# what GitHub interprets in spite of entities: emoji, people, issues. A zero-width space after the sign prevents it, as
# in bots that quote release notes.
_SIGN = re.compile(r":(?=[\w+-]+:)|@(?=\w)|#(?=\d)")
_EMPTY = "\u200b"
# at the beginning of a line: a numbered list (12. or 12)), or the sign of another list, a quote or a heading
_BLOCK = re.compile(r"^(\d+)([.)])(?=\s|$)|^()([^\w\s&\\])")


def make_printable(text: str) -> str:
    r"""Return text on one line. Characters that are not printable are escaped: ``\n``, ``\x1b``, ``\ud800``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten_label(text: str, longest: int = LONGEST) -> str:
    """Return printable text of at most so many characters, for a label in a plot."""
    text = make_printable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def shorten_labels(texts: Iterable[Any]) -> list[str]:
    """Return each value as a label."""
    return [shorten_label(str(text)) for text in texts]


def escape_markdown(text: str) -> str:
    """Return text for a line or a table cell: Markdown and GitHub interpret nothing in it, and it ends no cell."""
    apart = _SIGN.sub(lambda found: found[0] + _EMPTY, make_printable(text))
    escaped = _MARKUP.sub(lambda found: _entities(found[0]), apart).replace(_EMPTY, _entities(_EMPTY))
    return escaped.replace("|", "\\|")


def escape_markdown_line(text: str) -> str:
    """Return text that may begin a line of Markdown."""
    return _BLOCK.sub(lambda found: (found[1] or "") + _entities(found[2] or found[4]), escape_markdown(text).strip())


def format_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV. Text that a spreadsheet would take for a formula begins with an apostrophe."""
    words = {name: table[name].map(_csv_cell) for name in table if table[name].dtype.kind == "O"}
    written: str = table.assign(**words).to_csv(index=False)
    return written


def format_json_rows(table: pd.DataFrame) -> str:
    """Return the rows of a table as JSON objects in ASCII. Absent values are null."""
    rows = [
        {key: value if is_present(value) else None for key, value in row.items()} for row in table.to_dict("records")
    ]
    return json.dumps(rows, indent=1, allow_nan=False, default=lambda value: value.item())


def _entities(characters: str) -> str:
    return "".join(f"&#{ord(character)};" for character in characters)


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = make_printable(value)
    return f"'{value}" if value.lstrip().startswith(FORMULA) else value

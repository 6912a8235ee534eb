"""Hooks of mkdocs: files outside docs/ that pages link to become pages of the site, below repository/.

The pages are also read in the repository, so their links are paths of files. A link from docs/ to
`../results/README.md` leads to repository/results/README.html in the site. Markdown becomes a page, an image is copied,
and any other text is shown as it is.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).parent.parent
OUTSIDE = "repository"  # the folder of the site for files outside docs/
IMAGES = {".png", ".svg"}
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[#)])")  # the path of a relative link
OPTIONS = "---\nhide: [navigation]\nsearch: {exclude: true}\n---\n"  # of pages for files outside docs/


def on_files(files: Any, config: Any) -> Any:
    """Add every file outside docs/ that a page links to, and those that these link to."""
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        uri = waiting.pop()
        content = files.get_file_from_path(uri).content_string
        for link in LINK.findall(FENCE.sub("", content)):
            target = resolve_link(uri, link)
            if not target.startswith("docs/") and files.get_file_from_path(make_site_uri(target)) is None:
                file = make_file(target, config)
                if file is not None:
                    files.append(file)
                    waiting += [file.src_uri] if target.endswith((".md", ".ipynb")) else []
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with its links to files outside docs/, and from these to docs/, as links within the site."""
    uri = page.file.src_uri

    def replace_link(match: re.Match[str]) -> str:
        return posixpath.relpath(make_site_uri(resolve_link(uri, match[0])), posixpath.dirname(uri) or ".")

    parts = FENCE.split(markdown)
    return "".join(part if FENCE.match(part) else LINK.sub(replace_link, part) for part in parts)


def resolve_link(uri: str, link: str) -> str:
    """Return the path in the repository that a link on a page leads to."""
    inside = uri.removeprefix(f"{OUTSIDE}/")
    source = inside if inside != uri else f"docs/{uri}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def make_site_uri(path: str) -> str:
    """Return the source URI in the site of a path in the repository. Text that is no Markdown gets a page."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    suffix = posixpath.splitext(path)[1]
    return f"{OUTSIDE}/{path}" + ("" if suffix in IMAGES | {".md"} else ".md")


def make_file(path: str, config: Any) -> File | None:
    """Return the site's file for a path in the repository. None if there is no such file: mkdocs then warns."""
    source = ROOT / path
    if not source.is_file():
        return None
    uri = make_site_uri(path)
    if source.suffix in IMAGES:
        return File.generated(config, uri, abs_src_path=str(source))
    text = source.read_text()
    if source.suffix == ".ipynb":
        text = convert_notebook(json.loads(text))
    elif source.suffix != ".md":
        text = f"# {path}\n\n" + make_fence(text, source.suffix.removeprefix("."))
    return File.generated(config, uri, content=OPTIONS + text, inclusion=InclusionLevel.NOT_IN_NAV)


def convert_notebook(notebook: dict[str, Any]) -> str:
    """Return the cells of a notebook, with their outputs, as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else make_fence(source, "python"))
        parts += [convert_output(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts)


def convert_output(output: dict[str, Any]) -> str:
    """Return the richest form of an output that a page can show."""
    data = {kind: "".join(lines) for kind, lines in output.get("data", {}).items()}
    if "image/png" in data:
        return f'<img alt="Output of the cell above" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/markdown" in data:
        return re.sub(r"^(\|.*)\n(?![|\n])", r"\1\n\n", data["text/markdown"], flags=re.MULTILINE)  # end each table
    if "text/html" in data:
        html = re.sub(r"\n\s*\n", "\n", data["text/html"])  # a blank line would end the block of HTML
        return html.replace(' class="dataframe"', "")  # tables without a class get the theme's style, and scroll
    return make_fence("".join(output.get("text", data.get("text/plain", ""))), "text")


def make_fence(text: str, language: str) -> str:
    """Return text as a block of code."""
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`{3,}", text)), default=2))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"

"""Execute notebooks in place, each in its own folder, as `make notebooks` does: python execute.py a.ipynb b.ipynb."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

QUIET = "--IPKernelApp.log_level=ERROR"  # it would warn that other users of this machine could read along


def execute(path: Path) -> None:
    """Run every cell in a fresh kernel and write the outputs. Raises CellExecutionError, with nothing written."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=[QUIET],
        record_timing=False,
        timeout=300,
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # not the version that it happened to run with
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name))

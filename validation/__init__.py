"""Published numbers checked against runs of this tool: `python -m validation results/reference-papers`.

Not part of the wheel. `docs/papers.md` shows the tables that this package writes, with their explanation.
"""

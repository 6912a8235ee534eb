"""The planner's README: every output in it is what its code prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import jax
import pytest

from artifex_bench.core.versions import untested_jax
from artifex_bench.remat import planner

README = Path(next(iter(planner.__path__))) / "README.md"
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n\n^```text\n(?P<output>.*?)^```$", re.S | re.M)


def run_blocks():
    """Yield each block's output as written, and as its code prints it. Source lines are those of the README."""
    text = README.read_text()
    names: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        lines_before = text[: block.start("code")].count("\n")
        code = compile("\n" * lines_before + block["code"], str(README), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        yield block["output"], re.sub(r" +$", "", printed.getvalue(), flags=re.M)


@pytest.mark.skipif(untested_jax() is not None, reason="jaxprs and peaks may differ on a JAX that was not tested")
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the README's peaks are those of a CPU")
def test_the_outputs_in_the_readme_are_what_its_code_prints():
    blocks = list(run_blocks())
    assert len(blocks) == 8
    for written, printed in blocks:
        assert printed == written


def test_the_readme_names_every_module():
    linked = set(re.findall(r"\]\((\w+)\.py\)", README.read_text()))
    assert linked == {path.stem for path in README.parent.glob("*.py")} - {"__init__"}

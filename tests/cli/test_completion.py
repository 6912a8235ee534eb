"""Shell completion: the completion function that a user sources, in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifex_bench import models, targets
from artifex_bench.cli import main
from artifex_bench.remat.strategies import POLICIES, STRATEGIES
from tests.build import SUITES

# bash splits words at colons and equals signs, and replaces only the last part
LINES = {
    ("run", ""): set(SUITES),
    ("run", "remat", "--preset", ""): set(SUITES["remat"].presets),
    ("run", "remat", "--model", ""): set(models.MODELS),
    ("run", "remat", "--strategy", ""): {name for name in STRATEGIES if "<" not in name} | set(POLICIES),
    ("run", "remat", "--strategy", "none,al"): {"none,all"},
    ("run", "remat", "--strategy", "=", "no"): {"none"},
    ("run", "remat", "--strategy", "segments-2/dots_sav"): {"segments-2/dots_saveable"},
    ("run", "remat", "--dtype", "float32,"): {"float32,bfloat16"},
    ("run", "remat", "--target", ""): {"local", *targets.load_descriptions()},
    ("run", "remat", "--target", "tpu", ":"): {"v4", "v5e", "v5p"},
    ("run", "remat", "--target", "tpu", ":", "v5e,gpu", ":", "b"): {"b200"},
    ("run", "checkpoint", "--format", "auto,orbax-"): {"auto,orbax-v1"},
    ("list", "str"): {"strategies"},
}


@pytest.fixture(scope="module")
def completions(tmp_path_factory):
    """The words that bash offers for each line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "artifex-bench"
    command.write_text(f"#!{sys.executable}\nfrom artifex_bench.cli import main\nmain()\n")
    command.chmod(0o755)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": root}
    script = 'eval "$(_ARTIFEX_BENCH_COMPLETE=bash_source artifex-bench)"\n'
    for line in LINES:
        words = " ".join(f"'{word}'" for word in ("artifex-bench", *line))
        script += f"COMP_WORDS=({words}); COMP_CWORD={len(line)}; COMPREPLY=()\n"
        script += '_artifex_bench_completion artifex-bench; echo "${COMPREPLY[*]}"\n'
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, env=environment, check=True)
    return dict(zip(LINES, map(str.split, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_bash_offers_the_names_that_a_user_can_type(completions, line):
    assert set(completions[line]) >= LINES[line]
    last = "" if line[-1] in (":", "=") else line[-1]
    assert all(word.startswith(last) for word in completions[line])


def test_a_target_in_one_word_is_completed_whole():
    """In a shell whose COMP_WORDBREAKS has no colon."""
    code = "from artifex_bench.cli import main; main(prog_name='artifex-bench')"
    words = {"COMP_WORDS": "artifex-bench run remat --target tpu:v5", "COMP_CWORD": "4"}
    environment = {**os.environ, **words, "_ARTIFEX_BENCH_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["plain,tpu:v5e", "plain,tpu:v5p"]


PAGE = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_documented_line_prints_a_completion_script(shell, completions):
    """After `completions`, which skips where bash is missing: click asks bash for its version."""
    assert f"_ARTIFEX_BENCH_COMPLETE={shell}_source artifex-bench" in PAGE
    code = "from artifex_bench.cli import main; main(prog_name='artifex-bench')"
    environment = {**os.environ, "_ARTIFEX_BENCH_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert f"{shell}_complete" in done.stdout


def test_help_shows_the_line_for_bash():
    shown = CliRunner().invoke(main, ["--help"]).output
    assert 'eval "$(_ARTIFEX_BENCH_COMPLETE=bash_source artifex-bench)"' in shown

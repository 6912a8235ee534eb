"""The site that `asv publish` makes of our benchmarks: its data, and its graphs in a browser."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(__file__).parent / "site" / "node_modules"  # what the site loads from content networks: `npm install`
PEAK = "remat.Transformer.track_peak_bytes"
GIVEN = """

def measured(suite, preset):  # in the place of what is above: given figures, so that nothing is measured
    from artifex_bench.sweep import spec
    figures = {"step_seconds": [(0.25, 0.5), (1.0, 2.0)], "compiled_peak_bytes": 3e7}
    figures |= {"measured_peak_bytes": 3.1e7, "residual_bytes": 1e7}
    found = {}
    for case in spec.expand_preset(suite, preset, {}):
        if (case.strategy, case.depth) != ("none", 4):  # which did not end well
            found.setdefault(case.model, {})[tuple(getattr(case, axis) for axis in AXES)] = figures
    return found
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of one commit, made by `asv run` and `asv publish` in the existing environment, on given figures."""
    home = tmp_path_factory.mktemp("asv")
    project = home / "project"
    for part in ("artifex_bench", "suites"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "asv.conf.json", project)
    views = project / "suites" / "views.py"
    views.write_text(views.read_text() + GIVEN)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}

    def run(*words: str) -> str:
        environment = {**outside, "HOME": str(home), "PYTHONPATH": str(project)}
        done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    git = ("git", "-c", "user.name=tests", "-c", "user.email=tests@example.org")
    run(*git, "init", "--quiet", "--initial-branch", "main")
    run(*git, "add", ".")
    run(*git, "commit", "--quiet", "--message", "benchmarks")
    asv = (sys.executable, "-m", "asv")
    run(*asv, "machine", "--yes", "--machine", "here")
    commit = run("git", "rev-parse", "HEAD")
    environment = f"existing:{sys.executable}"
    run(*asv, "run", "--machine", "here", "--environment", environment, "--set-commit-hash", commit)
    run(*asv, "publish")
    return project / ".asv" / "html"


def test_the_site_names_our_benchmarks_parameters_and_units(site: Path) -> None:
    found = json.loads((site / "index.json").read_text())["benchmarks"]
    peak, step = found[PEAK], found["remat.Mlp.time_step"]
    assert peak["param_names"] == ["strategy", "depth", "batch"]
    assert peak["params"][0] == ["'none'", "'all'", "'dots_with_no_batch_dims_saveable'"]
    assert (peak["unit"], step["unit"]) == ("bytes", "seconds")


def test_its_graphs_hold_the_figures_and_a_gap_where_a_case_did_not_end_well(site: Path) -> None:
    def values(benchmark: str) -> list[float | None]:
        (graph,) = (path for path in site.glob(f"graphs/**/{benchmark}.json") if "summary" not in path.parts)
        ((_, values),) = json.loads(graph.read_text())
        return values

    assert values(PEAK) == [None, 3e7, 3e7]  # a strategy each
    assert values("remat.Mlp.time_step") == [0.9375, 0.9375]  # the median of two processes' medians, 0.375 and 1.5


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where the site is served, with local copies of what it would load from elsewhere."""
    index = (site / "index.html").read_text()
    for url in re.findall(r'(?:<script src|<link rel="stylesheet" href)="(https://[^"]+)"', index):
        name = url.rpartition("/")[2]
        pattern = re.sub(r"-[\d.]+\.min", ".min", name)
        found = next((path for path in SCRIPTS.rglob(pattern)), None) or next(SCRIPTS.rglob(name.replace(".min", "")))
        shutil.copy(found, site / name)
        index = index.replace(url, name)
    (site / "index.html").write_text(re.sub(r' (integrity|crossorigin|referrerpolicy)="[^"]*"', "", index))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.skipif(not SCRIPTS.is_dir(), reason="the site's scripts are not installed: npm install in tests/site")
def test_a_browser_shows_the_list_and_a_graph(address: str) -> None:
    def opened(page: str) -> str:
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=8000",
            "--dump-dom",
        ]
        done = subprocess.run([*command, address + page], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "remat.Mlp.time_step" in opened("#/")
    graph = opened(f"#{PEAK}")
    assert "flot-base" in graph  # the canvas that a graph is drawn on
    assert all(strategy in graph for strategy in ("none", "all", "dots_with_no_batch_dims_saveable"))

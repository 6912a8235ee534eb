"""The site that `asv publish` makes from our benchmarks: its data, and its graphs in a browser."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import statistics
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.views import make_figures
from tests.integrations.conftest import Project
from tests.integrations.fabricated import FAILING, ROOT, sweep

SCRIPTS = ROOT / "tests" / "site" / "node_modules"  # what the site loads from content networks: `npm install`
PEAK = "remat.Transformer.track_peak_bytes"
STEP = "remat.Mlp.time_step"


@pytest.fixture
def site(project: Project) -> Path:
    return project.folder / ".asv" / "html"


def test_the_site_names_our_benchmarks_parameters_and_units(site: Path) -> None:
    benchmarks = json.loads((site / "index.json").read_text())["benchmarks"]
    peak, step = benchmarks[PEAK], benchmarks[STEP]
    assert peak["param_names"] == ["strategy", "depth", "batch"]
    assert peak["params"][0] == ["'none'", "'all'", f"'{FAILING}'"]
    assert (peak["unit"], step["unit"]) == ("bytes", "seconds")


def test_its_graphs_hold_the_measured_numbers_and_a_gap_for_a_case_that_failed(site: Path) -> None:
    def values(benchmark: str) -> list[float | None]:
        (graph,) = (path for path in site.glob(f"graphs/**/{benchmark}.json") if "summary" not in path.parts)
        ((_, values),) = json.loads(graph.read_text())
        return values

    figures = make_figures(sweep())
    rows = {key[0]: row for key, row in figures["transformer"].items()}
    assert values(PEAK) == [rows["none"]["compiled_peak_bytes"], rows["all"]["compiled_peak_bytes"], None]
    for value, row in zip(values(STEP), figures["mlp"].values(), strict=True):
        assert value in [pytest.approx(statistics.median(steps)) for steps in row["step_seconds"]]  # asv run --quick


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where the site is served, with local copies of what it would load from elsewhere."""
    index = (site / "index.html").read_text()
    for url in re.findall(r'(?:<script src|<link rel="stylesheet" href)="(https://[^"]+)"', index):
        name = url.rpartition("/")[2]
        pattern = re.sub(r"-[\d.]+\.min", ".min", name)
        script = next((path for path in SCRIPTS.rglob(pattern)), None) or next(SCRIPTS.rglob(name.replace(".min", "")))
        shutil.copy(script, site / name)
        index = index.replace(url, name)
    (site / "index.html").write_text(re.sub(r' (integrity|crossorigin|referrerpolicy)="[^"]*"', "", index))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

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

    assert STEP in opened("#/")
    graph = opened(f"#{PEAK}")
    assert "flot-base" in graph  # the canvas that a graph is drawn on
    assert all(strategy in graph for strategy in ("none", "all", FAILING))

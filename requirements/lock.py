"""Write the lock files of each Python: its packages, and the compilers that `make aot` adds. `make lock` needs uv.

The documentation site is built by the same packages on every Python.

Python 3.11 gets the oldest supported JAX, because no later one supports that Python. The others get the newest.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
AOT = {"3.11": ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12")}
CUDA13 = ("jax-cuda13-plugin", "jax-cuda13-pjrt", "nvidia-cuda-nvcc")


def resolve_pins(python: str, *arguments: str, text: str | None = None) -> list[str]:
    """Return the lines `name==version` that `uv pip compile` prints for a Python, these arguments and this input."""
    command = [
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--python-version",
        python,
        *arguments,
    ]
    done = subprocess.run(command, cwd=FOLDER.parent, input=text, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "==" in line]


def write_docs_lock() -> None:
    wanted = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    pins = resolve_pins(PYTHONS[0], "--universal", "-", text="\n".join(wanted))
    title = "# Pinned for the documentation site, on every Python: made by `make lock`."
    (FOLDER / "docs.txt").write_text("\n".join([title, *pins, ""]))


def main() -> None:
    write_docs_lock()
    for python in PYTHONS:
        pins = resolve_pins(python, "pyproject.toml", "--extra", "dev", "--extra", "html")
        lock = FOLDER / f"python{python}.txt"
        lock.write_text("\n".join([f"# Pinned for Python {python}: made by `make lock`.", *pins, ""]))
        packages = ("libtpu", *AOT.get(python, CUDA13))
        jax = next(pin for pin in pins if pin.startswith("jax=="))
        version = jax.partition("==")[2]
        exact = (f"{package}=={version}" if package.startswith("jax-") else package for package in packages)
        wanted = "\n".join([f"jax[tpu]=={version}", *exact, *pins])
        resolved = {pin.partition("==")[0]: pin for pin in resolve_pins(python, "-", text=wanted)}
        compilers = [resolved[package] for package in packages]
        title = (
            f"# Pinned for Python {python}: compilers of GPUs and TPUs, which `make aot` installs without dependencies."
        )
        (FOLDER / f"python{python}-aot.txt").write_text("\n".join([title, *compilers, ""]))


if __name__ == "__main__":
    main()

"""Install the pinned dependencies of the Python that runs this, as asv's environments need them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

lock = Path(__file__).parent / f"python{sys.version_info.major}.{sys.version_info.minor}.txt"
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", "-r", str(lock)]))

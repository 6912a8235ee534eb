"""Install the pinned dependencies of the running Python. asv runs this in each environment that it builds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

lock = Path(__file__).parent / f"python{sys.version_info.major}.{sys.version_info.minor}.txt"
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", "-r", str(lock)]))

"""Runs the command in a terminal (a pty) of a given width, and returns what it printed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parents[2]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_in_terminal(*arguments, columns=80, code="from artifex_bench.cli import main; main()", cwd=None):
    """Return (exit code, text without colours) of a command whose output and errors go to a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=cwd, start_new_session=True
    )
    os.close(theirs)
    data = b""
    while True:
        try:
            read = os.read(ours, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            break
        if not read:
            break
        data += read
    os.close(ours)
    return process.wait(), ESCAPES.sub("", data.decode()).replace("\r\n", "\n")

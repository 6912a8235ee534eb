"""Workers forked from the fork server: this side of `fork_server_main.py`."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO

from artifex_bench.execution.fork_server_main import NUMBER, PARENT

MARK = "ARTIFEX_BENCH_FORK_SERVER"  # in the environment of a fork server, and so of all that it starts: which one it is
PATIENCE = 10.0  # seconds for a fork server to end and kill what it has started


class Forked:
    """A worker: its process id and how it ended, as `subprocess.Popen` has them."""

    def __init__(self, fork_server: ForkServer, pid: int):
        self._fork_server, self.pid = fork_server, pid
        self.returncode: int | None = None

    def wait(self) -> int:
        """The exit code, negative for a signal; -SIGKILL as well when the fork server itself was killed."""
        if self.returncode is None:
            answer = self._fork_server.answer()
            self.returncode = -signal.SIGKILL if answer is None else answer
        return self.returncode


class ForkServer:
    """The parent's side. Starts the fork server when it is first needed, or needed again."""

    def __init__(self, environment: Mapping[str, str]):
        self._environment = {**environment, MARK: secrets.token_hex(16)}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._errors: IO[bytes] | None = None
        self._worker: Forked | None = None  # the last

    def fork(self, stdin: int, stdout: int, stderr: int) -> Forked:
        """A worker on those streams (file descriptors). Raises ChildProcessError when the fork server ends first."""
        unheard = self._worker is not None and self._worker.returncode is None  # what waited for it was interrupted
        if self._process is None or self._process.poll() is not None or unheard:
            self._start()
        assert self._socket is not None
        with contextlib.suppress(BrokenPipeError):  # it has only just ended: it will not answer
            socket.send_fds(self._socket, [b"."], [stdin, stdout, stderr])
        pid = self.answer()
        if pid is None:
            said = self._last_line()
            raise ChildProcessError(
                "the process that workers are forked from ended before it could fork one"
                + (f": {said}" if said else "")
            )
        self._worker = Forked(self, pid)
        return self._worker

    def answer(self) -> int | None:
        """The next number from the fork server; None where it is gone."""
        assert self._socket is not None
        with contextlib.suppress(OSError):
            data = self._socket.recv(NUMBER.size, socket.MSG_WAITALL)
            if len(data) == NUMBER.size:
                return int(NUMBER.unpack(data)[0])
        self._kill_all()
        return None

    def _kill_all(self) -> None:
        """Kill the fork server and all that it has started, in any session (Linux)."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and (found := list(_marked(self._environment[MARK]))):
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)  # until they are gone, and what they have forked meanwhile is seen

    def _last_line(self) -> str:
        """The last that the fork server printed: importing JAX prints much that concerns nobody."""
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:500] if lines else ""

    def kill(self) -> None:
        """End the fork server, from any thread; it takes its worker along, and what that has started."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """End the fork server."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # in an import that does not return
                self._process.kill()
                self._process.wait()
                self._kill_all()
        if self._errors is not None:
            self._errors.close()
        self._process = self._socket = self._errors = self._worker = None

    def _start(self) -> None:
        self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "artifex_bench.execution.fork_server_main"],
                stdin=theirs.fileno(),
                stderr=self._errors,
                env={**self._environment, PARENT: str(os.getpid())},
                start_new_session=True,  # so that Ctrl-C reaches the parent alone
            )
        self._socket = ours
        atexit.register(self.close)


def _marked(mark: str) -> Iterator[int]:
    """The processes of that fork server, by the environment they began with; on other systems than Linux none."""
    wanted = f"{MARK}={mark}".encode()
    for name in filter(str.isdigit, os.listdir("/proc") if sys.platform == "linux" else ()):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if wanted in file.read().split(b"\0"):
                yield int(name)

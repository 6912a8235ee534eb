"""The client of the fork server: starts `fork_server_main.py` and asks it for workers."""

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

from artifex_bench.execution.fork_server_main import INTEGER, PARENT_VARIABLE

# In the environment of a fork server, and so of every process it starts: identifies the fork server.
ID_VARIABLE = "ARTIFEX_BENCH_FORK_SERVER"
EXIT_SECONDS = 10.0  # time that a fork server gets to exit and to kill the processes it has started


class ForkedWorker:
    """A worker, with the part of `subprocess.Popen`'s interface that executors use.

    Attributes:
        pid: The worker's process id. It is also the id of the worker's process group.
        returncode: The exit code, negative for a signal; None until `wait` has returned.
    """

    def __init__(self, fork_server: ForkServer, pid: int):
        """Represent a worker that the fork server has started."""
        self._fork_server, self.pid = fork_server, pid
        self.returncode: int | None = None

    def wait(self) -> int:
        """Wait for the worker to end.

        Returns:
            The exit code, negative for a signal. It is -SIGKILL as well if the fork server itself was killed.
        """
        if self.returncode is None:
            code = self._fork_server.read_integer()
            self.returncode = -signal.SIGKILL if code is None else code
        return self.returncode


class ForkServer:
    """A fork server, started when the first worker is asked for, and again if it has exited.

    A fork server runs one worker at a time. Use one per thread.
    """

    def __init__(self, environment: Mapping[str, str]):
        """Set the environment variables of the fork server and its workers. Starts nothing."""
        self._environment = {**environment, ID_VARIABLE: secrets.token_hex(16)}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._errors: IO[bytes] | None = None
        self._last_worker: ForkedWorker | None = None

    def start_worker(self, stdin: int, stdout: int, stderr: int) -> ForkedWorker:
        """Start a worker.

        Args:
            stdin: File descriptor that becomes the worker's standard input.
            stdout: File descriptor that becomes the worker's standard output.
            stderr: File descriptor that becomes the worker's standard error.

        Raises:
            ChildProcessError: The fork server exited before it could start the worker.
        """
        # An interrupted caller may not have read the exit code of the last worker: it must not be taken for the next.
        unread = self._last_worker is not None and self._last_worker.returncode is None
        if self._process is None or self._process.poll() is not None or unread:
            self._start()
        assert self._socket is not None
        with contextlib.suppress(BrokenPipeError):  # it has just exited: `read_integer` notices
            socket.send_fds(self._socket, [b"."], [stdin, stdout, stderr])
        pid = self.read_integer()
        if pid is None:
            error = self._read_last_error()
            raise ChildProcessError(
                "the fork server exited before it could start a worker" + (f": {error}" if error else "")
            )
        self._last_worker = ForkedWorker(self, pid)
        return self._last_worker

    def read_integer(self) -> int | None:
        """Wait for the next integer from the fork server: a process id or an exit code. None if it has exited."""
        assert self._socket is not None
        with contextlib.suppress(OSError):
            data = self._socket.recv(INTEGER.size, socket.MSG_WAITALL)
            if len(data) == INTEGER.size:
                return int(INTEGER.unpack(data)[0])
        self._kill_descendants()
        return None

    def _kill_descendants(self) -> None:
        """Kill the fork server and every process that it has started, in any session (Linux)."""
        end = time.monotonic() + EXIT_SECONDS
        while time.monotonic() < end and (pids := list(_find_descendants(self._environment[ID_VARIABLE]))):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)  # then look again: they may have forked before they died

    def _read_last_error(self) -> str:
        """Return the last line that the fork server printed. Importing JAX prints many others that do not matter."""
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:500] if lines else ""

    def kill(self) -> None:
        """End the fork server, its worker, and the processes that the worker started. Callable from any thread."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """End the fork server, wait for it, and release its resources. Ctrl-C while it waits kills it at once."""
        if self._socket is not None:
            self._socket.close()
        try:
            if self._process is not None:
                self._process.terminate()
                self._process.wait(EXIT_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:  # the first: an import does not return
            assert self._process is not None
            self._process.kill()
            self._process.wait()
            self._kill_descendants()
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            if self._errors is not None:
                self._errors.close()
            self._process = self._socket = self._errors = self._last_worker = None

    def _close_at_exit(self) -> None:
        """Close, without the traceback that Python prints if Ctrl-C interrupts its exit."""
        with contextlib.suppress(KeyboardInterrupt):
            self.close()

    def _start(self) -> None:
        self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "artifex_bench.execution.fork_server_main"],
                stdin=theirs.fileno(),
                stderr=self._errors,
                env={**self._environment, PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,  # so that Ctrl-C reaches the parent alone
            )
        self._socket = ours
        atexit.register(self._close_at_exit)


def _find_descendants(fork_server_id: str) -> Iterator[int]:
    """Yield the processes of a fork server, found by the environment they started with. Linux only."""
    wanted = f"{ID_VARIABLE}={fork_server_id}".encode()
    for name in filter(str.isdigit, os.listdir("/proc") if sys.platform == "linux" else ()):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if wanted in file.read().split(b"\0"):
                yield int(name)

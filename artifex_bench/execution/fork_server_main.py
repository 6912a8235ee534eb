"""The fork server: a process that imports JAX, does not initialize it, and forks a fresh worker for every job.

Importing JAX and flax takes seconds. A fork takes milliseconds. The fork server starts no backend and no thread,
because an initialized JAX cannot be forked. A worker therefore begins like a new process: its peak memory and its
caches are its own.

The parent holds the other end of the socket on standard input. Each message carries the worker's three standard
streams as file descriptors. The fork server answers with two integers: the worker's process id when it has started,
and its exit code when it has ended (negative for a signal).

No process that a worker starts outlives the worker. On Linux the fork server adopts the worker's orphans, in any
session or process group, and kills them before it sends the exit code. On other systems the parent kills only the
worker's process group. If the fork server itself is killed, the parent finds its descendants by their environment
(Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import struct
import sys

PARENT_VARIABLE = "ARTIFEX_BENCH_PARENT"  # holds the process id of the parent
INTEGER = struct.Struct("!i")  # how answers are encoded
_STREAMS = 3


def main() -> None:
    """Import the packages that workers need, then fork one worker per message until the parent exits."""
    signal.signal(signal.SIGTERM, lambda *_: _exit())
    adopt_orphans()
    die_with_parent(int(os.environ[PARENT_VARIABLE]), signal.SIGTERM)
    gc.disable()  # nothing imported here is ever freed, so collecting would only cost time
    preload_modules()
    gc.freeze()
    gc.enable()
    with socket.socket(fileno=0) as parent:
        while True:
            message, streams, _, _ = socket.recv_fds(parent, 1, _STREAMS)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                _run_worker(parent, streams)
            with contextlib.suppress(OSError):  # in both processes: the group must exist before the id is sent
                os.setpgid(pid, pid)
            for stream in streams:
                os.close(stream)
            parent.sendall(INTEGER.pack(pid))
            _, status = os.waitpid(pid, 0)
            kill_children()
            parent.sendall(INTEGER.pack(os.waitstatus_to_exitcode(status)))


def preload_modules() -> None:
    """Import JAX, every kind and the measurement of a step once, so that no worker has to."""
    import flax.nnx  # noqa: F401
    import jax  # noqa: F401
    import optax  # noqa: F401

    from artifex_bench.core.registry import KINDS, load_kind
    from artifex_bench.execution import worker  # noqa: F401
    from artifex_bench.remat.measure import stages  # noqa: F401

    for name in KINDS:  # a worker needs its kind to read its job
        load_kind(name)


def _run_worker(parent: socket.socket, streams: list[int]) -> None:
    from artifex_bench.execution import worker

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    fork_server = os.getppid()
    os.setpgid(0, 0)  # its own process group, so that one kill ends everything that it starts
    parent.detach()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        if stream >= _STREAMS:
            os.close(stream)
    die_with_parent(fork_server)
    try:
        worker.main()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)  # `worker.main` exits by itself if all goes well


def die_with_parent(parent: int, signal_number: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to send this process a signal when its parent dies. Exit if the parent has died already.

    Args:
        parent: The expected process id of the parent.
        signal_number: The signal to send.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal_number)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the process that started this measurement has exited")


def adopt_orphans() -> None:
    """Ask Linux to make this process the parent of every descendant whose own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def kill_children() -> None:
    """Kill every child of this process, and the children that it adopts as they die (Linux).

    A child that runs as another user cannot be killed, and is left running.
    """
    while killed := list(filter(_kill, _list_children())):
        for child in killed:
            os.waitpid(child, 0)  # its own children are this process's from then on


def _kill(child: int) -> bool:
    try:
        os.kill(child, signal.SIGKILL)
    except PermissionError:
        return False
    return True


def _list_children() -> list[int]:
    """Return the ids of this process's children. Empty on systems without /proc."""
    children = []
    for name in filter(str.isdigit, os.listdir("/proc") if sys.platform == "linux" else ()):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                children.append(int(name))
    return children


def _exit() -> None:
    """Exit, after killing the worker and every process that it has started."""
    kill_children()
    os._exit(1)


if __name__ == "__main__":
    main()

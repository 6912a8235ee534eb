"""A process that has imported JAX but not started it, and forks a fresh worker for every job.

Importing JAX and flax takes seconds; a fork takes milliseconds. The fork server starts no backend and no thread (a
started JAX cannot be forked), so a worker begins as a newly started process would: its peaks and caches are its own.

The parent holds the other end of the socket on standard input. Each message brings the worker's three standard
streams as file descriptors; the answers are the worker's process id, then its exit code (negative: the signal).

Nothing that a worker starts outlives it. On Linux the fork server adopts what a worker leaves behind, in whatever
session or group it is, and kills it before it answers. Elsewhere the parent kills only the worker's own group. If the
fork server itself is killed, the parent finds what it left by its environment (Linux).
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

PARENT = "ARTIFEX_BENCH_PARENT"
NUMBER = struct.Struct("!i")
_STREAMS = 3


def main() -> None:
    """Import what workers need, then fork one for each message until the parent is gone."""
    signal.signal(signal.SIGTERM, lambda *_: _leave())
    adopt_orphans()
    die_with_parent(int(os.environ[PARENT]), signal.SIGTERM)
    gc.disable()  # nothing that is imported here is ever collected: looking for garbage among it is wasted
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
                _become_worker(parent, streams)
            with contextlib.suppress(OSError):  # here as well as there: it must be so before the id is known
                os.setpgid(pid, pid)
            for stream in streams:
                os.close(stream)
            parent.sendall(NUMBER.pack(pid))
            _, status = os.waitpid(pid, 0)
            kill_children()
            parent.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def preload_modules() -> None:
    """Import what workers need, so that none of them imports it anew: JAX, every kind, the measurement of a step."""
    import flax.nnx  # noqa: F401
    import jax  # noqa: F401
    import optax  # noqa: F401

    from artifex_bench.core.registry import KINDS, load_kind
    from artifex_bench.execution import worker  # noqa: F401
    from artifex_bench.remat.measure import stages  # noqa: F401

    for name in KINDS:  # a worker needs its kind to read its job
        load_kind(name)


def _become_worker(parent: socket.socket, streams: list[int]) -> None:
    from artifex_bench.execution import worker

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    fork_server = os.getppid()
    os.setpgid(0, 0)  # a group of its own, so that a kill takes all that it starts
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
    os._exit(1)  # a worker that ends well exits by itself


def die_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to kill this process, by that signal, when its parent dies, and see that it has not died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, by)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the process that asked for this measurement is gone")


def adopt_orphans() -> None:
    """Ask Linux to make this process the parent of every descendant whose own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def kill_children() -> None:
    """Kill every child of this process, and those that it adopts as they die, until there is none (Linux).

    One that runs as another user cannot be killed, and is left.
    """
    while killed := list(filter(_kill, _children())):
        for child in killed:
            os.waitpid(child, 0)  # its own children are this process's from then on


def _kill(child: int) -> bool:
    try:
        os.kill(child, signal.SIGKILL)
    except PermissionError:
        return False
    return True


def _children() -> list[int]:
    """The processes whose parent this one is; on other systems than Linux, which do not tell, none."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc") if sys.platform == "linux" else ()):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                found.append(int(name))
    return found


def _leave() -> None:
    """End, and take along the worker and all that it has started."""
    kill_children()
    os._exit(1)


if __name__ == "__main__":
    main()

"""Orbax: background writes, failed saves and failed reads.

Tested on orbax-checkpoint 0.12.8.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
H = TypeVar("H")


def commit_future(writing: Coroutine[Any, Any, None], name: str) -> Any:
    """Return Orbax's future of a handler that writes in the background, so that the commit waits for it."""
    from orbax.checkpoint import future

    return future.CommitFutureAwaitingContractedSignals(writing, name=name)


def settle_failed_save(manager: Any) -> None:
    """Wait until Orbax writes nothing more of a failed save, and drop the save's further errors.

    Orbax raises a failure of the metadata while its threads still write the arrays. It would raise a failure of those
    threads as an error of the next save.
    """
    for _ in ("the arrays", "the metadata"):
        with suppress(Exception):
            manager._wait_for_checkpointers()


@functools.cache
def finish_failed_reads() -> None:
    """Make every failed Orbax call of this process wait for its pending reads before it raises.

    Orbax closes its event loop at the first error. TensorStore's threads then report the other reads to a closed loop,
    and each prints "Event loop is closed" to standard error. `asyncio_utils.run_sync` runs every call. Fallback
    without it: nothing is changed.
    """
    from orbax.checkpoint._src import asyncio_utils

    run_sync = getattr(asyncio_utils, "run_sync", None)
    if run_sync is not None:
        asyncio_utils.run_sync = lambda coroutine: run_sync(_wait_for_all_tasks(coroutine))


def finish_reads_of(handler: H) -> H:
    """Make the failed reads of one Orbax handler of trees wait as `finish_failed_reads` does.

    `_handler_impl` reads the arrays by `_maybe_deserialize`. Fallback without them: nothing is changed.

    Returns:
        The same handler.
    """
    reader = getattr(handler, "_handler_impl", None)
    read = getattr(reader, "_maybe_deserialize", None)
    if read is not None:
        vars(reader)["_maybe_deserialize"] = lambda *arguments: _wait_for_all_tasks(read(*arguments))
    return handler


async def _wait_for_all_tasks(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return or raise what the coroutine does, once every task that it created is done."""
    tasks: list[asyncio.Task[Any]] = []  # asyncio itself keeps weak references only

    def create_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        tasks.append(asyncio.Task(coroutine, loop=loop, **options))
        return tasks[-1]

    asyncio.get_running_loop().set_task_factory(create_task)
    try:
        return await coroutine
    except BaseException:
        while pending := [task for task in tasks if not task.done()]:
            await asyncio.wait(pending)
        for task in tasks:
            task.cancelled() or task.exception()  # asyncio prints exceptions that are never retrieved
        raise

"""Worker processes that end with the process that started them, however that ended."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def pool(
    workers: int,
    *,
    method: str | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> ProcessPoolExecutor:
    """Return a pool whose workers leave when their parent is gone.

    Workers of a plain `ProcessPoolExecutor` wait for ever, with all their memory, once their parent was killed.

    Args:
        workers: how many processes.
        method: how they are started ("spawn", "forkserver", "fork"), the platform's default if None.
        initializer: called once in each worker with `initargs`.
    """
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(initializer, initargs))


def _begin(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # true of every process that multiprocessing started
    parent.join()
    os._exit(1)

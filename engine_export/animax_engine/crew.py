"""Gradients by several processes of one thread each, which meet once a step.

On two cores, threads that share every operation wait for each other some thousand times a step; processes that share a
batch wait once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch import multiprocessing as mp

PATIENCE = 1800.0
"""Seconds to wait for the others: the first step compiles."""
PARTING = 5.0
"""Seconds that the others have to end by themselves."""

Backward = Callable[[], object]
"""Leaves the gradients of a fresh batch in the module's parameters."""


class Crew:
    """``count`` processes that compute gradients of one module beside this one. They end with the context that this is,
    or with this process, however that ends.

    Args:
        count: processes beside this one; 0 for none.
        module: its parameters move to shared memory; whoever changes them does so between ``finish`` and ``begin``.
        build: called in each process with the module and the process's number from 1; gives an iterator that, each time
            it is asked, leaves gradients of a fresh batch in the module's parameters. Must be picklable.

    Raises:
        RuntimeError: a process died (``begin``, ``finish``).
    """

    def __init__(self, count: int, module: nn.Module, build: Callable[[nn.Module, int], Iterator[object]]) -> None:
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._gradients = [[torch.zeros_like(p).share_memory_() for p in self._parameters] for _ in range(count)]
        context = mp.get_context("spawn")
        self._start, self._done = context.Barrier(count + 1), context.Barrier(count + 1)
        self._stop = context.Event()
        if count:
            module.share_memory()
        self._processes: list[multiprocessing.process.BaseProcess] = []
        try:
            for number, gradients in enumerate(self._gradients, start=1):
                process = context.Process(
                    target=_work,
                    args=(module, gradients, build, number, self._start, self._done, self._stop),
                    daemon=True,
                )
                process.start()
                self._processes.append(process)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Let the others compute, on the parameters as they are."""
        self._meet(self._start)

    def finish(self) -> list[Tensor | None]:
        """Wait for the others and take this process's gradients too: the mean by parameter, in fp32. Clears them."""
        self._meet(self._done)
        mean: list[Tensor | None] = []
        for i, parameter in enumerate(self._parameters):
            gradient = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
            for others in self._gradients:
                gradient = others[i].float() if gradient is None else gradient.add_(others[i])
            mean.append(gradient if gradient is None or not self._gradients else gradient / (1 + len(self._gradients)))
        return mean

    def close(self) -> None:
        """End the processes; those that do not are killed."""
        self._stop.set()
        self._start.abort()
        self._done.abort()
        until = time.monotonic() + PARTING
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()

    def _meet(self, barrier: mp.synchronize.Barrier) -> None:
        if self._processes:
            try:
                barrier.wait(PATIENCE)
            except threading.BrokenBarrierError:
                raise RuntimeError("a process that computes gradients died or hung") from None


def _work(
    module: nn.Module,
    gradients: Sequence[Tensor],
    build: Callable[[nn.Module, int], Iterator[object]],
    number: int,
    start: mp.synchronize.Barrier,
    done: mp.synchronize.Barrier,
    stop: mp.synchronize.Event,
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the first process says when it is over
        signal.signal(ignored, signal.SIG_IGN)
    torch.set_num_threads(1)
    parameters = [p for p in module.parameters() if p.requires_grad]
    try:
        steps = build(module, number)
        while True:
            start.wait(PATIENCE)
            next(steps)
            for gradient, parameter in zip(gradients, parameters, strict=True):
                if parameter.grad is None:
                    gradient.zero_()
                else:
                    gradient.copy_(parameter.grad)
                parameter.grad = None
            done.wait(PATIENCE)
    except threading.BrokenBarrierError:
        if not stop.is_set():
            raise
    finally:
        start.abort()
        done.abort()


def _end_with_parent() -> None:
    """Wait for the first process to end, killed perhaps, and end this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

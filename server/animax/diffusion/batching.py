"""Step-level continuous batching: requests that denoise at the same time share network calls.

Every denoising step of every request is one call of the batcher. What waits when the network becomes free goes into its
next call together; so requests join and leave between steps, and nobody waits for another's clip to end.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition

import numpy as np

from animax.diffusion.sampler import Denoiser, Latents

RETURN_SHARE = 0.25
"""How long the network waits for those whose step it has just done together, as a share of that step: they come back
within moments, and without a pause one of them would always find the others gone."""


@dataclass(eq=False)
class _Sample:
    """One sample of one call: its inputs with a batch size of one, and what will come out."""

    call: object
    inputs: tuple[Latents, ...]
    outputs: Future[tuple[Latents, Latents]] = field(default_factory=Future)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [array.shape for array in self.inputs]


class StepBatcher:
    """A ``Denoiser`` that many threads call and that runs another one on what they bring together.

    Samples are taken first come, first served, and a caller has one call pending at most. Hence nobody starves: with S
    samples pending, a step starts after at most ceil(S / (lanes · max_batch)) rounds of network calls. Memory is
    bounded by the callers' own inputs and ``lanes`` network calls of ``max_batch`` samples. With one caller there is no
    pause at all.

    Nothing needs to be closed: the threads end with the object.

    Args:
        denoiser: the network; called from several threads with more than one lane.
        max_batch: samples in one network call. With 1, a result does not depend on who else is there, to the bit.
        lanes: network calls at the same time. What waits is shared out evenly among them.

    Attributes:
        batch_sizes: network calls so far, by number of samples.
    """

    def __init__(self, denoiser: Denoiser, max_batch: int, lanes: int = 1) -> None:
        self.max_batch = max_batch
        self.lanes = lanes
        self.batch_sizes: Counter[int] = Counter()
        self._denoiser = denoiser
        self._waiting: deque[_Sample] = deque()
        self._changed = Condition()
        self._busy = 0
        self._threads = ThreadPoolExecutor(lanes, "animax-engine")

    def __call__(
        self,
        rgb: Latents,
        pose: Latents,
        template_rgb: Latents,
        template_pose: Latents,
        sigma: Latents,
        text: Latents,
        rays: Latents,
        clock: Latents | None = None,
        plan: Latents | None = None,
    ) -> tuple[Latents, Latents]:
        """See ``Denoiser``. An error of the network reaches those whom it concerns and nobody else."""
        arrays = [rgb, pose, template_rgb, template_pose, sigma, text, rays]
        arrays += [array for array in (clock, plan) if array is not None]  # there is no plan without a clock
        call = object()
        samples = [_Sample(call, tuple(array[i : i + 1] for array in arrays)) for i in range(len(pose))]
        with self._changed:
            self._waiting.extend(samples)
            woken = min(self.lanes - self._busy, len(samples))
            self._busy += woken
            self._changed.notify_all()
        for _ in range(woken):
            self._threads.submit(self._serve)
        made = [sample.outputs.result() for sample in samples]
        return np.concatenate([rgb for rgb, _ in made]), np.concatenate([pose for _, pose in made])

    def _serve(self) -> None:
        """One lane: run network calls until nothing waits."""
        size, pause = 0, 0.0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait_for(lambda size=size: len(self._waiting) >= size, pause)  # type: ignore[misc]
                batch = self._take()
                if not batch:
                    self._busy -= 1
                    return
                self.batch_sizes[len(batch)] += 1
            began = time.monotonic()
            self._run(batch)
            size, shared = len(batch), batch[0].call is not batch[-1].call
            pause = RETURN_SHARE * (time.monotonic() - began) if shared else 0.0
            del batch

    def _take(self) -> list[_Sample]:
        """The next network call: the sample that waits longest, and those behind it that are shaped alike."""
        room = min(self.max_batch, math.ceil(len(self._waiting) / self.lanes))
        batch: list[_Sample] = []
        passed: list[_Sample] = []
        while self._waiting and len(batch) < room:
            sample = self._waiting.popleft()
            (batch if not batch or sample.shapes == batch[0].shapes else passed).append(sample)
        self._waiting.extendleft(reversed(passed))
        return batch

    def _run(self, batch: Sequence[_Sample]) -> None:
        try:
            inputs = [np.concatenate(arrays) for arrays in zip(*(sample.inputs for sample in batch), strict=True)]
            rgb, pose = self._denoiser(*inputs)
        except Exception as error:
            if len(batch) == 1:
                batch[0].outputs.set_exception(error)
            for sample in batch if len(batch) > 1 else ():
                self._run([sample])  # one alone may fit into memory, or be the only one at fault
            return
        for i, sample in enumerate(batch):
            sample.outputs.set_result((rgb[i : i + 1], pose[i : i + 1]))

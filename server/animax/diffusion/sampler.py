"""Sampling: rectified flow from noise to joint video-pose latents, with guidance and continuation.

z_σ = (1 − σ) x + σ ε,   dz/dσ = ε − x = (z − x̂) / σ,   from σ = 1 to 0 in a few steps
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from animax.errors import Cancelled, GenerationError, OptionError

Latents = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sample:
    """Latents of one clip.

    Attributes:
        rgb: (V, F, 3, H, W).
        pose: (V, F, C, h, w).
    """

    rgb: Latents
    pose: Latents

    @property
    def frames(self) -> int:
        """F."""
        return int(self.pose.shape[1])

    def __getitem__(self, frames: slice) -> Sample:
        return Sample(self.rgb[:, frames], self.pose[:, frames])


@dataclass(frozen=True, eq=False)
class Condition:
    """What a clip is generated for.

    Attributes:
        rgb: (V, 3, H, W) latents of the template views.
        pose: (V, C, h, w) latents of the template pose maps.
        channels: (C,) True where a channel is in use; the others stay zero.
        rays: (V, 6, h, w) Plücker rays.
        text: (T, width) states of the prompt.
    """

    rgb: Latents
    pose: Latents
    channels: NDArray[np.bool_]
    rays: Latents
    text: Latents


class Denoiser(Protocol):
    """One call of the network on a batch: see ``VideoPoseTransformer.forward``."""

    def __call__(
        self,
        rgb: Latents,
        pose: Latents,
        template_rgb: Latents,
        template_pose: Latents,
        sigma: Latents,
        text: Latents,
        rays: Latents,
    ) -> tuple[Latents, Latents]:
        """The clean latents (rgb, pose) that the network predicts."""


@dataclass(frozen=True)
class Schedule:
    """How a window of frames is sampled.

    Attributes:
        steps: network calls.
        guidance: weight of the prompt; 1 leaves guidance out and halves the cost.
        shift: how much of the steps is spent at high noise; 1 spaces noise levels evenly.
        frames: F of a window.
        patch: frames of a time slot; the first slot holds one.
        history: slots that a following window takes over from the one before.
    """

    steps: int
    guidance: float
    shift: float = 3.0
    frames: int = 33
    patch: int = 4
    history: int = 3

    def sigmas(self) -> NDArray[np.float64]:
        """(steps + 1,) noise levels from 1 to 0."""
        even = np.linspace(1.0, 0.0, self.steps + 1)
        return self.shift * even / (1 + (self.shift - 1) * even)

    @property
    def history_frames(self) -> int:
        """Frames that a following window takes over."""
        return 1 + (self.history - 1) * self.patch

    def windows(self, frames: int) -> int:
        """Windows needed for ``frames``."""
        if frames <= self.frames:
            return 1
        fresh = self.frames - self.history_frames
        if fresh < 1:
            raise OptionError("history", self.history, f"fewer slots than a window of {self.frames} frames holds")
        return 1 - (self.frames - frames) // fresh


def sample(
    denoiser: Denoiser,
    condition: Condition,
    frames: int,
    seed: int,
    schedule: Schedule,
    *,
    on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Sample:
    """Latents of ``frames`` frames; what is longer than a window goes on from the clean end of the one before.

    Args:
        denoiser: the network.
        condition: what to generate for.
        frames: length of the clip.
        seed: of the noise.
        schedule: see ``Schedule``.
        on_step: called with the step just done (from 1) and the steps in all.
        should_stop: asked before every step.

    Raises:
        Cancelled: ``should_stop`` said so.
        GenerationError: the network gave a number that is not finite.
    """
    windows = schedule.windows(frames)
    random = np.random.Generator(np.random.PCG64(seed))
    clip: Sample | None = None
    for window in range(windows):
        history = clip[-schedule.history_frames :] if clip is not None else None

        def report(step: int, done: int = window * schedule.steps) -> None:
            if on_step is not None:
                on_step(done + step, windows * schedule.steps)

        made = _sample_window(denoiser, condition, history, random, schedule, report, should_stop)
        if clip is None:
            clip = made
        else:
            fresh = made[schedule.history_frames :]
            clip = Sample(
                np.concatenate([clip.rgb, fresh.rgb], axis=1), np.concatenate([clip.pose, fresh.pose], axis=1)
            )
    assert clip is not None
    return clip[:frames]


def _sample_window(
    denoiser: Denoiser,
    condition: Condition,
    history: Sample | None,
    random: np.random.Generator,
    schedule: Schedule,
    report: Callable[[int], None],
    should_stop: Callable[[], bool] | None,
) -> Sample:
    views = len(condition.pose)
    given = 0 if history is None else schedule.history_frames
    slots = 1 + (schedule.frames - 1) // schedule.patch
    noisy_slots = np.arange(slots) >= (0 if history is None else schedule.history)
    used = condition.channels[:, None, None].astype(np.float32)
    rgb = random.standard_normal((views, schedule.frames, *condition.rgb.shape[1:]), np.float32)
    pose = random.standard_normal((views, schedule.frames, *condition.pose.shape[1:]), np.float32)
    z = Sample(rgb, pose)
    sigmas = schedule.sigmas()
    predict = _guided(denoiser, condition, schedule.guidance)
    for step, (now, after) in enumerate(pairwise(sigmas), start=1):
        if should_stop is not None and should_stop():
            raise Cancelled(f"cancelled before denoising step {step} of {schedule.steps}")
        if history is not None:
            z.rgb[:, :given], z.pose[:, :given] = history.rgb, history.pose
        clean = predict(z, (noisy_slots * now).astype(np.float32))
        if not (np.isfinite(clean.pose).all() and np.isfinite(clean.rgb).all()):
            raise GenerationError(f"the network gave numbers that are not finite at step {step}; accepted: finite ones")
        keep, move = np.float32(after / now), np.float32(1 - after / now)
        z = Sample(keep * z.rgb + move * clean.rgb, keep * z.pose + move * clean.pose)
        report(step)
    if history is not None:
        z.rgb[:, :given], z.pose[:, :given] = history.rgb, history.pose
    return Sample(z.rgb, z.pose * used)


def _guided(denoiser: Denoiser, condition: Condition, guidance: float) -> Callable[[Sample, Latents], Sample]:
    """The prediction with classifier-free guidance: x̂ = x̂₀ + guidance · (x̂_prompt − x̂₀), both in one batch."""
    batch = 1 if guidance == 1.0 else 2
    text = np.stack([condition.text, np.zeros_like(condition.text)][:batch])

    def repeated(array: Latents) -> Latents:
        return np.repeat(array[None], batch, axis=0)

    fixed = [repeated(array) for array in (condition.rgb, condition.pose, condition.rays)]

    def predict(z: Sample, sigma: Latents) -> Sample:
        rgb, pose = denoiser(repeated(z.rgb), repeated(z.pose), fixed[0], fixed[1], repeated(sigma), text, fixed[2])
        if batch == 1:
            return Sample(rgb[0], pose[0])
        weight = np.float32(guidance)
        return Sample(rgb[1] + weight * (rgb[0] - rgb[1]), pose[1] + weight * (pose[0] - pose[1]))

    return predict

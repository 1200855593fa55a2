"""Sampling: rectified flow from noise to joint video-pose latents, with guidance, continuation and control.

z_σ = (1 − σ) x + σ ε,   dz/dσ = ε − x = (z − x̂) / σ,   from σ = 1 to 0 in a few steps

What is given of x (history, pinned poses, joints that follow another motion) replaces z before every step: clean, with
σ = 0, where a whole time slot is given, at the noise level of the rest elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from animax.errors import Cancelled, GenerationError, OptionError

Latents = NDArray[np.float32]
IntArray = NDArray[np.int64]


TURN = 0.381966
"""Part of a loop that each step turns on from the one before: the golden section, so that no place comes back soon."""


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

    def __getitem__(self, frames: slice | IntArray) -> Sample:
        return Sample(self.rgb[:, frames], self.pose[:, frames])

    def then(self, other: Sample) -> Sample:
        """This, and ``other`` after it."""
        return Sample(np.concatenate([self.rgb, other.rgb], axis=1), np.concatenate([self.pose, other.pose], axis=1))


@dataclass(frozen=True, eq=False)
class Known:
    """What is given of a clip's latents.

    Attributes:
        latents: (V, F, ...) values; those that are not given do not matter.
        rgb: (F,) True where a frame's pictures are given.
        pose: (F, C) True where a frame's pose map is given, by channel.
    """

    latents: Sample
    rgb: NDArray[np.bool_]
    pose: NDArray[np.bool_]

    def __getitem__(self, frames: slice | IntArray) -> Known:
        return Known(self.latents[frames], self.rgb[frames], self.pose[frames])

    def whole(self, channels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(F,) True where all of a frame is given."""
        whole: NDArray[np.bool_] = self.rgb & np.all(self.pose | ~channels, axis=1)
        return whole

    def over(self, z: Sample) -> Sample:
        """``z`` with what is given in its place."""
        rgb, pose = self.rgb[:, None, None, None], self.pose[..., None, None]
        return Sample(np.where(rgb, self.latents.rgb, z.rgb), np.where(pose, self.latents.pose, z.pose))


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

    @property
    def slots(self) -> IntArray:
        """(F,) time slot of each frame of a window."""
        return (np.arange(self.frames) + self.patch - 1) // self.patch


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of a clip that is sampled at once.

    Attributes:
        begin: first new frame.
        end: one past the last frame that is kept.
        history: frames before ``begin`` that are taken over.
        text: (T, width) states of the prompt.
    """

    begin: int
    end: int
    history: int
    text: Latents


def plan(
    frames: int, schedule: Schedule, text: Latents, changes: Sequence[tuple[int, Latents]] = (), *, even: bool = False
) -> list[Window]:
    """The windows of a clip: one after another, a new one at every change of the prompt.

    Args:
        frames: of the clip.
        schedule: see ``Schedule``.
        text: states of the first prompt.
        changes: first frame and states of every later prompt, by rising frame.
        even: share the frames out evenly over the windows, so that the last one has room to arrive at a pinned pose.
    """
    out: list[Window] = []
    stretches = [(0, text), *((at, states) for at, states in changes if 0 < at < frames)]
    ends = [at for at, _ in stretches[1:]] + [frames]
    for (begin, states), end in zip(stretches, ends, strict=True):
        while begin < end:
            slots = min(schedule.history, 1 + (begin - 1) // schedule.patch) if begin else 0
            history = 1 + (slots - 1) * schedule.patch if slots else 0
            fresh = schedule.frames - history
            if fresh < 1:
                raise OptionError("history", schedule.history, f"fewer slots than a window of {schedule.frames} frames")
            left = end - begin
            if even and left > fresh:
                full = schedule.frames - schedule.history_frames
                more = -((fresh - left) // full)
                fresh = max(-(-left // (1 + more)), left - more * full)
            out.append(Window(begin, min(begin + fresh, end), history, states))
            begin += fresh
    return out


def sample(
    denoiser: Denoiser,
    condition: Condition,
    frames: int,
    seed: int,
    schedule: Schedule,
    *,
    known: Known | None = None,
    changes: Sequence[tuple[int, Latents]] = (),
    loop: bool = False,
    on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Sample:
    """Latents of ``frames`` frames; what is longer than a window goes on from the clean end of the one before.

    Args:
        denoiser: the network.
        condition: what to generate for.
        frames: length of the clip; of a loop, its period.
        seed: of the noise.
        schedule: see ``Schedule``.
        known: what is given of the clip, F frames; the result has it unchanged.
        changes: first frame and text states of every later prompt, by rising frame.
        loop: the frame after the last is the first (see ``_sample_loop``).
        on_step: called with the step just done (from 1) and the steps in all.
        should_stop: asked before every step.

    Raises:
        Cancelled: ``should_stop`` said so.
        GenerationError: the network gave a number that is not finite.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    if loop:
        return _sample_loop(denoiser, condition, frames, random, schedule, known, on_step, should_stop)
    pinned = known is not None and bool(known.whole(condition.channels)[1:].any())
    windows = plan(frames, schedule, condition.text, changes, even=pinned)
    clip: Sample | None = None
    for number, window in enumerate(windows):

        def report(step: int, done: int = number * schedule.steps) -> None:
            if on_step is not None:
                on_step(done + step, len(windows) * schedule.steps)

        made = sample_window(
            denoiser,
            replace(condition, text=window.text),
            given_of(window, clip, known, schedule, condition),
            random,
            schedule,
            report,
            should_stop,
        )
        kept = made[window.history : window.history + window.end - window.begin]
        clip = kept if clip is None else clip.then(kept)
    assert clip is not None
    return clip


def given_of(
    window: Window,
    clip: Sample | None,
    known: Known | None,
    schedule: Schedule,
    condition: Condition,
    *,
    hold: bool = True,
) -> Known | None:
    """What is given of a window: its history, the last frames of ``clip``, and its part of ``known``.

    With ``hold``, the last frame of ``known`` holds beyond its end if it is given whole, so that the slots after a last
    pose are clean.
    """
    if clip is None and known is None:
        return None
    if known is None:
        out = nothing_known(condition, schedule.frames)
    else:
        at = window.begin - window.history + np.arange(schedule.frames)
        last = len(known.rgb) - 1
        out = known[np.minimum(at, last)]
        if not hold or not known.whole(condition.channels)[last]:
            out = Known(out.latents, out.rgb & (at <= last), out.pose & (at <= last)[:, None])
    if clip is not None:
        past = clip[-window.history :]
        out.latents.rgb[:, : window.history], out.latents.pose[:, : window.history] = past.rgb, past.pose
        out.rgb[: window.history] = True
        out.pose[: window.history] = True
    return out


def nothing_known(condition: Condition, frames: int) -> Known:
    """A ``Known`` of which nothing is given, to be filled in."""
    views = len(condition.pose)
    return Known(
        Sample(
            np.zeros((views, frames, *condition.rgb.shape[1:]), np.float32),
            np.zeros((views, frames, *condition.pose.shape[1:]), np.float32),
        ),
        np.zeros(frames, bool),
        np.zeros((frames, len(condition.channels)), bool),
    )


def sample_window(
    denoiser: Denoiser,
    condition: Condition,
    given: Known | None,
    random: np.random.Generator,
    schedule: Schedule,
    report: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Sample:
    """One window of ``schedule.frames`` frames: history and new frames, with what is ``given`` of them unchanged."""
    noise = _noise(condition, schedule.frames, random)
    noisy_slots = _noisy_slots(given, condition, schedule)
    whole = noisy_slots[schedule.slots] == 0
    z = noise
    predict = _guided(denoiser, condition, schedule.guidance)
    for step, (now, after) in enumerate(pairwise(schedule.sigmas()), start=1):
        _check_stop(should_stop, step, schedule)
        if given is not None:
            z = _imposed(z, given, noise, whole, now)
        clean = _finite(predict(z, (noisy_slots * now).astype(np.float32)), step)
        z = _stepped(z, clean, now, after)
        if report is not None:
            report(step)
    return _finished(z, given, condition)


def _sample_loop(
    denoiser: Denoiser,
    condition: Condition,
    frames: int,
    random: np.random.Generator,
    schedule: Schedule,
    known: Known | None,
    on_step: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool] | None,
) -> Sample:
    """A loop, sampled in circular time.

    Every step sees the circle through windows that overlap, turned on from the step before, so that no frame is an end.
    A frame that several windows (or one window several times) show gets the mean prediction, weighted by how far from
    the window's ends it lies.
    """
    overlap = schedule.history_frames
    count = 1 if frames < schedule.frames else -(-frames // (schedule.frames - overlap))
    starts = [round(i * frames / count) for i in range(count)]
    noise = _noise(condition, frames, random)
    inside = np.arange(1, schedule.frames + 1)
    weight = np.minimum(inside, inside[::-1]).clip(max=overlap).astype(np.float32)
    predict = _guided(denoiser, condition, schedule.guidance)
    z = noise
    for step, (now, after) in enumerate(pairwise(schedule.sigmas()), start=1):
        turn = round(frames * ((step - 1) * TURN % 1.0))
        total = np.zeros(frames, np.float32)
        clean = Sample(np.zeros_like(z.rgb), np.zeros_like(z.pose))
        for number, start in enumerate(starts, start=1):
            _check_stop(should_stop, step, schedule)
            at = (start + turn + np.arange(schedule.frames)) % frames
            seen, given = z[at], None if known is None else known[at]
            noisy_slots = _noisy_slots(given, condition, schedule)
            if given is not None:
                seen = _imposed(seen, given, noise[at], noisy_slots[schedule.slots] == 0, now)
            made = _finite(predict(seen, (noisy_slots * now).astype(np.float32)), step)
            np.add.at(total, at, weight)
            for views in range(len(z.pose)):
                np.add.at(clean.rgb[views], at, weight[:, None, None, None] * made.rgb[views])
                np.add.at(clean.pose[views], at, weight[:, None, None, None] * made.pose[views])
            if on_step is not None:
                on_step((step - 1) * count + number, schedule.steps * count)
        share = total[:, None, None, None]
        z = _stepped(z, Sample(clean.rgb / share, clean.pose / share), now, after)
    return _finished(z, known, condition)


def _noise(condition: Condition, frames: int, random: np.random.Generator) -> Sample:
    views = len(condition.pose)
    rgb = random.standard_normal((views, frames, *condition.rgb.shape[1:]), np.float32)
    return Sample(rgb, random.standard_normal((views, frames, *condition.pose.shape[1:]), np.float32))


def _noisy_slots(given: Known | None, condition: Condition, schedule: Schedule) -> NDArray[np.bool_]:
    """(S,) False for the time slots that are given whole: the network gets them clean."""
    slots = schedule.slots
    if given is None:
        return np.ones(slots[-1] + 1, bool)
    noisy = np.zeros(slots[-1] + 1, bool)
    np.logical_or.at(noisy, slots, ~given.whole(condition.channels))
    return noisy


def _imposed(z: Sample, given: Known, noise: Sample, whole: NDArray[np.bool_], sigma: float) -> Sample:
    """``z`` with what is given in place: clean in ``whole`` frames, at noise level ``sigma`` in others."""
    level = np.where(whole, 0.0, sigma).astype(np.float32)[:, None, None, None]
    rgb = given.latents.rgb + level * (noise.rgb - given.latents.rgb)
    pose = given.latents.pose + level * (noise.pose - given.latents.pose)
    return Known(Sample(rgb, pose), given.rgb, given.pose).over(z)


def _stepped(z: Sample, clean: Sample, now: float, after: float) -> Sample:
    keep, move = np.float32(after / now), np.float32(1 - after / now)
    return Sample(keep * z.rgb + move * clean.rgb, keep * z.pose + move * clean.pose)


def _finished(z: Sample, given: Known | None, condition: Condition) -> Sample:
    """``z`` with what is given in place, and channels that are not in use zero."""
    z = z if given is None else given.over(z)
    return Sample(z.rgb, z.pose * condition.channels[:, None, None].astype(np.float32))


def _finite(clean: Sample, step: int) -> Sample:
    if not (np.isfinite(clean.pose).all() and np.isfinite(clean.rgb).all()):
        raise GenerationError(f"the network gave numbers that are not finite at step {step}; accepted: finite ones")
    return clean


def _check_stop(should_stop: Callable[[], bool] | None, step: int, schedule: Schedule) -> None:
    if should_stop is not None and should_stop():
        raise Cancelled(f"cancelled before denoising step {step} of {schedule.steps}")


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

"""Sampling: rectified flow from noise to joint video-pose latents, with guidance, continuation and control.

z_σ = (1 − σ) x + σ ε,   dz/dσ = ε − x = (z − x̂) / σ,   from σ = 1 to 0 in a few steps of second order

What is given of x (history, pinned poses, joints that follow another motion) replaces z before every step: clean, with
σ = 0, where a whole time slot is given, at the noise level of the rest elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.clock import Tempo, slot_frames
from animax.errors import Cancelled, GenerationError, OptionError

Latents = NDArray[np.float32]
IntArray = NDArray[np.int64]
Planned = Callable[[NDArray[np.float64]], Latents]
"""Pose latents (V, F, C, h, w) of a planned motion at turns (F,)."""


TURN = 0.381966
"""Part of a loop that each step turns on from the one before: the golden section, so that no place comes back soon."""


LED = 12.0
"""Frames over which a plan comes from what is given."""
GOING_BACK = 0.3
"""Share of a loop in which a motion that does not turn round goes back to its beginning."""


SPACINGS = ("flow", "log_snr")
"""Of noise levels: even ones, shifted towards noise as in Wan; or even in the log of the signal-to-noise ratio
(1 − σ) / σ between pure noise and none."""
LOG_SNR = (-4.0, 1.0)
"""First and last of the levels that are spaced so: from where the widest component of a marker's motion, three times as
wide as the noise, begins to show in all markers together to where those as wide as the noise are settled; what is
finer is mostly jitter (docs/decisions.md)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Latents of one clip.

    Attributes:
        rgb: (V, F, 3, H, W); of a video VAE (V, S, C, h, w), a latent frame for every time slot.
        pose: (V, F, C, h, w); likewise.
    """

    rgb: Latents
    pose: Latents

    @property
    def frames(self) -> int:
        """F, or S."""
        return int(self.pose.shape[1])

    def __getitem__(self, frames: slice | IntArray) -> Sample:
        return Sample(self.rgb[:, frames], self.pose[:, frames])


@dataclass(frozen=True, eq=False)
class Take:
    """A stretch of a clip as it was sampled.

    Attributes:
        latents: of a window, with the history that it was given; of a loop, of the whole circle.
        begin: first frame of the window that belongs to the clip.
        end: one past the last.
        loop: the latents after the last are the first.
    """

    latents: Sample
    begin: int
    end: int
    loop: bool = False


def joined(takes: Sequence[Take]) -> Sample:
    """The clip, where latents are one a frame."""
    kept = [take.latents[take.begin : take.end] for take in takes]
    return Sample(np.concatenate([k.rgb for k in kept], axis=1), np.concatenate([k.pose for k in kept], axis=1))


def latest(takes: Sequence[Take], count: int) -> Sample:
    """The clip's last ``count`` frames, where latents are one a frame."""
    return joined(takes)[-count:]


@dataclass(frozen=True, eq=False)
class Known:
    """What is given of a clip, by frame, or of a window, by latent frame.

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


class Prompt(NamedTuple):
    """What is asked for from a frame on.

    Attributes:
        at: that frame.
        text: (T, width) states of the words.
        tempo: of the motion that they ask for; None: the network is not told the time.
        plan: of that motion, of networks that are given one; it takes a ``tempo``.
    """

    at: int
    text: Latents
    tempo: Tempo | None = None
    plan: Planned | None = None


@dataclass(frozen=True, eq=False)
class Condition:
    """What a clip is generated for.

    Attributes:
        rgb: (V, 3, H, W) latents of the template views.
        pose: (V, C, h, w) latents of the template pose maps.
        channels: (C,) True where a channel is in use; the others stay zero.
        rays: (V, 6, h, w) Plücker rays.
        prompt: the first.
        tangents: (V, C, 3, h, w) along which the views share their noise, see ``Space.tangents``; None: they do not.
    """

    rgb: Latents
    pose: Latents
    channels: NDArray[np.bool_]
    rays: Latents
    prompt: Prompt
    tangents: Latents | None = None


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
        clock: Latents | None = None,
        plan: Latents | None = None,
    ) -> tuple[Latents, Latents]:
        """The clean latents (rgb, pose) that the network predicts."""


@dataclass(frozen=True)
class Schedule:
    """How a window of frames is sampled.

    Attributes:
        steps: network calls.
        guidance: weight of the prompt; 1 leaves its guidance out and spares a network call a step.
        spacing: of the noise levels, one of ``SPACINGS``.
        shift: of the spacing "flow": how much of the steps is spent at high noise; 1 spaces noise levels evenly.
        frames: F of a window.
        patch: frames of a time slot; the first slot holds one.
        history: slots that a following window takes over from the one before.
        guidance_image: weight of the template views; likewise.
        packed: a slot's frames share one latent frame, as behind a video VAE. Else every frame has its own.
        boldness: of what the network says differs from a plan, the share that is taken.
    """

    steps: int
    guidance: float
    spacing: str = "flow"
    shift: float = 3.0
    frames: int = 33
    patch: int = 4
    history: int = 3
    guidance_image: float = 1.0
    packed: bool = False
    boldness: float = 1.0

    def sigmas(self) -> NDArray[np.float64]:
        """(steps + 1,) noise levels from 1 to 0."""
        if self.spacing == "log_snr":
            inner = 1 / (1 + np.exp(np.linspace(*LOG_SNR, self.steps - 1)))
            return np.concatenate([[1.0], inner, [0.0]])
        even = np.linspace(1.0, 0.0, self.steps + 1)
        return self.shift * even / (1 + (self.shift - 1) * even)

    @property
    def history_frames(self) -> int:
        """Frames that a following window takes over."""
        return 1 + (self.history - 1) * self.patch

    @property
    def latents(self) -> int:
        """Latent frames of a window."""
        return 1 + (self.frames - 1) // self.patch if self.packed else self.frames

    @property
    def overlap(self) -> int:
        """Latent frames that a following window takes over."""
        return self.history if self.packed else self.history_frames

    @property
    def slots(self) -> IntArray:
        """Time slot of each latent frame of a window."""
        return np.arange(self.latents) if self.packed else self.slot_of(np.arange(self.frames))

    def slot_of(self, frame: IntArray) -> IntArray:
        """Time slot of frames of a window; the first slot holds one."""
        return (frame + self.patch - 1) // self.patch

    def period(self, frames: float) -> int:
        """Frames of a loop that is about as long as asked: any number, or whole slots where these are packed."""
        return self.patch * max(1, round(frames / self.patch)) if self.packed else max(2, round(frames))


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of a clip that is sampled at once.

    Attributes:
        begin: first new frame.
        end: one past the last frame that is kept.
        history: frames before ``begin`` that are taken over.
        prompt: what is asked for.
    """

    begin: int
    end: int
    history: int
    prompt: Prompt

    def clock(self, schedule: Schedule) -> Latents | None:
        """What the network is told of the time in each slot."""
        tempo = self.prompt.tempo
        if tempo is None:
            return None
        return tempo.told(self._first + slot_frames(schedule.slots[-1] + 1, schedule.patch))

    def planned(self, schedule: Schedule) -> Latents | None:
        """Pose latents (V, F, C, h, w) of what is planned."""
        tempo, plan = self.prompt.tempo, self.prompt.plan
        return (
            None
            if tempo is None or plan is None
            else plan(tempo.turns(self._first + np.arange(float(schedule.frames))))
        )

    @property
    def _first(self) -> int:
        """Frame that the window begins with, since its prompt's."""
        return self.begin - self.history - self.prompt.at


def windows_of(
    frames: int, schedule: Schedule, first: Prompt, changes: Sequence[Prompt] = (), *, even: bool = False
) -> list[Window]:
    """The windows of a clip: one after another, a new one at every change of the prompt.

    Args:
        frames: of the clip.
        schedule: see ``Schedule``.
        first: the first prompt.
        changes: every later one, by rising frame.
        even: share the frames out evenly over the windows, so that the last one has room to arrive at a pinned pose.
    """
    out: list[Window] = []
    stretches = [first, *(change for change in changes if change.at < frames)]
    ends = [change.at for change in stretches[1:]] + [frames]
    for prompt, end in zip(stretches, ends, strict=True):
        begin = prompt.at
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
            out.append(Window(begin, min(begin + fresh, end), history, prompt))
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
    changes: Sequence[Prompt] = (),
    loop: bool = False,
    history: Callable[[Sequence[Take], int], Sample] = latest,
    on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Take]:
    """Latents of ``frames`` frames; what is longer than a window goes on from the clean end of the one before.

    Args:
        denoiser: the network.
        condition: what to generate for.
        frames: length of the clip; of a loop, its period (see ``Schedule.period``).
        seed: of the noise.
        schedule: see ``Schedule``.
        known: what is given of the clip, F frames; the result has it unchanged.
        changes: every later prompt, by rising frame.
        loop: the frame after the last is the first (see ``_sample_loop``).
        history: the clip's last frames as latents of a window's beginning; behind a VAE they are encoded anew.
        on_step: called with the step just done (from 1) and the steps in all.
        should_stop: asked before every step.

    Raises:
        Cancelled: ``should_stop`` said so.
        GenerationError: the network gave a number that is not finite.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    if loop:
        return [_sample_loop(denoiser, condition, frames, random, schedule, known, on_step, should_stop)]
    pinned = known is not None and bool(known.whole(condition.channels)[1:].any())
    windows = windows_of(frames, schedule, condition.prompt, changes, even=pinned)
    takes: list[Take] = []
    for number, window in enumerate(windows):

        def report(step: int, done: int = number * schedule.steps) -> None:
            if on_step is not None:
                on_step(done + step, len(windows) * schedule.steps)

        past = history(takes, window.history) if window.history else None
        made = sample_window(
            denoiser,
            condition,
            given_of(window, past, known, schedule, condition),
            random,
            schedule,
            Asked.of(window, schedule),
            report,
            should_stop,
        )
        takes.append(Take(made, window.history, window.history + window.end - window.begin))
    return takes


def given_of(
    window: Window,
    past: Sample | None,
    known: Known | None,
    schedule: Schedule,
    condition: Condition,
    *,
    hold: bool = True,
) -> Known | None:
    """What is given of a window: its history, ``past``, and its part of ``known``.

    With ``hold``, the last frame of ``known`` holds beyond its end if it is given whole, so that the slots after a last
    pose are clean.
    """
    if past is None and known is None:
        return None
    if known is None:
        out = nothing_known(condition, schedule.latents)
    else:
        at = window.begin - window.history + np.arange(schedule.frames)
        last = len(known.rgb) - 1
        out = known[np.minimum(at, last)]
        if not hold or not known.whole(condition.channels)[last]:
            out = Known(out.latents, out.rgb & (at <= last), out.pose & (at <= last)[:, None])
        if schedule.packed:
            out = packed(out, schedule.slot_of(np.arange(schedule.frames)))
    if past is not None:
        count = past.frames
        out.latents.rgb[:, :count], out.latents.pose[:, :count] = past.rgb, past.pose
        out.rgb[:count] = True
        out.pose[:count] = True
    return out


def packed(known: Known, slots: IntArray) -> Known:
    """What is given of time slots: of each, its first frame of which anything is given, to hold for all of the slot.

    Args:
        known: by frame.
        slots: (F,) of each frame, rising.
    """
    found = known.rgb | known.pose.any(axis=1)
    chosen = np.searchsorted(slots, np.arange(slots[-1] + 1))
    for frame in np.flatnonzero(found)[::-1]:
        chosen[slots[frame]] = frame
    return known[chosen]


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


@dataclass(frozen=True, eq=False)
class Asked:
    """What the network is told of what a window is to show, beside the rig.

    Attributes:
        text: (T, width) states of the prompt.
        clock: (S, n) of the time in each slot, of networks that are told it.
        planned: (V, F, C, h, w) pose latents of what is planned, of networks that are given a plan.
    """

    text: Latents
    clock: Latents | None = None
    planned: Latents | None = None

    @classmethod
    def of(cls, window: Window, schedule: Schedule) -> Asked:
        """Of a window by itself."""
        return cls(window.prompt.text, window.clock(schedule), window.planned(schedule))


def led(planned: Latents | None, given: Known | None) -> Latents | None:
    """The plan (V, F, C, h, w), led to what is ``given``: where that is not as planned, the plan comes from there and
    goes there over ``LED`` frames (inertial blending, Bollo 2018, "Inertialization", GDC)."""
    if planned is None or given is None or not given.pose.any():
        return planned
    frames = np.arange(len(given.pose))
    off = np.where(given.pose[..., None, None], given.latents.pose - planned, 0)
    out = planned.copy()
    for known in np.unique(given.pose, axis=1).T:  # channels that are given in the same frames
        at = np.flatnonzero(known)
        if not len(at) or len(at) == len(frames):
            continue
        which = (given.pose == known[:, None]).all(axis=0)
        after = np.searchsorted(at, frames).clip(max=len(at) - 1)
        sides = np.stack([at[(after - 1).clip(min=0)], at[after]])  # the given frames next to each
        share = (1 - np.abs(sides - frames) / LED).clip(min=0) ** 2
        share[1, sides[0] == sides[1]] = 0
        share /= np.maximum(share.sum(axis=0), 1)
        moved = sum(
            part[:, None, None, None].astype(np.float32) * off[:, side][:, :, which]
            for part, side in zip(share, sides, strict=True)
        )
        out[:, :, which] += np.where(known[:, None, None, None], 0, moved)
    return out


class Solver:
    """DPM-Solver++ of second order with two steps' predictions (Lu et al. 2022, arXiv 2211.01095, algorithm 2), for
    rectified flow: the prediction is carried on as a line over the log of the signal-to-noise ratio (1 − σ) / σ.

    The first step, from pure noise, and the last, to none, have no such log at one end and take the prediction as it
    is. So does the second, whose predecessor began at pure noise.
    """

    def __init__(self) -> None:
        self._last: tuple[float, Sample] | None = None

    def step(self, z: Sample, clean: Sample, now: float, after: float) -> Sample:
        """From noise level ``now`` to ``after``, where the network predicts ``clean`` at ``now``."""
        keep, move = np.float32(after / now), np.float32(1 - after / now)
        last, self._last = self._last, (now, clean)
        if last is None or last[0] >= 1 or after <= 0:
            return Sample(keep * z.rgb + move * clean.rgb, keep * z.pose + move * clean.pose)
        begun, begin, end = (math.log((1 - sigma) / sigma) for sigma in (last[0], now, after))
        ahead = np.float32((end - begin) / (2 * (begin - begun)))

        def moved(z: Latents, clean: Latents, before: Latents) -> Latents:
            aimed: Latents = clean + ahead * (clean - before)
            return keep * z + move * aimed

        return Sample(moved(z.rgb, clean.rgb, last[1].rgb), moved(z.pose, clean.pose, last[1].pose))


def sample_window(
    denoiser: Denoiser,
    condition: Condition,
    given: Known | None,
    random: np.random.Generator,
    schedule: Schedule,
    asked: Asked,
    report: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Sample:
    """One window: history and new frames, with what is ``given`` of them unchanged."""
    asked = replace(asked, planned=led(asked.planned, given))
    noise = _noise(condition, schedule.latents, random)
    noisy_slots = _noisy_slots(given, condition, schedule)
    whole = noisy_slots[schedule.slots] == 0
    z, solver = noise, Solver()
    predict = _guided(denoiser, condition, schedule)
    for step, (now, after) in enumerate(pairwise(schedule.sigmas()), start=1):
        _check_stop(should_stop, step, schedule)
        if given is not None:
            z = _imposed(z, given, noise, whole, now)
        clean = _finite(predict(z, (noisy_slots * now).astype(np.float32), asked), step)
        z = solver.step(z, clean, now, after)
        if report is not None:
            report(step)
    z = _finished(z, given, condition)
    if schedule.packed:
        return z
    return _finished(Sample(z.rgb, joined_slots(z.pose, schedule.slots, whole)), given, condition)


def joined_slots(pose: Latents, slots: IntArray, given: NDArray[np.bool_]) -> Latents:
    """Pose latents (V, F, ...) that go on from slot to slot: a network says each slot's motion by itself, and where one
    ends and the next begins they differ by some of its error.

    The step between two slots is to be the mean of the steps before and after. What it differs by is taken off both
    sides, fading towards the middles of the slots; off one side alone, fading towards its end, where the other's frames
    are ``given`` (F,) or a single one.
    """
    out = pose.copy()
    for at in np.flatnonzero(np.diff(slots)) + 1:
        before, after = np.flatnonzero(slots == slots[at - 1]), np.flatnonzero(slots == slots[at])
        if len(after) < 2 or (given[at] and given[at - 1]):
            continue
        steps = [pose[:, after[1]] - pose[:, after[0]]]
        if len(before) > 1:
            steps.append(pose[:, before[-1]] - pose[:, before[-2]])
        off = pose[:, at] - pose[:, at - 1] - sum(steps) / np.float32(len(steps))
        both = len(before) > 1 and not given[at - 1] and not given[at]
        sides = [(before[::-1], 1)] if given[at] else [(after, -1)] if not both else [(before[::-1], 1), (after, -1)]
        for frames, sign in sides:
            count = len(frames) // 2 if both else len(frames)
            fade = 1 - (np.arange(count, dtype=np.float32) + 0.5) / count
            share = np.float32(sign * (0.5 if both else 1.0))
            out[:, frames[:count]] += share * off[:, None] * fade.reshape(1, -1, *[1] * (pose.ndim - 2))
    return out


def _sample_loop(
    denoiser: Denoiser,
    condition: Condition,
    frames: int,
    random: np.random.Generator,
    schedule: Schedule,
    known: Known | None,
    on_step: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool] | None,
) -> Take:
    """A loop, sampled in circular time.

    Every step sees the circle through windows that overlap, turned on from the step before, so that no frame is an end.
    A frame that several windows (or one window several times) show gets the mean prediction, weighted by how far from
    the window's ends it lies. Where slots are packed, all of the circle's hold several frames; a window takes its first
    for one that holds a single frame, so what it says of that one does not count.
    """
    length = frames
    if schedule.packed:
        length = frames // schedule.patch
        known = None if known is None else packed(known, np.arange(frames) // schedule.patch)
    count = 1 if length < schedule.latents else -(-length // (schedule.latents - schedule.overlap))
    starts = [round(i * length / count) for i in range(count)]
    noise = _noise(condition, length, random)
    inside = np.arange(1, schedule.latents + 1)
    weight = np.minimum(inside, inside[::-1]).clip(max=schedule.overlap).astype(np.float32)
    if schedule.packed:
        weight[0] = 0
    predict = _guided(denoiser, condition, schedule)
    tempo = None if condition.prompt.tempo is None else condition.prompt.tempo.looped(frames)
    slots = slot_frames(schedule.slots[-1] + 1, schedule.patch)
    planned = _planned_loop(condition.prompt, frames)
    z, solver = noise, Solver()
    for step, (now, after) in enumerate(pairwise(schedule.sigmas()), start=1):
        turn = round(length * ((step - 1) * TURN % 1.0))
        total = np.zeros(length, np.float32)
        clean = Sample(np.zeros_like(z.rgb), np.zeros_like(z.pose))
        for number, start in enumerate(starts, start=1):
            _check_stop(should_stop, step, schedule)
            at = (start + turn + np.arange(schedule.latents)) % length
            seen, given = z[at], None if known is None else known[at]
            noisy_slots = _noisy_slots(given, condition, schedule)
            if given is not None:
                seen = _imposed(seen, given, noise[at], noisy_slots[schedule.slots] == 0, now)
            clock = None if tempo is None else tempo.told((start + turn + slots) % frames)
            shown = led(None if planned is None else planned[:, at], given)
            asked = Asked(condition.prompt.text, clock, shown)
            made = _finite(predict(seen, (noisy_slots * now).astype(np.float32), asked), step)
            np.add.at(total, at, weight)
            for views in range(len(z.pose)):
                np.add.at(clean.rgb[views], at, weight[:, None, None, None] * made.rgb[views])
                np.add.at(clean.pose[views], at, weight[:, None, None, None] * made.pose[views])
            if on_step is not None:
                on_step((step - 1) * count + number, schedule.steps * count)
        share = total[:, None, None, None]
        z = solver.step(z, Sample(clean.rgb / share, clean.pose / share), now, after)
    return Take(_finished(z, known, condition), 0, frames, loop=True)


def _planned_loop(prompt: Prompt, frames: int) -> Latents | None:
    """Pose latents (V, F, C, h, w) of what is planned for a loop: whole turns of a motion that turns round; another is
    done once, and goes back to where it began."""
    if prompt.tempo is None or prompt.plan is None:
        return None
    at = np.arange(float(frames))
    planned = prompt.plan(prompt.tempo.looped(frames).turns(at))
    if prompt.tempo.repeats:
        return planned
    back = ((at / frames - (1 - GOING_BACK)) / GOING_BACK).clip(0, 1)
    back = back * back * (3 - 2 * back)
    gap = planned[:, :1] - planned[:, -1:]
    closed: Latents = planned + back.astype(np.float32)[:, None, None, None] * gap
    return closed


def _noise(condition: Condition, frames: int, random: np.random.Generator) -> Sample:
    """White noise on each view's latents. Where they have tangents, what it says of a marker's place is one random move
    in space as all views see it, so that they begin with one motion in mind and not with four."""
    views = len(condition.pose)
    rgb = random.standard_normal((views, frames, *condition.rgb.shape[1:]), np.float32)
    pose = random.standard_normal((views, frames, *condition.pose.shape[1:]), np.float32)
    if condition.tangents is not None:
        moves = random.standard_normal((frames, len(condition.channels), 3), np.float32)
        own = np.einsum("vcihw,vfchw->vfci", condition.tangents, pose, optimize=True)
        shared: Latents = np.einsum("vcihw,vfci->vfchw", condition.tangents, moves - own, optimize=True)
        pose = pose + shared
    return Sample(rgb, pose)


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


def _guided(denoiser: Denoiser, condition: Condition, schedule: Schedule) -> Callable[[Sample, Latents, Asked], Sample]:
    """The prediction with classifier-free guidance on template views and prompt, the parts of it in one batch:

    x̂ = x̂(∅, ∅) + guidance_image · (x̂(image, ∅) − x̂(∅, ∅)) + guidance · (x̂(image, prompt) − x̂(image, ∅))

    A part that the weights leave out is not computed: with ``guidance_image`` 1 the first, with ``guidance`` 1 too the
    second.
    """
    image, prompt = np.float32(schedule.guidance_image), np.float32(schedule.guidance)
    parts = [(1, 1)]  # whether it is told image and prompt
    if prompt != 1 or image != 1:
        parts.append((1, 0))
    if image != 1:
        parts.append((0, 0))
    batch = len(parts)

    def told(array: Latents, which: int) -> Latents:
        return np.stack([array if part[which] else np.zeros_like(array) for part in parts])

    def repeated(array: Latents) -> Latents:
        return np.repeat(array[None], batch, axis=0)

    template_rgb, template_pose = told(condition.rgb, 0), told(condition.pose, 0)
    rays = repeated(condition.rays)

    def mixed(made: Latents) -> Latents:
        out: Latents = made[0]
        if batch == 2:
            out = made[1] + prompt * (made[0] - made[1])
        if batch == 3:
            out = made[2] + image * (made[1] - made[2]) + prompt * (made[0] - made[1])
        return out

    def predict(z: Sample, sigma: Latents, asked: Asked) -> Sample:
        further = (repeated(array) for array in (asked.clock, asked.planned) if array is not None)
        made = denoiser(
            repeated(z.rgb),
            repeated(z.pose),
            template_rgb,
            template_pose,
            repeated(sigma),
            told(asked.text, 1),
            rays,
            *further,
        )
        rgb, pose = (mixed(latents) for latents in made)
        if asked.planned is not None:
            pose = asked.planned + np.float32(schedule.boldness) * (pose - asked.planned)
        return Sample(rgb, pose)

    return predict

"""A performance: motion of any length, window by window, whose prompt and steering may change on the way."""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.diffusion.model import Model
from animax.diffusion.sampler import Asked, Condition, Prompt, Take, Window, given_of, sample_window
from animax.errors import OptionError
from animax.motion.calibration import solve_drawn
from animax.motion.clip import Clip
from animax.motion.continuation import HELD, Continuation
from animax.motion.control import pin, resolve
from animax.motion.steering import Steering
from animax.pipeline import known_latents, make_condition, make_schedule, make_template, observe, prompted
from animax.request import OnProgress, Progress, Request, ShouldStop, Stage, check_endless

IntArray = NDArray[np.int64]


class Performance:
    """One rig that performs. ``generate`` and ``take`` may be called from two threads.

    Args:
        rig: from ``load_rig``.
        request: fps, seed, root mode, steps, foot clean-up and first pose count; length and loop do not.
        model: from ``load_model``.
        steering: at the start.

    Raises:
        OptionError: the request names what the rig does not have, or pins more than its first pose.
    """

    def __init__(self, rig: Rig, request: Request, model: Model, steering: Steering = Steering()) -> None:  # noqa: B008
        check_endless(request)
        if model.schedule.history_frames <= HELD:
            raise OptionError("history", model.schedule.history, f"slots of more than {HELD} frames in all")
        self._rig, self._request, self._model = rig, request, model
        self._controls = resolve(rig, request)
        self._template = make_template(rig, model)
        self._random = np.random.Generator(np.random.PCG64(request.seed))
        self._condition: Condition | None = None
        self._take: Take | None = None
        self._words: str | None = None
        self._prompt: Prompt | None = None
        self._made = 0
        self._lock = Lock()
        self._motion = Continuation(
            rig,
            native_fps=model.fps,
            fps=request.fps,
            root_mode=request.root_mode,
            foot_cleanup=request.foot_cleanup,
            steering=steering,
        )
        self.rotated_joints: IntArray = self._motion.moving
        self.translated_joints: IntArray = self._motion.carriers

    @property
    def window_seconds(self) -> float:
        """Seconds that a window adds at speed 1."""
        schedule = self._model.schedule
        return (schedule.frames - schedule.history_frames) / self._model.fps

    @property
    def available(self) -> int:
        """Frames that can be taken now."""
        with self._lock:
            return self._motion.available

    def generate(
        self,
        prompt: str,
        guidance: float | None = None,
        *,
        progress: OnProgress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> None:
        """Make one more window.

        Args:
            prompt: for its new frames.
            guidance: None takes the model's own.
            progress: called after every denoising step; the fraction is that of the window.
            should_stop: asked before every step.

        Raises:
            Cancelled: ``should_stop`` said so; the performance may go on.
            GenerationError: the network's output cannot be turned into motion.
        """
        model, rig = self._model, self._rig
        schedule = make_schedule(model, guidance, self._request.steps)
        (text,), _ = model.hear([prompt])
        if self._condition is None or self._prompt is None:
            self._condition = make_condition(rig, self._template, text, model, self._request.seed)
            self._words, self._prompt = prompt, self._condition.prompt
        elif prompt != self._words:
            self._words = prompt
            self._prompt = prompted(rig, self._template, text, model, self._request.seed, self._made)
        condition = self._condition
        history = 0 if self._take is None else schedule.history_frames
        end = self._made + schedule.frames - history
        window = Window(self._made, end, history, self._prompt)
        known = None
        if self._take is None and self._controls is not None:
            known = known_latents(rig, self._template, condition, self._controls, 1, model)

        def report(step: int) -> None:
            if progress is not None:
                progress(Progress(Stage.DENOISE, 0.9 * step / schedule.steps, step, schedule.steps))

        past = None if self._take is None else model.space.latest([self._take], history)
        given = given_of(window, past, known, schedule, condition, hold=False)
        made = sample_window(
            model.denoiser,
            condition,
            given,
            self._random,
            schedule,
            Asked.of(window, schedule),
            report,
            should_stop,
        )
        take = Take(made, 0, schedule.frames)
        points = observe(self._template, [take], model).points
        pose = solve_drawn(rig.skeleton, self._template.markers, points, model.fps)
        if known is not None and self._controls is not None:
            pose = pin(Clip("", model.fps, pose), self._controls).pose
        self._take, self._made = take, end
        cleaned = self._motion.cleaned(pose)
        with self._lock:
            self._motion.add(*cleaned, history)

    def finish(self) -> None:
        """No window follows: what is left may be taken."""
        with self._lock:
            self._motion.finish()

    def take(self, count: int, steering: Steering) -> Pose:
        """The next frames (N, J), at most ``count`` and ``available``."""
        with self._lock:
            return self._motion.take(count, steering)

    def clip(self, frames: list[Pose], name: str) -> Clip:
        """Frames that were taken, put together."""
        parts = [[getattr(pose, part) for pose in frames] for part in ("translations", "rotations", "scales")]
        return Clip(name, self._request.fps, Pose(*(np.concatenate(part) for part in parts)))

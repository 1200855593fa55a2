"""An engine whose every step a test can hold, slow down or break; its clips are real ones."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from animax import rotations
from animax.assets.rig import Rig
from animax.errors import Cancelled
from animax.motion.clip import Clip
from animax.request import OnProgress, Progress, Request, RootMode, ShouldStop, Stage


@dataclass
class FakeModel:
    """A model that is warm when its gate says so."""

    name: str = "fake"
    sha256: str = "ab" * 32
    provider: str = "cpu"
    fps: float = 12.0
    gate: threading.Event = field(default_factory=threading.Event)
    failures: int = 0
    warmed: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def warm_up(self) -> None:
        assert self.gate.wait(60)
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the device is lost")
        self.warmed += 1


@dataclass(frozen=True)
class FakeAnimation:
    clip: Clip
    request: Request
    timings: dict[str, float]
    confidence: float = 0.9
    warnings: tuple[str, ...] = ()


@dataclass
class FakeEngine:
    """Denoises in ``steps`` steps of ``step_seconds``; ``gate`` holds it before each step while it is cleared."""

    steps: int = 4
    step_seconds: float = 0.0
    failure: BaseException | None = None
    spoil: bool = False
    glb_bytes: int = 600_000
    gate: threading.Event = field(default_factory=threading.Event)
    calls: list[Request] = field(default_factory=list)
    rigs: list[Rig] = field(default_factory=list)
    steps_done: int = 0
    stopped: int = 0
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gate.set()

    def animate(
        self,
        rig: Rig,
        request: Request,
        model: object,
        /,
        *,
        progress: OnProgress | None,
        should_stop: ShouldStop | None,
    ) -> FakeAnimation:
        assert progress is not None
        assert should_stop is not None
        with self.lock:
            self.calls.append(request)
            self.rigs.append(rig)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            began = time.monotonic()
            for step in range(self.steps):
                if should_stop():
                    self.stopped += 1
                    raise Cancelled("stopped between steps")
                progress(Progress(Stage.DENOISE, step / self.steps, step + 1, self.steps))
                self.gate.wait(20)
                time.sleep(self.step_seconds)
                self.steps_done += 1
            if self.failure is not None:
                raise self.failure
            clip = wave(rig, request)
            if self.spoil:
                clip.pose.rotations[1, 0, 0] = np.nan
            return FakeAnimation(clip, request, {Stage.DENOISE.value: time.monotonic() - began}, warnings=("a fake",))
        finally:
            with self.lock:
                self.running -= 1


def wave(rig: Rig, request: Request) -> Clip:
    """Every joint but the root swings about an axis of its own; with root motion the root walks."""
    joints, frames = len(rig.skeleton), max(1, round(request.seconds * request.fps))
    random = np.random.default_rng([request.seed, len(request.prompt)])
    axes = random.normal(size=(joints, 3))
    phase = np.linspace(0, 2 * np.pi, frames, endpoint=False)[:, None, None] + random.uniform(0, 6, size=(joints, 1))
    swing = rotations.from_rotation_vector(0.6 * np.sin(phase) * axes)
    swing[:, 0] = rotations.IDENTITY
    pose = rig.skeleton.posed(
        rotations=rotations.make_continuous(rotations.multiply(rig.skeleton.rest.rotations, swing))
    )
    if request.root_mode is RootMode.ROOT_MOTION:
        pose.translations[:, 0] += np.arange(frames)[:, None] / request.fps * rig.stance.forward
    return Clip(request.prompt, request.fps, pose, request.loop)

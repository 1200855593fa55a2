"""Stand-ins for model and pipeline, so that the command line is tested without the network."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field

import numpy as np
import pytest

from animax import rotations
from animax.assets import Rig
from animax.errors import Cancelled
from animax.motion.clip import Clip
from animax.request import Progress, Request, Stage


@dataclass(frozen=True, eq=False)
class Animation:
    clip: Clip
    request: Request
    timings: dict[str, float]
    confidence: float = 0.75
    warnings: tuple[str, ...] = ("the tail moved oddly",)


@dataclass(eq=False)
class Pipeline:
    """Turns the first driver about Y by an angle that depends on the seed; keeps what it was asked."""

    requests: list[Request] = field(default_factory=list)
    stops: int | None = None
    name: str = "standin"
    sha256: str = "0" * 64
    provider: str = "cpu"
    fps: float = 16.0

    def warm_up(self) -> None:
        pass

    def animate(self, rig: Rig, request: Request, model, *, progress=None, should_stop=None, debug=None) -> Animation:
        assert model is self
        self.requests.append(request)
        for i, stage in enumerate(Stage):
            if should_stop is not None and should_stop():
                raise Cancelled(f"cancelled before {stage.value}")
            if progress is not None:
                progress(Progress(stage, (i + 1) / len(Stage)))
        if debug is not None:
            debug.mkdir(parents=True)
            (debug / "views.png").write_bytes(b"")
        return Animation(self.clip(rig, request), request, {stage.value: 0.01 for stage in Stage})

    def clip(self, rig: Rig, request: Request) -> Clip:
        frames = round(request.seconds * request.fps)
        joint = int(np.argmax(rig.mesh.joint_weights(len(rig.skeleton)) > 0))
        angle = np.linspace(0.0, 0.1 * (1 + request.seed), frames)
        turned = np.repeat(rig.skeleton.rest.rotations[None], frames, axis=0)
        turn = rotations.from_rotation_vector(np.stack([0 * angle, angle, 0 * angle], axis=-1))
        turned[:, joint] = rotations.multiply(turned[:, joint], turn)
        return Clip(request.prompt, request.fps, rig.skeleton.posed(rotations=turned), request.loop)


def install(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Put a stand-in where the commands import the real ones from."""
    pipeline = Pipeline()
    model_module, pipeline_module = types.ModuleType("model"), types.ModuleType("pipeline")
    model_module.load_model = lambda *_, **__: pipeline
    pipeline_module.animate = pipeline.animate
    monkeypatch.setitem(sys.modules, "animax.diffusion.model", model_module)
    monkeypatch.setitem(sys.modules, "animax.pipeline", pipeline_module)
    return pipeline

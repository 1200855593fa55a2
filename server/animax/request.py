"""What a caller asks for and what it hears while the work goes on. Used alike by CLI, service and library."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum

from animax.errors import OptionError

MAX_PROMPT = 500
"""Characters of a prompt."""
SECONDS = (0.25, 10.0)
FPS = (1.0, 120.0)
GUIDANCE = (1.0, 15.0)
STEPS = (1, 64)
MAX_SEED = 2**63 - 1


class RootMode(str, Enum):
    """What happens to the body's travel over the ground."""

    IN_PLACE = "in_place"
    """The body stays over its spot; sway, bounce and turning remain."""
    ROOT_MOTION = "root_motion"
    """The root covers the ground that the feet imply."""
    FIXED_BASE = "fixed_base"
    """The root does not translate at all (machines, plants, doors)."""


@dataclass(frozen=True)
class Request:
    """One animation. Out-of-range values raise ``OptionError`` at once.

    Attributes:
        prompt: what the rig shall do, in English.
        seconds: length of the clip.
        fps: frames a second of the result.
        seed: same rig, prompt, seed, model and provider give the same bytes.
        loop: the last frame joins the first without a seam.
        root_mode: see ``RootMode``.
        guidance: how strictly the prompt is followed; None takes the model's own default.
        steps: denoising steps; None takes the model's own default.
        foot_cleanup: pin feet that touch the ground.
    """

    prompt: str
    seconds: float = 2.0
    fps: float = 30.0
    seed: int = 0
    loop: bool = False
    root_mode: RootMode = RootMode.IN_PLACE
    guidance: float | None = None
    steps: int | None = None
    foot_cleanup: bool = True

    def __post_init__(self) -> None:
        prompt = self.prompt.strip()
        if not prompt:
            raise OptionError("prompt", self.prompt, "1 to 500 characters that are not all blank")
        if len(prompt) > MAX_PROMPT:
            raise OptionError("prompt", f"{len(prompt)} characters", f"1 to {MAX_PROMPT} characters")
        if any(ord(c) < 32 and c not in "\t\n" for c in prompt) or any(0xD800 <= ord(c) < 0xE000 for c in prompt):
            raise OptionError("prompt", prompt, "text without control characters or lone surrogates")
        object.__setattr__(self, "prompt", " ".join(prompt.split()))
        object.__setattr__(self, "root_mode", RootMode(self.root_mode))
        for name, limits in (("seconds", SECONDS), ("fps", FPS), ("guidance", GUIDANCE), ("steps", STEPS)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and limits[0] <= value <= limits[1]):
                raise OptionError(name, value, f"{limits[0]:g} to {limits[1]:g}")
        if not 0 <= self.seed <= MAX_SEED:
            raise OptionError("seed", self.seed, f"0 to {MAX_SEED}")

    def as_dict(self) -> dict[str, object]:
        """Plain values, for manifests and logs."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Stage(str, Enum):
    """The stages of one request, in order."""

    TEMPLATE = "template"
    """Rendering template views and drawing pose maps."""
    TEXT = "text"
    """Encoding the prompt."""
    DENOISE = "denoise"
    """Joint video-pose diffusion."""
    TRIANGULATE = "triangulate"
    """Pose maps to 3D markers."""
    ROTATIONS = "rotations"
    """Markers to joint rotations."""
    CLEAN = "clean"
    """Smoothing, feet, loop, travel, resampling."""


@dataclass(frozen=True)
class Progress:
    """Where a request stands.

    Attributes:
        stage: what is being done.
        fraction: of the whole request, 0 to 1, never falling.
        step: denoising step just done, from 1; 0 outside ``Stage.DENOISE``.
        steps: denoising steps in all.
    """

    stage: Stage
    fraction: float
    step: int = 0
    steps: int = 0


OnProgress = Callable[[Progress], None]
"""Called from the working thread."""
ShouldStop = Callable[[], bool]
"""Asked between stages and between denoising steps; True raises ``Cancelled`` there."""

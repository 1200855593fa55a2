"""Clips as frame messages, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.skeleton import Skeleton
from animax.errors import GenerationError
from animax.motion.clip import Clip
from animax.v1 import animation_service_pb2 as pb

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Floats = NDArray[np.float32]

MAX_MESSAGE_BYTES = 256 * 1024
"""No message of the service is larger."""
CONTENT_BYTES = 192 * 1024
"""Numbers or file bytes of one message: well below the limit, room for the rest of the message."""
FRAMES_PER_MESSAGE = 30
"""Past 30, more frames a message no longer make a stream faster."""
ROTATED = 1e-5
"""Radians from rest at which a joint counts as rotated."""
TRANSLATED = 1e-6
"""Metres from rest at which a joint counts as translated."""


@dataclass(frozen=True, eq=False)
class PackedClip:
    """The numbers of a clip as they go over the wire.

    Attributes:
        fps: frames a second.
        rotated_joints: (R,) indices, rising.
        translated_joints: (T,) indices, rising.
        rotations: (F, R, 4).
        translations: (F, T, 3) metres.
    """

    fps: float
    rotated_joints: IntArray
    translated_joints: IntArray
    rotations: Floats
    translations: Floats

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return self.rotations.nbytes + self.translations.nbytes

    def sha256(self) -> str:
        """Hex digest of the numbers as ``ClipSummary.frames_sha256`` defines it."""
        flat = [part.reshape(len(self), -1) for part in (self.rotations, self.translations)]
        return hashlib.sha256(np.concatenate(flat, axis=1).astype("<f4").tobytes()).hexdigest()

    def messages(self, variant: int) -> Iterator[pb.Frames]:
        """All frames: one frame in the first message, batches after it."""
        per_frame = max(1, self.nbytes // max(1, len(self)))
        batch = int(np.clip(CONTENT_BYTES // per_frame, 1, FRAMES_PER_MESSAGE))
        edges = [0, *range(1, len(self), batch), len(self)]
        for first, end in pairwise(edges):
            yield pb.Frames(
                variant=variant,
                first_frame=first,
                first_seconds=first / self.fps,
                frame_count=end - first,
                rotations=self.rotations[first:end].ravel().tolist(),
                translations=self.translations[first:end].ravel().tolist(),
            )


def pack(clip: Clip, skeleton: Skeleton) -> PackedClip:
    """The numbers to send for a clip: only of joints that ever leave their rest.

    Raises:
        GenerationError: the clip has no frame, or a number that is not finite.
    """
    pose, rest = clip.pose, skeleton.rest
    if not len(clip) or not (np.isfinite(pose.rotations).all() and np.isfinite(pose.translations).all()):
        raise GenerationError("the clip has no frames or numbers that are not finite; another seed may do")
    rotated = np.flatnonzero(rotations.between(rest.rotations, pose.rotations).max(axis=0, initial=0.0) > ROTATED)
    translated = clip.translated_joints(skeleton, TRANSLATED)
    return PackedClip(
        clip.fps,
        rotated,
        translated,
        pose.rotations[:, rotated].astype(np.float32),
        pose.translations[:, translated].astype(np.float32),
    )


def unpack(packed: PackedClip, skeleton: Skeleton, *, name: str, loop: bool) -> Clip:
    """The clip of packed numbers: rest where they say nothing."""
    pose = skeleton.posed(rotations=np.repeat(skeleton.rest.rotations[None], len(packed), axis=0))
    pose.rotations[:, packed.rotated_joints] = rotations.normalise(packed.rotations)
    pose.translations[:, packed.translated_joints] = packed.translations
    return Clip(name, packed.fps, pose, loop)

"""A GLB that animax writes, played by importers that nobody here wrote, against forward kinematics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from animax import rotations
from animax.assets import Rig, load_rig, write_glb
from animax.motion.clip import Clip
from animax.procedural import EXAMPLES

from .engines import Poses, in_blender, in_godot, joint_difference

TOLERANCE = 1e-3
"""Of the rig's size."""


def every_joint_moves(rig: Rig, fps: float = 30.0, frames: int = 31) -> Clip:
    """Each joint that moves vertices swings about an axis of its own; those at the top travel too."""
    skeleton = rig.skeleton
    rng = np.random.default_rng(7)
    axes = rng.normal(size=(len(skeleton), 3))
    phases = rng.uniform(0, 2 * np.pi, len(skeleton))
    swing = 0.5 * np.sin(2 * np.pi * np.arange(frames)[:, None] / frames + phases)
    moving = rig.mesh.joint_weights(len(skeleton)) > 0
    turn = rotations.from_rotation_vector(np.where(moving, swing, 0.0)[..., None] * axes)
    top = int(np.flatnonzero(moving)[0])
    translations = np.repeat(skeleton.rest.translations[None], frames, axis=0)
    unit = np.linalg.norm(skeleton.rest_globals[top, :3, 0]) / max(skeleton.rest.scales[top, 0], 1e-9)
    translations[:, top] += (
        0.2 * rig.size / unit * np.stack([swing[:, top], swing[:, top] ** 2, -swing[:, top]], axis=-1)
    )
    pose = skeleton.posed(
        rotations=rotations.make_continuous(rotations.multiply(skeleton.rest.rotations, turn)),
        translations=translations,
    )
    return Clip("every joint moves", fps, pose)


@dataclass(frozen=True, eq=False)
class Written:
    """A rig with a clip, written as a GLB, and the frames to look at."""

    rig: Rig
    clip: Clip
    frames: NDArray[np.int64]
    glb: Path

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.clip.times[self.frames]


@pytest.fixture(scope="module", params=EXAMPLES)
def written(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    rig = load_rig(repository / "examples" / f"{request.param}.glb")
    clip = every_joint_moves(rig)
    glb = tmp_path_factory.mktemp("written") / "written.glb"
    glb.write_bytes(write_glb(rig, clip))
    return Written(rig, clip, np.linspace(0, len(clip) - 1, 7).astype(int), glb)


@pytest.fixture(scope="module")
def blender(written: Written, blender_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Poses:
    scratch = tmp_path_factory.mktemp("blender")
    return in_blender(blender_python, written.glb, written.clip.name, written.seconds, scratch)


@pytest.fixture(scope="module")
def godot(written: Written, program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Poses:
    path = program("godot3-server", "Debian and Ubuntu: apt install godot3-server")
    scratch = tmp_path_factory.mktemp("godot")
    return in_godot(path, written.glb, written.clip.name, written.seconds, written.clip.fps, scratch)


def test_blender_puts_the_joints_where_we_do(written: Written, blender: Poses):
    assert joint_difference(written.rig, written.clip, written.frames, blender) < TOLERANCE


def test_godot_puts_the_joints_where_we_do(written: Written, godot: Poses):
    assert joint_difference(written.rig, written.clip, written.frames, godot) < TOLERANCE


def test_the_comparison_notices_a_wrong_pose(written: Written, blender: Poses):
    assert joint_difference(written.rig, written.clip, written.frames[::-1], blender) > 10 * TOLERANCE


def test_blender_skins_the_mesh_as_we_do(written: Written, blender: Poses):
    rig = written.rig
    assert blender.vertices is not None
    ours = rig.mesh.skin(rig.skeleton.globals(written.clip.pose[written.frames]))
    for mine, theirs in zip(ours, blender.vertices, strict=True):
        assert cKDTree(mine).query(theirs)[0].max() < TOLERANCE * rig.size
        assert cKDTree(theirs).query(mine)[0].max() < TOLERANCE * rig.size

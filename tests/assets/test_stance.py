"""Facing and up: overrides exactly, estimates as laws (turning the rig turns the answer) and against real rigs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from animax.assets import load_rig
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose, Skeleton
from animax.assets.stance import PRIOR, direction, estimate_stance, frame
from animax.assets.stance_cues import CANDIDATES
from animax.errors import OptionError
from animax.rotations import from_rotation_vector, multiply, rotate
from tests.assets.glb_builder import CUBE, CUBE_TRIANGLES, Glb, arm

FRONTS = {"+z": 0, "+x": 1, "-z": 2, "-x": 3}


def turned(rig: Rig, axis: list[float], degrees: float, scale: float = 1.0, shift: float = 0.0) -> Skeleton:
    """The rig's skeleton below a new root that turns, scales and shifts it."""
    rest, count = rig.skeleton.rest, len(rig.skeleton)
    root = np.radians(degrees) * np.array(axis, float)
    pose = Pose(
        np.concatenate([np.full((1, 3), shift), rest.translations]),
        np.concatenate([from_rotation_vector(root)[None], rest.rotations]),
        np.concatenate([np.full((1, 3), scale), rest.scales]),
    )
    parents = np.concatenate([[-1], np.where(rig.skeleton.parents < 0, 0, rig.skeleton.parents + 1)])
    assert len(parents) == count + 1
    return Skeleton(("turntable", *rig.skeleton.names), parents, pose)


def below_turntable(rig: Rig):
    return replace(rig.mesh, binding_joints=rig.mesh.binding_joints + 1)


def biped() -> Rig:
    """A boxy person that faces +Z: feet reach forward, named left and right."""
    glb, joints = Glb(), []

    def part(parent, name, at, size):
        joints.append(glb.node(parent, name=name, translation=at))
        mesh = glb.mesh(CUBE * np.array(size) / 2, CUBE_TRIANGLES)
        glb.json["nodes"][joints[-1]]["mesh"] = mesh
        return joints[-1]

    hips = part(None, "Hips", [0, 0.9, 0], [0.35, 0.2, 0.2])
    head = part(hips, "Head", [0, 0.7, 0.02], [0.2, 0.25, 0.25])
    part(head, "Jaw", [0, -0.05, 0.1], [0.1, 0.05, 0.1])
    for side, sign in (("Left", 1), ("Right", -1)):
        part(hips, f"{side}Arm", [0.4 * sign, 0.5, 0], [0.5, 0.1, 0.1])
        leg = part(hips, f"{side}Leg", [0.1 * sign, -0.5, 0], [0.12, 0.7, 0.12])
        foot = part(leg, f"{side}Foot", [0, -0.35, 0], [0.1, 0.06, 0.12])
        part(foot, f"{side}Toe", [0, 0, 0.12], [0.1, 0.05, 0.14])
    return load_rig(glb.bytes())


def test_a_biped_faces_forward():
    stance = biped().stance
    np.testing.assert_allclose(stance.forward, [0, 0, 1])
    np.testing.assert_allclose(stance.up, [0, 1, 0])
    np.testing.assert_allclose(stance.right, [-1, 0, 0])
    assert stance.source == "estimated"
    assert stance.confidence > 0.9
    assert stance.scale == 1


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("use_names", [True, False])
def test_turning_the_rig_turns_the_answer(degrees, use_names):
    """Without glTF's convention no axis is preferred, so the cues turn along exactly."""
    rig = biped()
    skeleton, mesh = turned(rig, [0, 1, 0], degrees, scale=3.0, shift=7.0), below_turntable(rig)
    straight = estimate_stance(rig.skeleton, rig.mesh, use_names=use_names, prior=0.0)
    stance = estimate_stance(skeleton, mesh, use_names=use_names, prior=0.0)
    expected = rotate(from_rotation_vector([0, np.radians(degrees), 0]), straight.forward)
    np.testing.assert_allclose(stance.forward, expected, atol=1e-6)
    np.testing.assert_allclose(stance.confidence, straight.confidence, atol=0.02)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_names_outweigh_the_convention(degrees):
    rig = biped()
    stance = estimate_stance(turned(rig, [0, 1, 0], degrees), below_turntable(rig))
    expected = rotate(from_rotation_vector([0, np.radians(degrees), 0]), [0, 0, 1])
    np.testing.assert_allclose(stance.forward, expected, atol=1e-6)


def test_a_z_up_person_stands_up():
    """+Z up and facing -Y, as modelling tools have it."""
    rig = biped()
    stance = estimate_stance(turned(rig, [1, 0, 0], 90), below_turntable(rig))
    np.testing.assert_allclose(stance.up, [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(stance.forward, [0, -1, 0], atol=1e-9)
    assert stance.confidence < 1


def test_what_tells_nothing_takes_the_convention_with_little_confidence():
    glb = Glb()
    base = glb.node(mesh=glb.mesh(CUBE, CUBE_TRIANGLES))
    glb.node(base, mesh=glb.mesh(CUBE, CUBE_TRIANGLES))
    stance = load_rig(glb.bytes()).stance
    np.testing.assert_allclose(stance.forward, [0, 0, 1])
    assert stance.source == "default"
    assert stance.confidence < 0.9


@pytest.mark.parametrize(
    ("facing", "expected"),
    [
        ("+z", [0, 0, 1]),
        ("-Z", [0, 0, -1]),
        ("x", [1, 0, 0]),
        (" -x ", [-1, 0, 0]),
        (0, [0, 0, 1]),
        (90.0, [1, 0, 0]),
        ("90", [1, 0, 0]),
        (-90, [-1, 0, 0]),
        (540, [0, 0, -1]),
        (45, [0.5**0.5, 0, 0.5**0.5]),
        ([0, 5, 2], [0, 0, 1]),
        (np.array([1e300, 0, 0]), [1, 0, 0]),
    ],
)
def test_facing_overrides(facing, expected):
    stance = load_rig(arm().bytes(), facing=facing).stance
    np.testing.assert_allclose(stance.forward, expected, atol=1e-12)
    assert stance.source == "override"
    assert stance.confidence == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"facing": "north"}, "facing"),
        ({"facing": "nan"}, "facing"),
        ({"facing": float("inf")}, "facing"),
        ({"facing": [0, 0, 0]}, "facing"),
        ({"facing": [1, 2]}, "facing"),
        ({"facing": [1, 2, "x"]}, "facing"),
        ({"facing": "+y"}, "facing"),
        ({"facing": "+z", "up": "+z"}, "facing"),
        ({"up": "90"}, "up"),
        ({"up": [np.nan, 0, 1]}, "up"),
    ],
)
def test_no_direction_is_an_option_error(options, name):
    with pytest.raises(OptionError, match=name):
        load_rig(arm().bytes(), **options)


def test_up_overrides():
    stance = load_rig(arm().bytes(), up="+z", facing="+x").stance
    np.testing.assert_allclose(stance.up, [0, 0, 1])
    np.testing.assert_allclose(stance.forward, [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("up", ["+x", "-x", "+y", "-y", "+z", "-z", [1, 2, 3]])
def test_frames_are_right_handed_and_orthonormal(up):
    axes = frame(direction(up, "up"))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(axes), 1)


@pytest.mark.parametrize(("scale", "metres"), [(1, 1), (100, 0.01), (1000, 0.001), (0.01, 100), (1e-7, 1e7)])
def test_implausible_sizes_are_reported(scale, metres):
    rig = biped()
    assert estimate_stance(turned(rig, [0, 1, 0], 0, scale), below_turntable(rig)).scale == metres


def test_rotations_compose_as_the_turntable_assumes():
    a, b = from_rotation_vector([0, 0.3, 0]), from_rotation_vector([0.2, 0, 0.5])
    np.testing.assert_allclose(rotate(multiply(a, b), [1, 2, 3]), rotate(a, rotate(b, [1, 2, 3])))


def test_real_rigs_face_as_people_say(real_rigs):
    """The val rigs, which the weights were not fitted on. The axes are those of the clips, so rigs whose clips face
    another way than the rest pose are left out."""
    entries = json.loads((real_rigs / "manifest.json").read_text("utf-8"))["rigs"]
    chosen = [e for e in entries if e["split"] == "val" and e["front_axis"] and abs(e["rest_to_clip_yaw_deg"]) < 45]
    rows = []
    for entry in chosen:
        rig = load_rig(real_rigs / entry["file"])
        truth = CANDIDATES[FRONTS[entry["front_axis"]]]
        blind = estimate_stance(rig.skeleton, rig.mesh, use_names=False, prior=PRIOR)
        free = estimate_stance(rig.skeleton, rig.mesh, prior=0.0)
        assert rig.stance.up.tolist() == [0, 1, 0], entry["id"]
        rows.append([stance.forward @ truth > 0.9 for stance in (rig.stance, blind, free)])
    named, nameless, without_convention = np.mean(rows, axis=0)
    assert len(rows) > 60
    assert named >= 0.94
    assert nameless >= 0.92
    assert without_convention >= 0.88

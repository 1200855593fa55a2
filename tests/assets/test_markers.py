"""Which joints are drawn, by which markers, on which channels."""

from dataclasses import replace

import numpy as np
import pytest

from animax.assets.markers import (
    OFF_AXIS_LENGTH,
    TAIL_LENGTH,
    MarkerKind,
    choose_markers,
    mirror_channels,
    split_channels,
)
from animax.errors import RigError
from tests.motion.synthetic import BIPED, biped, make_rig, snake


def of_joint(rig, markers, name):
    """Kinds and rest places of a joint's markers."""
    at = markers.positions(rig.skeleton.rest_globals)
    own = markers.joints == rig.skeleton.names.index(name)
    return dict(zip(markers.kinds[own].tolist(), at[own], strict=True))


@pytest.mark.parametrize("rig", [biped(yaw=0.7, scale=40.0), snake(40)], ids=["biped", "snake"])
@pytest.mark.parametrize("channels", [24, 48, 64])
def test_markers_have_channels_of_their_own_of_their_kind(rig, channels):
    markers = choose_markers(rig, channels)
    body, _ = split_channels(channels)
    assert len(np.unique(markers.channels)) == len(markers)
    assert np.array_equal(markers.channels >= body, markers.kinds == MarkerKind.OFF_AXIS)
    assert markers.channels.max() < channels
    assert set(markers.joints) == set(markers.drivers)
    assert np.all(markers.driver_parents < np.arange(len(markers.drivers)))


def test_every_bone_shows_its_twist_and_every_leaf_its_end():
    rig = biped()
    markers = choose_markers(rig)
    hand, forearm = of_joint(rig, markers, "hand_l"), of_joint(rig, markers, "forearm_l")
    assert set(hand) == {MarkerKind.HEAD, MarkerKind.TAIL, MarkerKind.OFF_AXIS}
    assert set(forearm) == {MarkerKind.HEAD, MarkerKind.OFF_AXIS}
    assert np.linalg.norm(hand[MarkerKind.TAIL] - hand[MarkerKind.HEAD]) >= TAIL_LENGTH * rig.size * 0.999
    bone = hand[MarkerKind.HEAD] - forearm[MarkerKind.HEAD]
    beside = forearm[MarkerKind.OFF_AXIS] - forearm[MarkerKind.HEAD]
    assert np.linalg.norm(beside) == pytest.approx(OFF_AXIS_LENGTH * rig.size)
    assert abs(bone @ beside) < 1e-6
    # arms and neck span a plane: no twist is hidden
    assert set(of_joint(rig, markers, "chest")) == {MarkerKind.HEAD}


def test_a_joint_whose_children_are_where_it_is_has_an_end_of_its_own():
    """A hat on a head: it tells nothing of how the head turns."""
    x, y, z = BIPED["head"][1]
    for gap, kinds in ((0.005, {MarkerKind.HEAD, MarkerKind.TAIL, MarkerKind.OFF_AXIS}), (0.2, {0, 2})):
        rig = make_rig({**BIPED, "hat": ("head", (x, y + gap, z))})
        assert set(of_joint(rig, choose_markers(rig), "head")) == kinds


def test_channels_do_not_depend_on_where_a_rig_stands_and_faces():
    plain, moved = (choose_markers(rig) for rig in (biped(), biped(yaw=np.pi / 2, scale=40.0, shift=(3, 0, -8))))
    np.testing.assert_array_equal(moved.channels, plain.channels)


def test_mirroring_channels_twice_changes_nothing():
    mirror = mirror_channels(64)
    assert np.array_equal(mirror[mirror], np.arange(64))
    body, _ = split_channels(64)
    assert np.array_equal(mirror < body, np.arange(64) < body)


def test_where_channels_are_few_the_least_joints_go_in_pairs():
    rig = biped()
    names = {rig.skeleton.names[j] for j in choose_markers(rig, 24).drivers}
    assert {"hips", "thigh_l", "thigh_r"} <= names
    assert len(names) < 17
    assert {n for n in names if n.endswith("_l")} == {n[:-1] + "l" for n in names if n.endswith("_r")}


def test_a_rig_that_deforms_nothing_is_refused():
    rig = biped()
    still = replace(rig, mesh=replace(rig.mesh, weights=np.zeros_like(rig.mesh.weights)))
    with pytest.raises(RigError, match="no joint that moves any vertex"):
        choose_markers(still)

from __future__ import annotations

import numpy as np
import pytest

from animax import rotations
from animax.motion.clip import Clip
from animax.motion.contacts import find_stances, plant_feet
from animax.motion.legs import find_legs
from animax.motion.travel import fix_base, recover_travel, shifted

from .synthetic import biped, random_pose, snake

RIG = biped(yaw=0.6)
NAMES = RIG.skeleton.names


def stepping(rig=RIG, frames=90, fps=30.0, slip=0.0):
    """Marching on the spot: each leg in turn lifts by a bent knee; ``slip`` (m/s) moves the body forward."""
    skeleton = rig.skeleton
    phase = 2 * np.pi * np.arange(frames) / 45
    right = rig.stance.right
    turned = np.repeat(skeleton.rest.rotations[None], frames, axis=0)
    rest = skeleton.rest_globals
    axes = rotations.from_matrix(rest[:, :3, :3] / np.cbrt(np.linalg.det(rest[:, :3, :3]))[:, None, None])
    for side, offset in (("l", 0.0), ("r", np.pi)):
        lift = np.maximum(np.sin(phase + offset), 0.0) ** 2
        for bone, angle in (("thigh", 0.7), ("shin", -1.1)):
            joint = NAMES.index(f"{bone}_{side}")
            local = rotations.rotate(rotations.conjugate(axes[joint]), right)
            turned[:, joint] = rotations.multiply(
                turned[:, joint], rotations.from_rotation_vector(lift[:, None] * angle * local)
            )
    clip = Clip("march", fps, skeleton.posed(rotations=turned))
    return clip.with_pose(shifted(clip.pose, rig, slip * clip.times[:, None] * rig.stance.forward))


def test_a_biped_has_two_legs_from_thigh_to_foot():
    legs = find_legs(RIG)
    assert sorted([NAMES[j] for j in leg.joints] + [NAMES[leg.foot]] for leg in legs) == [
        ["thigh_l", "shin_l", "foot_l"],
        ["thigh_r", "shin_r", "foot_r"],
    ]
    for leg in legs:
        assert leg.soles(RIG.skeleton.rest_globals)[1] < 0.1
        assert 0.85 < leg.length < 1.3


def test_a_snake_has_no_legs_and_is_left_alone():
    rig = snake(20)
    assert find_legs(rig) == ()
    clip = Clip("crawl", 30.0, random_pose(rig, 20))
    assert plant_feet(clip, rig) is clip
    assert recover_travel(clip, rig) is clip


def test_stances_are_where_the_feet_do_not_lift():
    stances = find_stances(stepping(), RIG)
    lifted = stances.soles[..., 1] > 0.12
    assert not np.any(stances.planted & lifted)
    assert 0.5 < stances.planted.mean() < 0.9
    assert np.linalg.norm(stances.ground_velocity, axis=-1).max() < 0.15


def test_planting_lowers_skate_and_moves_nothing_but_legs():
    clip = stepping()
    sway = 0.03 * np.sin(np.arange(90) / 4)[:, None] * np.array([1.0, 0.0, 0.4])
    clip = clip.with_pose(shifted(clip.pose, RIG, sway))
    stances = find_stances(clip, RIG)
    planted = plant_feet(clip, RIG, stances)
    after = find_stances(planted, RIG)

    def wander(s):
        step = np.diff(s.soles, axis=0) * np.array([1.0, 0.0, 1.0])
        both = stances.planted[1:] & stances.planted[:-1]
        return np.linalg.norm(step, axis=-1)[both].mean()

    assert wander(after) < 0.6 * wander(stances)
    legs = {j for leg in stances.legs for j in (*leg.joints, leg.foot)}
    others = [j for j in range(len(NAMES)) if j not in legs]
    np.testing.assert_allclose(planted.pose.rotations[:, others], clip.pose.rotations[:, others], atol=1e-12)
    np.testing.assert_array_equal(planted.pose.translations, clip.pose.translations)
    # feet keep their orientation in space
    foot = stances.legs[0].foot
    before, now = (RIG.skeleton.globals(c.pose)[:, foot, :3, :3] for c in (clip, planted))
    np.testing.assert_allclose(now, before, atol=1e-8)
    # small corrections only
    gap = RIG.skeleton.positions(planted.pose) - RIG.skeleton.positions(clip.pose)
    assert np.linalg.norm(gap, axis=-1).max() < 0.15


def test_a_clip_in_place_gives_back_its_travel():
    forward = RIG.stance.forward
    walking = stepping(slip=0.0)
    # the ground runs backwards beneath a walk in place: standing feet slide, the body stays
    treadmill = stepping(slip=-1.0)
    hips = NAMES.index("hips")
    found = recover_travel(treadmill, RIG)
    path = RIG.skeleton.positions(found.pose)[:, hips] - RIG.skeleton.positions(treadmill.pose)[:, hips]
    speed = (path[-1] - path[0]) @ forward / treadmill.seconds
    assert speed == pytest.approx(1.0, rel=0.15)
    assert np.abs(path @ np.array([0.0, 1.0, 0.0])).max() < 1e-9
    assert recover_travel(walking, RIG) is walking


def test_bodies_without_stances_move_at_the_speed_given():
    rig = snake(20)
    clip = Clip("swim", 30.0, random_pose(rig, 31))
    swum = recover_travel(clip, rig, speed=0.5)
    path = rig.skeleton.positions(swum.pose)[:, 1] - rig.skeleton.positions(clip.pose)[:, 1]
    np.testing.assert_allclose(path[-1], 0.5 * rig.size * rig.stance.forward, atol=1e-9)


def test_a_fixed_base_does_not_move():
    clip = stepping(slip=1.5)
    hips = NAMES.index("hips")
    fixed = RIG.skeleton.positions(fix_base(clip, RIG).pose)
    np.testing.assert_allclose(
        fixed[:, hips], np.broadcast_to(RIG.skeleton.rest_globals[hips, :3, 3], (90, 3)), atol=1e-9
    )


def test_a_loop_on_standing_feet_keeps_its_seam_closed():
    """Swaying without lifting a foot, with more sway one way than the other: the ground does not run away."""
    frames = 90
    phase = 2 * np.pi * np.arange(frames) / frames
    sway = np.outer(0.04 * np.sin(phase) + 0.02 * np.sin(2 * phase), RIG.stance.forward)
    still = Clip(
        "sway", 30.0, RIG.skeleton.posed(rotations=np.repeat(RIG.skeleton.rest.rotations[None], frames, axis=0))
    )
    clip = Clip("sway", 30.0, shifted(still.pose, RIG, sway), loop=True)
    heads = RIG.skeleton.positions(plant_feet(clip, RIG).pose)
    inner = np.linalg.norm(np.diff(heads, axis=0), axis=-1).max()
    assert np.linalg.norm(heads[0] - heads[-1], axis=-1).max() <= 1.5 * inner
    assert np.allclose(find_stances(clip, RIG).ground_velocity.mean(axis=0), 0, atol=1e-9)

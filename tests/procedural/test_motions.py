"""What holds for every generated motion."""

from __future__ import annotations

import numpy as np
import pytest

from animax import rotations
from animax.procedural import KINDS, describe

SEEDS = (0, 1)
EVERY = [(kind, seed) for kind in KINDS for seed in SEEDS]
FLOATING = {"flop": 0.1}
"""Motions whose fins may dip below the ground, and by how many diagonals."""


def _planted(mask: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Whether a point is planted at moments (in the mask's frames) between two planted frames."""
    low, high = np.floor(moments + 1e-6).astype(int), np.ceil(moments - 1e-6).astype(int)
    return mask[np.clip(low, 0, len(mask) - 1)] & mask[np.clip(high, 0, len(mask) - 1)]


def _runs(mask: np.ndarray) -> list[np.ndarray]:
    pieces = np.split(np.arange(len(mask)), np.flatnonzero(np.diff(mask.astype(int))) + 1)
    return [piece for piece in pieces if len(piece) > 1 and mask[piece[0]]]


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_facts_are_those_of_the_file(clips, kind, seed):
    facts = describe(kind, seed).motions
    assert set(facts) == set(clips(kind, seed))
    for name, clip in clips(kind, seed).items():
        assert clip.loop == facts[name].loop, name
        seconds = len(clip) / clip.fps if clip.loop else clip.seconds
        assert seconds == pytest.approx(facts[name].seconds, abs=0.6 / clip.fps)


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_loops_close_smoothly(rig, clips, kind, seed):
    """Over the seam of a loop nothing moves faster than it does elsewhere in the clip."""
    skeleton = rig(kind, seed).skeleton
    for name, clip in clips(kind, seed).items():
        if not clip.loop:
            continue
        positions = skeleton.positions(clip.pose)
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
        seam = np.linalg.norm(positions[0] - positions[-1], axis=-1)
        assert np.all(seam <= 1.25 * steps.max(axis=0) + 0.004 * rig(kind, seed).size), name


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_motions_move_without_jumps(rig, clips, kind, seed):
    r = rig(kind, seed)
    for name, clip in clips(kind, seed).items():
        pose = clip.pose
        assert np.allclose(np.linalg.norm(pose.rotations, axis=-1), 1.0, atol=1e-3)
        turned = rotations.between(pose.rotations[1:], pose.rotations[:-1])
        assert turned.max() < np.radians(75), name
        vertices = r.mesh.skin(r.skeleton.globals(pose))
        assert np.ptp(vertices, axis=0).max() > 0.01 * r.size, name


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_planted_feet_stay(rig, clips, kind, seed):
    """Against the ground, which passes backwards, a planted point moves less than 2 % of a stride."""
    r = rig(kind, seed)
    names = list(r.skeleton.names)
    for name, clip in clips(kind, seed).items():
        facts = describe(kind, seed).motions[name]
        if not facts.contacts:
            continue
        share = clip.times / (len(clip) / clip.fps if clip.loop else clip.seconds)
        ground = np.outer(share * facts.seconds * facts.ground_speed, [0.0, 0.0, 1.0])
        stride = facts.ground_speed * facts.seconds or 0.3 * r.size
        globals_ = r.skeleton.globals(clip.pose)
        for contact in facts.contacts:
            m = globals_[:, names.index(contact.joint)]
            point = m[:, :3, :3] @ contact.point + m[:, :3, 3] + ground
            mask = _planted(contact.planted, share * (len(contact.planted) - 1))
            for run in _runs(mask):
                assert np.ptp(point[run][:, [0, 2]], axis=0).max() < 0.02 * stride, (name, contact.joint)
                assert np.ptp(point[run][:, 1]) < 0.02 * r.size, (name, contact.joint)


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_nothing_sinks_into_the_ground(rig, clips, kind, seed):
    r = rig(kind, seed)
    for name, clip in clips(kind, seed).items():
        low = r.mesh.skin(r.skeleton.globals(clip.pose))[..., 1].min()
        assert low > -FLOATING.get(name, 0.025) * r.size, name


@pytest.mark.parametrize("kind", ["biped", "quadruped", "bird", "spider", "beetle"])
def test_gaits_have_their_footfalls(kind):
    """Walking keeps feet on the ground at all times; the two sides are half a cycle apart."""
    facts = describe(kind, 0)
    walk = facts.motions["walk"]
    stands = np.array([c.planted[:-1] for c in walk.contacts])
    assert walk.ground_speed > 0
    assert stands.any(axis=0).all()
    assert 0.45 < stands.mean() < 0.8
    legs = len(stands)
    assert legs == {"biped": 2, "bird": 2, "quadruped": 4, "beetle": 6, "spider": 8}[kind]
    if kind in ("spider", "beetle"):
        assert stands.sum(axis=0).min() >= legs // 2 - 1


def test_running_and_galloping_leave_the_ground():
    for kind, motion in (("biped", "run"), ("quadruped", "gallop"), ("quadruped", "trot")):
        contacts = describe(kind, 0).motions[motion].contacts
        assert not np.array([c.planted for c in contacts]).any(axis=0).all(), (kind, motion)


def test_trot_moves_diagonals_together_and_walk_in_lateral_sequence():
    contacts = {tuple(c.planted): c.joint for c in describe("quadruped", 1).motions["trot"].contacts}
    assert len(contacts) == 2
    walk = describe("quadruped", 1).motions["walk"].contacts
    assert len({tuple(c.planted) for c in walk}) == 4


@pytest.mark.parametrize("kind", ["biped", "quadruped"])
def test_larger_bodies_step_slower(kind):
    """Pendulums: the period of a walk grows with the legs."""
    found = []
    for seed in range(8):
        facts = describe(kind, seed)
        found.append(
            (facts.motions["walk"].seconds, facts.motions["walk"].ground_speed * facts.motions["walk"].seconds)
        )
    periods, strides = np.array(found).T
    assert np.corrcoef(np.log(periods), np.log(strides))[0, 1] > 0.85


@pytest.mark.parametrize("seed", SEEDS)
def test_knees_bend_forward(rig, clips, seed):
    """In a walk, a biped's knee stays in front of the line from hip to ankle."""
    r = rig("biped", seed)
    clip = clips("biped", seed)["walk"]
    positions = r.skeleton.positions(clip.pose)
    contact = describe("biped", seed).motions["walk"].contacts[0]
    toe = list(r.skeleton.names).index(contact.joint)
    foot = r.skeleton.parents[toe]
    shin = r.skeleton.parents[foot]
    thigh = r.skeleton.parents[shin]
    hip, knee, ankle = (positions[:, j] for j in (thigh, shin, foot))
    along = ankle - hip
    share = np.sum((knee - hip) * along, axis=-1) / np.sum(along**2, axis=-1)
    off = knee - hip - share[:, None] * along
    assert np.all(off[:, 2] > 0)


def test_ballistic_flight():
    """In a leap the body falls with the acceleration of gravity."""
    from animax.procedural.leap import GRAVITY, leap

    arc = leap(height=0.4, crouch=0.2)
    time = np.linspace(arc.off, arc.down, 101)
    height = arc.body(time)
    assert np.allclose(np.diff(height, 2) / (time[1] - time[0]) ** 2, -GRAVITY, rtol=1e-6)
    assert height.max() == pytest.approx(0.4)
    for moment in (arc.off, arc.down, arc.crouched, arc.squashed):
        before, after = arc.body(np.array([moment - 1e-5, moment + 1e-5]))
        assert abs(after - before) < 1e-3

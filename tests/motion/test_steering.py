"""Turning, going and pace, followed smoothly."""

from __future__ import annotations

import numpy as np
import pytest

from animax import rotations
from animax.motion.steering import EAGERNESS, SPEED_EASE, TURN_RATE, Helm, Steering

from .synthetic import biped

FPS = 30.0


def led(rig, steering, seconds=4.0, start=None, speed=1.0):
    """The helm after each frame of a body that walks 1 m/s as generated."""
    helm = Helm(rig, start or Steering())
    states = []
    for _ in range(round(seconds * FPS)):
        helm.advance(steering, speed * rig.stance.forward, 1 / FPS)
        states.append((helm.yaw, helm.place, helm.speed))
    return helm, [np.array(part) for part in zip(*states, strict=True)]


@pytest.mark.parametrize("yaw", [0.0, 0.7])
@pytest.mark.parametrize("heading", [(1, 0, 0), (-1, 0, 0.2), (0, 0, -1), (0.3, 0, 1)])
def test_the_body_turns_to_its_heading_the_short_way_and_no_faster_than_it_may(yaw, heading):
    rig = biped(yaw=yaw)
    heading = np.array(heading) / np.linalg.norm(heading)
    helm, (yaws, places, _) = led(rig, Steering(heading=heading))
    np.testing.assert_allclose(helm.turn() @ rig.stance.forward, heading, atol=0.02)
    np.testing.assert_allclose(helm.turn() @ rig.stance.up, rig.stance.up, atol=1e-12)
    assert abs(np.linalg.det(helm.turn()) - 1) < 1e-9
    rates = np.diff(yaws) * FPS
    assert np.abs(rates).max() <= TURN_RATE + 1e-6
    assert np.abs(yaws).max() <= np.pi + 0.3
    # it goes where it faces
    course = places[-1] - places[-2]
    np.testing.assert_allclose(course / np.linalg.norm(course), heading, atol=0.03)


def test_the_turn_is_that_of_a_quaternion_about_up():
    rig = biped(yaw=0.4)
    helm, _ = led(rig, Steering(heading=np.array([1.0, 0.0, 0.0])), 1.0)
    expected = rotations.to_matrix(rotations.from_rotation_vector(helm.yaw * rig.stance.up))
    np.testing.assert_allclose(helm.turn(), expected, atol=1e-9)


def test_it_reaches_its_target_and_then_turns_no_more():
    rig = biped()
    target = np.array([3.0, 0.0, -2.0])
    helm, (yaws, places, _) = led(rig, Steering(target=target), 8.0)
    start = rig.skeleton.rest_globals[1, :3, 3]
    away = np.linalg.norm((start + places - target)[:, [0, 2]], axis=-1)
    assert away.min() < 0.35 * rig.size
    arrived = int(np.argmin(away))
    assert np.ptp(yaws[arrived : arrived + 20]) < 0.5
    assert helm.place[1] == 0


def test_speed_changes_gradually():
    rig = biped()
    _, (_, places, speeds) = led(rig, Steering(speed=2.0), 2.0)
    assert np.diff(speeds).max() <= SPEED_EASE / FPS + 1e-9
    assert speeds[-1] == 2.0
    assert abs(np.linalg.norm(places[-1] - places[-2]) * FPS - 2.0) < 1e-9


def test_an_opening_heading_holds_from_the_first_frame():
    rig = biped(yaw=0.2)
    helm = Helm(rig, Steering(heading=np.array([1.0, 0.0, 0.0])))
    np.testing.assert_allclose(helm.turn() @ rig.stance.forward, [1, 0, 0], atol=1e-9)
    assert EAGERNESS / FPS < 1

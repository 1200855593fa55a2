import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.views.camera import AZIMUTHS, ELEVATION, ROOM, orbit, template_cameras

from .shapes import cube, rig

UP, FORWARD = np.array([0.0, 1, 0]), np.array([0.0, 0, 1])
angles = st.floats(-180, 180)


def cameras(size=96, radius=1.5, center=(0.2, 0.9, -0.1), **options):
    return orbit(center, radius, FORWARD, UP, size=size, **options)


def test_projection_is_opencvs():
    """cv2.projectPoints counts pixel centres as whole numbers only if the intrinsics say so: here both use +0.5."""
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    views = cameras()
    pixels, depths = views.project(points)
    for v in range(len(views)):
        turn, _ = cv2.Rodrigues(views.extrinsics[v, :, :3])
        expected, _ = cv2.projectPoints(points, turn, views.extrinsics[v, :, 3], views.intrinsics[v], None)
        np.testing.assert_allclose(pixels[v], expected[:, 0], atol=1e-9)
        np.testing.assert_allclose(depths[v], points @ views.extrinsics[v, 2, :3] + views.extrinsics[v, 2, 3])


def test_triangulated_by_opencv_points_come_back():
    points = np.random.default_rng(1).uniform(-1, 1, (20, 3))
    views = cameras()
    pixels, _ = views.project(points)
    homogeneous = cv2.triangulatePoints(*views.matrices[:2], pixels[0].T, pixels[1].T)
    np.testing.assert_allclose((homogeneous[:3] / homogeneous[3]).T, points, atol=1e-9)


@pytest.mark.parametrize(("azimuth", "direction"), [(0, FORWARD), (90, [1, 0, 0]), (180, -FORWARD), (270, [-1, 0, 0])])
def test_azimuth_zero_sees_the_face_and_ninety_the_left_side(azimuth, direction):
    """A model that faces +Z with Y up has its left at +X."""
    view = cameras(azimuths=(azimuth,), elevation=0.0)
    center = view.centers[0] - [0.2, 0.9, -0.1]
    np.testing.assert_allclose(center / np.linalg.norm(center), direction, atol=1e-12)


@given(angles, st.floats(-80, 80))
def test_extrinsics_are_rotations_and_up_is_up_in_the_picture(azimuth, elevation):
    view = cameras(azimuths=(azimuth,), elevation=elevation)
    rotation = view.extrinsics[0, :, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0
    low, high = view.project(np.array([[0.2, 0.9, -0.1], [0.2, 1.0, -0.1]]))[0][0]
    assert high[1] < low[1]
    np.testing.assert_allclose(low, 48.0, atol=1e-9)


@given(angles)
def test_the_sphere_just_fits(azimuth):
    view = cameras(size=100, azimuths=(azimuth,), elevation=20.0)
    points = np.random.default_rng(2).normal(size=(4000, 3))
    points = np.array([0.2, 0.9, -0.1]) + 1.5 * points / np.linalg.norm(points, axis=-1, keepdims=True)
    pixels, _ = view.project(points)
    assert pixels.min() >= -1e-9
    assert pixels.max() <= 100 + 1e-9
    assert pixels.min() < 1
    assert pixels.max() > 99


@given(st.integers(8, 300), st.integers(8, 300))
def test_resized_views_show_the_same_share_of_the_picture(before, after):
    points = np.random.default_rng(3).uniform(-1, 1, (5, 3))
    a, b = cameras(size=before), cameras(size=before).resized(after)
    np.testing.assert_allclose(a.project(points)[0] / before, b.project(points)[0] / after, atol=1e-9)
    assert b.size == after


def test_a_ray_through_a_pixel_centre_projects_to_it():
    views = cameras(size=7)
    directions, centers = views.rays()
    along = centers[:, None, None] + 2.7 * directions
    for v in range(len(views)):
        pixels, _ = views.project(along[v])
        axis = np.arange(7) + 0.5
        np.testing.assert_allclose(pixels[v], np.stack(np.meshgrid(axis, axis), axis=-1), atol=1e-9)


def test_pluecker_moment_is_perpendicular_to_the_direction_and_the_same_along_the_ray():
    views = cameras()
    moment, direction = np.split(np.moveaxis(views.pluecker(8, (0.3, -0.2, 0.5), 2.0), 1, -1), 2, axis=-1)
    np.testing.assert_allclose(np.sum(moment * direction, axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1)
    directions, centers = views.rays(8)
    for t in (-3.0, 0.7, 10.0):
        point = (centers[:, None, None] + t * directions - [0.3, -0.2, 0.5]) / 2.0
        np.testing.assert_allclose(np.cross(point, directions), moment, atol=1e-11)


@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_pluecker_does_not_depend_on_size_and_place(scale, shift):
    """A rig twice as large, elsewhere, is the same to the network."""
    center = np.array([shift, -shift, 2 * shift])
    moved = orbit(center, 1.5 * scale, FORWARD, UP, size=8).pluecker(4, center, scale)
    np.testing.assert_allclose(moved, orbit((0, 0, 0), 1.5, FORWARD, UP, size=8).pluecker(4, (0, 0, 0), 1.0), atol=1e-9)


def test_template_views_hold_the_rest_box_with_room():
    body = rig(cube([(1, 1, 1)] * 6))
    views = template_cameras(body, size=64)
    pixels, depths = views.project(body.rest_vertices)
    assert len(views) == len(AZIMUTHS)
    assert (depths > 0).all()
    assert pixels.min() > 64 * 0.1
    assert pixels.max() < 64 * 0.9
    sines = (views.centers / np.linalg.norm(views.centers, axis=-1, keepdims=True)) @ UP
    np.testing.assert_allclose(np.rad2deg(np.arcsin(sines)), ELEVATION, atol=1e-9)


def test_pluecker_rays_of_the_body_do_not_depend_on_where_it_stands_and_faces():
    """The network was trained on the rays of a body at the origin that faces +Z."""
    forward, up = np.array([0.6, 0.0, -0.8]), np.array([0.0, 1.0, 0.0])
    axes = np.stack([np.cross(up, forward), up, forward])
    center = np.array([3.0, -1.0, 2.0])
    here = orbit(center, 5.0 * ROOM, forward, up, size=32).pluecker(4, center, 5.0, axes)
    trained = orbit(np.zeros(3), ROOM, np.array([0.0, 0, 1]), up, size=1).pluecker(4, np.zeros(3), 1.0)
    np.testing.assert_allclose(here, trained, atol=1e-12)
    assert not np.allclose(orbit(center, 5.0 * ROOM, forward, up, size=32).pluecker(4, center, 5.0), trained, atol=0.1)

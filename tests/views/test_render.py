import cv2
import numpy as np
import pytest

from animax.assets.mesh import Material
from animax.errors import OptionError
from animax.views.camera import orbit
from animax.views.colour import decode_srgb
from animax.views.render import BACKGROUND, GROUND, HEADLIGHT, SKY, check_background, render, render_frames

from .shapes import FACES, cube, mesh, quad, sphere

UP, FORWARD = (0.0, 1, 0), (0.0, 0, 1)
PALETTE = [(0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.8, 0.8, 0.1), (0.1, 0.8, 0.8), (0.8, 0.1, 0.8)]


def views(size=64, radius=1.5, **options):
    return orbit((0, 0, 0), radius, FORWARD, UP, size=size, **options)


def front(size=64, radius=1.5):
    return views(size, radius, azimuths=(0.0,), elevation=0.0)


def centroid(weights):
    axis = np.arange(weights.shape[-1]) + 0.5
    return np.array([(weights.sum(axis=-2) * axis).sum(-1), (weights.sum(axis=-1) * axis).sum(-1)]).T / weights.sum()


def test_a_spheres_silhouette_has_the_area_and_place_of_its_cone():
    """A unit sphere at distance d is the disc of tan(asin(1 / d)), whatever the azimuth."""
    ball = sphere(120, 240)
    cameras = views(size=96)
    out = render(ball, ball.positions, cameras)
    distance = np.linalg.norm(cameras.centers[0])
    radius = cameras.intrinsics[0, 0, 0] * np.tan(np.arcsin(1 / distance))
    for mask in out.mask:
        assert mask.sum() == pytest.approx(np.pi * radius**2, rel=3e-3)
        np.testing.assert_allclose(centroid(mask), 48, atol=0.03)


def test_pixel_centres_are_where_the_cameras_say():
    """No bias: over many sub-pixel places a small ball's centroid is its projected centre."""
    ball = sphere(16, 32)
    cameras = front(size=48)
    shifts = np.random.default_rng(0).uniform(-0.5, 0.5, (60, 3)) * [1, 1, 0]
    out = render(ball, 0.25 * ball.positions + shifts[:, None], cameras)
    expected = cameras.project(shifts)[0][0]
    # away from the middle a ball is seen as an ellipse that leans outwards by less than this
    error = np.array([centroid(mask) for mask in out.mask[0]]) - expected
    assert np.abs(error.mean(axis=0)).max() < 0.05
    assert np.abs(error).max() < 0.15


def test_coverage_is_an_opencv_polygons():
    """Every sample's hit or miss, against the point-in-polygon test of OpenCV on projected corners."""
    triangle = mesh([[-0.7, -0.4, 0.3], [0.8, -0.5, -0.4], [0.1, 0.9, 0.2]], [[0, 1, 2]])
    cameras = views(size=40, azimuths=(20.0,))
    mask = render(triangle, triangle.positions, cameras, supersample=1).mask[0]
    polygon = cameras.project(triangle.positions)[0][0].astype(np.float32)[:, None]
    for y in range(40):
        for x in range(40):
            signed = cv2.pointPolygonTest(polygon, (x + 0.5, y + 0.5), True)
            if abs(signed) > 1e-3:
                assert (mask[y, x] > 0) == (signed > 0), (x, y, signed)


def test_depth_is_the_distance_along_the_axis():
    cameras = front()
    distance = np.linalg.norm(cameras.centers[0])
    wall = quad(20.0)
    np.testing.assert_allclose(render(wall, wall.positions, cameras).depth, distance, rtol=1e-5)
    ball = sphere(120, 240)
    out = render(ball, ball.positions, cameras)
    assert out.depth.min() == pytest.approx(distance - 1, rel=1e-3)
    assert np.isinf(out.depth[out.mask == 0]).all()
    assert np.isfinite(out.depth[out.mask > 0]).all()


def test_depth_of_a_slope_is_its_rays():
    """Perspective-correct: against the intersection of each pixel's ray with the plane."""
    cameras = front(size=32)
    wall = quad(8.0)
    turn, _ = cv2.Rodrigues(np.array([0.3, 0.7, 0.0]))
    out = render(wall, wall.positions @ turn.T, cameras, supersample=1)
    directions, centers = cameras.rays()
    normal = turn[:, 2]
    along = -(centers[0] @ normal) / (directions[0] @ normal)
    expected = along * (directions[0] @ cameras.extrinsics[0, 2, :3])
    hit = out.mask[0] > 0
    assert hit.mean() > 0.9
    np.testing.assert_allclose(out.depth[0][hit], expected[hit], rtol=1e-4)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "face"),
    [(0, 0, "+z"), (90, 0, "+x"), (180, 0, "-z"), (270, 0, "-x"), (0, 89.9, "+y"), (0, -89.9, "-y")],
)
def test_each_view_sees_its_face_of_the_cube(azimuth, elevation, face):
    box = cube(PALETTE)
    cameras = views(azimuths=(float(azimuth),), elevation=float(elevation))
    colour = render(box, box.positions, cameras).rgb[0, 32, 32]
    light = decode_srgb(colour)
    expected = np.array(PALETTE[list(FACES).index(face)])
    np.testing.assert_allclose(light / light.sum(), expected / expected.sum(), atol=0.01)


def test_near_hides_far_in_any_order_of_triangles():
    small, large = np.add(quad(0.6).positions, [0, 0, 0.5]), quad(1.4).positions
    corners = np.concatenate([small, large])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    materials = (Material("near", np.array([1.0, 0, 0, 1])), Material("far", np.array([0, 0, 1.0, 1])))
    which = np.array([0, 0, 1, 1])
    pictures = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        both = mesh(corners, triangles[order], materials=materials, triangle_materials=which[order])
        pictures.append(render(both, corners, front()).rgb[0])
    assert pictures[0][32, 32, 0] > 200
    assert pictures[0][32, 32, 2] == 0
    assert pictures[0][32, 18, 2] > 200
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_textures_stand_upright_and_unmirrored():
    """glTF's (0, 0) is the first pixel of the image, its top left; nothing is mirrored for who looks at the front."""
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :32], texture[:32, 32:], texture[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    sign = quad(1.6, (Material("m", np.ones(4), texture),))
    picture = render(sign, sign.positions, front()).rgb[0]
    assert picture[24, 24].argmax() == 0
    assert picture[24, 40].argmax() == 1
    assert picture[40, 24].argmax() == 2
    assert picture[40, 40].max() == 0


def test_a_texture_seen_one_to_one_is_the_texture():
    """Every texel lands on its pixel, up to the one factor of the light."""
    texture = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    sign = quad(2.0, (Material("m", np.ones(4), texture),))
    cameras = orbit((0, 0, 0), 100, FORWARD, UP, size=64, azimuths=(0.0,), elevation=0.0, field_of_view=0.5)
    focal = cameras.intrinsics[0, 0, 0]
    scale = 64 / 2 * np.linalg.norm(cameras.centers[0]) / focal
    picture = render(sign, sign.positions * scale, cameras, supersample=1).rgb[0]
    light = HEADLIGHT + (SKY + GROUND) / 2
    np.testing.assert_allclose(decode_srgb(picture), decode_srgb(texture) * light, atol=0.012)


def test_textures_repeat():
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0] = texture[1, 1] = 255
    sign = quad(1.6, (Material("m", np.ones(4), texture),))
    shifted = mesh(sign.positions, sign.triangles, texcoords=sign.texcoords - 3.0, materials=sign.materials)
    a, b = (render(m, sign.positions, front()).rgb for m in (sign, shifted))
    np.testing.assert_array_equal(a, b)


def test_a_fine_texture_seen_from_afar_is_its_mean_light():
    """Mip levels: a checkerboard of 0 and 255 is half the light (sRGB 188), not half the byte and no moiré."""
    board = np.indices((256, 256)).sum(axis=0)[..., None] % 2 * np.full(3, 255)
    sign = quad(1.0, (Material("m", np.ones(4), board.astype(np.uint8)),))
    picture = render(sign, sign.positions, front(size=24)).rgb[0]
    light = decode_srgb(picture[10:14, 10:14])
    np.testing.assert_allclose(light, 0.5 * (HEADLIGHT + (SKY + GROUND) / 2), atol=0.02)
    assert np.ptp(light) < 0.02


def test_both_sides_of_a_double_sided_sheet_look_alike():
    both = quad(1.6, (Material("m", np.ones(4), double_sided=True),))
    out = render(both, both.positions, views(azimuths=(0.0, 180.0), elevation=0.0))
    assert out.mask[:, 16:48, 16:48].min() == 1
    np.testing.assert_array_equal(out.rgb[0], out.rgb[1])


def two_sheets(double_sided):
    """A red sheet at z = 0.3 that faces +Z, and a blue one at z = -0.3 that does too."""
    corners = np.concatenate([np.add(quad(1.2).positions, [0, 0, 0.3]), np.add(quad(0.8).positions, [0, 0, -0.3])])
    materials = (
        Material("near", np.array([1.0, 0, 0, 1]), double_sided=double_sided),
        Material("far", np.array([0, 0, 1.0, 1])),
    )
    return mesh(
        corners, [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], materials=materials, triangle_materials=[0, 0, 1, 1]
    )


def test_the_back_of_a_sheet_shows_only_where_no_front_does():
    """Seen from -Z both backs are seen, the nearer first; turned round, the red back is nearer than the blue front."""
    sheets = two_sheets(False)
    behind = views(azimuths=(180.0,), elevation=0.0)
    assert render(sheets, sheets.positions, behind).rgb[0, 32, 32].argmax() == 2
    faced = sheets.positions.copy()
    faced[4:, 0] *= -1  # the blue sheet now faces -Z
    faced[:4, 2] = -0.6  # and the red one stands before it, its back to us
    assert render(sheets, faced, behind).rgb[0, 32, 32].argmax() == 2
    assert render(sheets, faced, behind).rgb[0, 32, 20].argmax() == 0
    doubled = two_sheets(True)
    assert render(doubled, faced, behind).rgb[0, 32, 32].argmax() == 0
    hit = render(sheets, faced, behind)
    np.testing.assert_allclose(hit.depth[0, 32, 20], np.linalg.norm(behind.centers[0]) - 0.6, rtol=1e-4)


def test_closed_bodies_never_show_their_backs():
    """A ball seen from inside is not there; one with a hole is."""
    ball = sphere(20, 40)
    inside = orbit((0, 0, 0), 0.1, FORWARD, UP, size=32)
    assert render(ball, ball.positions, inside).mask.max() == 0
    holed = mesh(ball.positions, ball.triangles[80:], normals=ball.normals)
    assert render(holed, holed.positions, inside).mask.min() > 0.9


def test_vertex_colours_and_base_colour_multiply():
    base = mesh(
        quad(1.6).positions,
        quad().triangles,
        colors=np.tile([0.5, 1.0, 0.25, 1.0], (4, 1)),
        materials=(Material("m", np.array([0.8, 0.5, 1.0, 1.0])),),
    )
    light = decode_srgb(render(base, base.positions, front()).rgb[0, 32, 32])
    np.testing.assert_allclose(light, np.array([0.4, 0.5, 0.25]) * (HEADLIGHT + (SKY + GROUND) / 2), atol=0.01)


def test_light_follows_lamberts_law_on_a_sphere():
    """Headlight and hemisphere, evaluated at the ball's own normals."""
    ball = sphere(120, 240)
    cameras = front(size=96)
    picture = decode_srgb(render(ball, ball.positions, cameras, supersample=1).rgb[0])
    directions, centers = cameras.rays()
    b = directions[0] @ centers[0]
    root = b**2 - centers[0] @ centers[0] + 1
    inside = root > 0.2
    normal = centers[0] + directions[0] * (-b - np.sqrt(np.maximum(root, 0)))[..., None]
    facing = -np.sum(normal * directions[0], axis=-1)
    expected = HEADLIGHT * facing + (SKY + GROUND) / 2 + (SKY - GROUND) / 2 * normal[..., 1]
    np.testing.assert_allclose(picture[inside][:, 0], np.clip(expected, 0, 1)[inside], atol=0.02)


def test_normals_follow_the_skin():
    """A ball that was turned and blown up is lit as the ball at rest: the light is not part of the mesh."""
    ball = sphere(40, 80)
    turn, _ = cv2.Rodrigues(np.array([0.4, 1.1, -0.7]))
    at_rest = render(ball, ball.positions, front()).rgb.astype(int)
    turned = render(ball, ball.positions @ turn.T, front()).rgb.astype(int)
    assert np.abs(at_rest - turned).max() <= 12
    assert np.abs(at_rest - turned).mean() < 0.3


@pytest.mark.parametrize("factor", [1e-3, 100.0])
def test_units_do_not_matter(factor):
    ball = sphere(30, 60)
    scaled = mesh(ball.positions * factor, ball.triangles, normals=ball.normals)
    cameras = orbit((0, 0, 0), 1.5 * factor, FORWARD, UP, size=48)
    expected = render(ball, ball.positions, views(size=48)).rgb.astype(int)
    assert np.abs(render(scaled, scaled.positions, cameras).rgb - expected).max() <= 2


def test_frames_in_a_batch_are_the_frames_alone():
    box = cube(PALETTE)
    frames = np.stack([box.positions * s + [0.1 * s, 0, 0] for s in np.linspace(0.3, 1.2, 37)])
    cameras = views(size=32)
    batch = render_frames(box, frames, cameras)
    assert batch.shape == (4, 37, 32, 32, 3)
    for f in (0, 11, 36):
        np.testing.assert_array_equal(batch[:, f], render(box, frames[f], cameras).rgb)
    np.testing.assert_array_equal(batch[1:3], render_frames(box, frames, cameras[1:3]))


@pytest.mark.parametrize("supersample", [1, 2, 3, 4])
def test_edges_between_triangles_leave_no_holes(supersample):
    """Not even where samples lie exactly on them: a fan around the middle of the picture."""
    turn = np.arange(8) * np.pi / 4
    rim = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=-1)
    fan = mesh([[0, 0, 0], *rim], [[0, i + 1, (i + 1) % 8 + 1] for i in range(8)])
    mask = render(fan, fan.positions, front(), supersample=supersample).mask[0]
    y, x = np.indices(mask.shape) + 0.5 - 32
    assert mask[np.hypot(x, y) < 15].min() == 1


def test_supersampling_approaches_the_exact_share():
    ball = sphere(60, 120)
    exact = render(ball, ball.positions, front(size=24), supersample=12).mask
    errors = [np.abs(render(ball, ball.positions, front(size=24), supersample=s).mask - exact).max() for s in (1, 2, 4)]
    assert errors[0] > errors[1] > errors[2]


def test_nothing_to_see_is_the_background():
    box = cube(PALETTE)
    beside = render(box, np.add(box.positions, [100.0, 0, 0]), front())
    behind = render(box, np.add(box.positions, [0, 0, 100.0]), front())
    empty = render(mesh(np.zeros((0, 3)), np.zeros((0, 3), int)), np.zeros((0, 3)), front())
    glass = cube(PALETTE)
    glass = mesh(glass.positions, glass.triangles, materials=(Material("glass", np.array([1.0, 1, 1, 0])),))
    clear = render(glass, glass.positions, front())
    for out in (beside, behind, empty, clear):
        assert (out.rgb == BACKGROUND).all()
        assert out.mask.max() == 0


def test_what_reaches_behind_the_camera_does_not_spoil_the_rest():
    corners = np.concatenate([quad(0.8).positions, [[-40.0, -30, 60], [40, -30, 60], [0, -30, -60]]])
    both = mesh(corners, [[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    out = render(both, corners, front())
    assert out.mask[0, 32, 32] == 1
    assert out.depth[0, 32, 32] == pytest.approx(np.linalg.norm(front().centers[0]), rel=1e-4)


def test_uncovered_pixels_are_exactly_the_background():
    box = cube(PALETTE)
    out = render(box, box.positions, views())
    assert (out.rgb[out.mask == 0] == BACKGROUND).all()
    check_background(out.rgb)
    with pytest.raises(OptionError, match=r"\(200, 128, 128\).*\(128, 128, 128\)"):
        check_background(np.where(out.mask[..., None] == 0, np.array([200, 128, 128]), out.rgb).astype(np.uint8))


@pytest.mark.parametrize(
    ("vertices", "message"),
    [(np.zeros((3, 3)), "vertices"), (np.full((24, 3), np.nan), "finite"), (np.zeros((2, 2, 24, 3)), "vertices")],
)
def test_wrong_vertices_are_refused(vertices, message):
    with pytest.raises(OptionError, match=message):
        render(cube(PALETTE), vertices, front())


def test_threads_do_not_disturb_one_another():
    from concurrent.futures import ThreadPoolExecutor

    box, ball = cube(PALETTE), sphere(20, 40)
    jobs = [(m, m.positions * s) for s in (0.5, 0.8, 1.0) for m in (box, ball)] * 4
    alone = [render(m, v, views()).rgb for m, v in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: render(*job, views()).rgb, jobs))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_real_rigs_fill_their_views(real_rigs):
    """Of every category one rig: seen in all four views, off the border, and not a flat colour."""
    import json

    from animax.assets import load_rig
    from animax.views.camera import template_cameras

    first = {}
    for entry in json.loads((real_rigs / "manifest.json").read_text())["rigs"]:
        first.setdefault(entry["category"], entry)
    for entry in first.values():
        rig = load_rig(real_rigs / entry["file"])
        out = render(rig.mesh, rig.rest_vertices, template_cameras(rig, size=64), up=rig.stance.up)
        covered = out.mask.mean(axis=(1, 2))
        assert covered.min() > 0.003, entry["id"]
        assert out.mask[:, [0, -1]].max() == 0, entry["id"]
        assert out.rgb[out.mask > 0.9].std(axis=0).max() > 3, entry["id"]
        check_background(out.rgb)

"""How long the template renderer takes on this machine, and the reading of coloured pose maps, and how well it reads:
``python -m animax.views.measure``."""

from __future__ import annotations

import sys
import time

import numpy as np

from animax.assets import load_rig, read_clips
from animax.assets.markers import choose_markers
from animax.assets.mesh import Material, Mesh
from animax.procedural import generate
from animax.views.camera import ROOM, orbit, template_cameras
from animax.views.render import render
from animax.views.rgb import RADIUS, RgbPoseMap, reduced

CASES = ((20_000, 256, 1), (3_000, 64, 16), (3_000, 32, 16), (3_000, 24, 16))
"""Triangles, image size and frames."""
DRAWN = 480
READ = (96, 120, 160, 240, 480)
"""Pixels of pose maps."""


def textured_ball(triangles: int) -> Mesh:
    """A unit sphere of about so many triangles with a noisy 256 × 256 texture."""
    rows = round((triangles / 4) ** 0.5)
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, 2 * rows + 1), indexing="ij")
    points = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)], axis=-1)
    i, j = np.meshgrid(np.arange(rows), np.arange(2 * rows), indexing="ij")
    a = i * (2 * rows + 1) + j
    b, c, d = a + 1, a + 2 * rows + 1, a + 2 * rows + 2
    points = points.reshape(-1, 3)
    texture = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    faces = np.stack([a, c, d, a, d, b], axis=-1).reshape(-1, 3)
    return Mesh(
        positions=points,
        normals=points,
        texcoords=np.stack([turn / (2 * np.pi), polar / np.pi], axis=-1).reshape(-1, 2),
        colors=np.ones((len(points), 4)),
        triangles=faces,
        triangle_materials=np.zeros(len(faces), np.int64),
        bindings=np.zeros((len(points), 4), np.int64),
        weights=np.tile([1.0, 0.0, 0.0, 0.0], (len(points), 1)),
        binding_joints=np.zeros(1, np.int64),
        inverse_binds=np.eye(4)[None],
        materials=(Material("noise", np.ones(4), texture),),
    )


def seconds(triangles: int, size: int, frames: int, repeats: int = 5) -> tuple[float, float]:
    """Least wall and processor seconds for one picture, of ``repeats`` runs over four views."""
    ball = textured_ball(triangles)
    # a ball whose rest box has a half diagonal of √3 radii, as ``template_cameras`` would show it
    cameras = orbit((0, 0, 0), ROOM * 3**0.5, (0, 0, 1), (0, 1, 0), size=size)
    vertices = np.repeat(ball.positions[None], frames, axis=0)
    render(ball, vertices[:1], cameras)
    runs = []
    for _ in range(repeats):
        wall, own = time.perf_counter(), time.process_time()
        render(ball, vertices, cameras)
        runs.append((time.perf_counter() - wall, time.process_time() - own))
    wall_least, own_least = np.min(runs, axis=0) / (frames * len(cameras))
    return float(wall_least), float(own_least)


def reading(size: int, frames: int = 8) -> tuple[float, float, float, float]:
    """What it takes to find markers in pictures of ``DRAWN`` pixels, made ``size`` pixels small.

    Returns:
        processor seconds a picture; median and 95th percentile of the error, in picture widths; share that is found.
    """
    rig = load_rig(generate("biped", seed=1))
    clip = read_clips(rig)[0]
    codec = RgbPoseMap(DRAWN, RADIUS * DRAWN)
    markers = choose_markers(rig, codec.colours)
    at = np.linspace(0, len(clip) - 1, frames).astype(np.int64)
    points, depths = template_cameras(rig, size=DRAWN).project(markers.positions(rig.skeleton.globals(clip.pose)[at]))
    maps = codec.draw(points, depths, markers, DRAWN)
    began = time.process_time()
    seen = codec.resized(size).decode(reduced(maps, size), markers, DRAWN)
    own = (time.process_time() - began) / (frames * len(maps))
    drawn = codec.drawn(markers)
    found = seen.confidence[:, :, drawn] > 0
    errors = np.linalg.norm(seen.points - points, axis=-1)[:, :, drawn][found] / DRAWN
    return own, float(np.median(errors)), float(np.percentile(errors, 95)), float(found.mean())


def main() -> None:
    """Print a line for each case."""
    for triangles, size, frames in CASES:
        wall, own = seconds(triangles, size, frames)
        what = f"{triangles:6d} triangles, {size:3d} px, {frames:2d} frames × 4 views"
        sys.stdout.write(f"{what}: {wall * 1e3:6.2f} ms a picture ({own * 1e3:.2f} ms of processor)\n")
    for size in READ:
        own, median, worst, found = reading(size)
        sys.stdout.write(
            f"coloured pose maps of {DRAWN} px read at {size:3d} px: {own * 1e3:6.1f} ms of processor a picture, "
            f"error {median:.2%} of its width at the median, {worst:.2%} at the 95th percentile, {found:.1%} found\n"
        )


if __name__ == "__main__":
    main()

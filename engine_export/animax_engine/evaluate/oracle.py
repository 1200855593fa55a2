"""The oracle chain: what the way from pose maps to rotations loses when the pose maps are perfect.

Each clip's true markers are projected into the template views, drawn, decoded, triangulated and turned into rotations
again; the result is compared with the clip. Errors of the network are not part of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets import load_rig, read_clips
from animax.assets.markers import MarkerKind, MarkerSet, choose_markers
from animax.assets.mesh import Mesh
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.errors import GenerationError
from animax.motion.clip import Clip
from animax.motion.inverse_kinematics import inverse_fk, solve_rotations
from animax.motion.localise import reject_jumps
from animax.motion.travel import remove_travel
from animax.motion.triangulate import triangulate
from animax.views.camera import ROOM, template_cameras
from animax.views.pose_map import Observations, PoseMapCodec

Array = NDArray[np.float64]

FPS = 16.0
"""Frames a second of the network's pose maps."""
MAX_FRAMES = 49
"""Frames of a clip that are looked at."""
MAX_VERTICES = 1500
"""Vertices of a rig whose error is measured, evenly drawn."""
FOUND = 0.1
"""Confidence above which a marker counts as found."""
FLIP = np.deg2rad(60.0)
"""Turn between neighbouring frames that counts as a flip ..."""
CALM = np.deg2rad(20.0)
"""... where the true one is below this."""

ERRORS = ("mpjpe", "mpjpe_all", "driver_angle", "joint_angle", "vertex", "vertex_p95")
"""What is compared of a clip, beside its flips."""


@dataclass(frozen=True)
class ClipResult:
    """One clip's errors. Lengths in percent of the rig's size D, angles in degrees; means unless said otherwise. Of a
    clip that the views do not show at all, errors are NaN.

    Attributes:
        rig: the rig's id in the data set.
        category: of the rig.
        clip: the clip's name.
        drivers: driver joints.
        markers: markers.
        frames: frames compared.
        outside: share of projected markers outside the views, percent.
        found: share of the drawn markers inside that were decoded with confidence above ``FOUND``, percent.
        located: share of the drawn markers that at least two views found, percent.
        localisation: median distance of decoded from true marker, pixels of the pose map's frame.
        points: mean distance of triangulated from true marker, %D.
        mpjpe: mean position error of the joints that move vertices, %D.
        mpjpe_all: the same over every joint of the skeleton, controls without skin included, %D.
        driver_angle: geodesic error of the drivers' world rotations, degrees.
        joint_angle: the same over the joints that move vertices, degrees.
        vertex: mean distance of skinned vertices, %D.
        vertex_p95: its 95th percentile over vertices and frames, %D.
        flips: driver rotations that jump where the true ones do not.
        seconds: time for localise, triangulate and rotations.
        baseline_mpjpe: ``mpjpe`` of the paper's inverse FK.
        baseline_vertex: ``vertex`` of the paper's inverse FK.
        baseline_flips: ``flips`` of the paper's inverse FK.
    """

    rig: str
    category: str
    clip: str
    drivers: int
    markers: int
    frames: int
    outside: float
    found: float
    located: float
    localisation: float
    points: float
    mpjpe: float
    mpjpe_all: float
    driver_angle: float
    joint_angle: float
    vertex: float
    vertex_p95: float
    flips: int
    seconds: float
    baseline_mpjpe: float
    baseline_vertex: float
    baseline_flips: int


def run_oracle(
    data_dir: Path | str,
    codec: str = "splat",
    *,
    noise: float = 0.0,
    limit: int | None = None,
    clips_per_rig: int | None = None,
    max_frames: int = MAX_FRAMES,
    rigs: tuple[str, ...] = (),
    room: float = ROOM,
    size: int | None = None,
    seed: int = 0,
) -> Iterator[ClipResult]:
    """Run the chain on the data set's rigs and clips; gives each clip's errors as it is done.

    Args:
        data_dir: folder with ``manifest.json`` (see the data set's README).
        codec: ``splat`` (64 channels on an 8 × 8 grid) or ``rgb`` (96 × 96 pixels, at most 24 drivers).
        noise: standard deviation of Gaussian noise on decoded points, in frame widths.
        limit: most rigs, spread evenly over the list; None for all.
        clips_per_rig: most clips of a rig, spread evenly; None for all.
        max_frames: frames of each clip.
        rigs: ids to look at; empty for all.
        room: see ``template_cameras``.
        size: side of the views' frame in pixels; None for the codec's own.
        seed: of the noise.
    """
    maps, frame = _codec(codec)
    frame = size or frame
    for entry, rig in _rigs(Path(data_dir), limit, rigs):
        markers = _markers(rig, codec)
        for clip in _some(read_clips(rig, fps=FPS), clips_per_rig):
            clip = clip.with_pose(clip.pose[:max_frames])
            yield evaluate_clip(
                rig, markers, remove_travel(clip, rig), maps, frame, noise=noise, room=room, seed=seed, names=entry
            )


def evaluate_clip(
    rig: Rig,
    markers: MarkerSet,
    clip: Clip,
    codec: PoseMapCodec,
    frame: int,
    *,
    noise: float = 0.0,
    room: float = ROOM,
    seed: int = 0,
    names: tuple[str, str] = ("", ""),
) -> ClipResult:
    """One clip through the chain; see ``ClipResult`` for what is measured."""
    truth = rig.skeleton.globals(clip.pose)
    true_points = markers.positions(truth)
    cameras = template_cameras(rig, size=frame, room=room)
    pixels, depths = cameras.project(true_points)
    inside = np.all((pixels >= 0) & (pixels <= frame), axis=-1)
    observations = codec.decode(codec.draw(pixels, depths, markers, frame), markers, frame)
    # colour maps do not draw off-axis markers
    drawn = inside & ((markers.kinds != MarkerKind.OFF_AXIS) | (codec.channels > 3))
    miss = np.linalg.norm(observations.points - pixels, axis=-1)[drawn]
    found = observations.confidence[drawn] > FOUND
    twice = (np.sum(drawn & (observations.confidence > FOUND), axis=0) >= 2)[drawn.any(axis=0)]
    if noise:
        random = np.random.default_rng(seed)
        jitter = noise * frame * random.normal(size=observations.points.shape)
        observations = Observations(observations.points + jitter, observations.confidence)

    began, off = time.perf_counter(), float("nan")
    try:
        points = triangulate(cameras, reject_jumps(observations, frame))
    except GenerationError:  # in no frame
        seconds = time.perf_counter() - began
        errors = baseline = dict.fromkeys(ERRORS, off) | {"flips": 0}
    else:
        pose = solve_rotations(rig.skeleton, markers, points, clip.fps)
        seconds = time.perf_counter() - began
        off = 100 * float(np.linalg.norm(points.points - true_points, axis=-1).mean()) / rig.size
        errors = _errors(rig, markers, truth, pose)
        baseline = _errors(rig, markers, truth, inverse_fk(rig.skeleton, markers, points))
    return ClipResult(
        rig=names[0],
        category=names[1],
        clip=clip.name,
        drivers=len(markers.drivers),
        markers=len(markers),
        frames=len(clip),
        outside=100 * float(1 - inside.mean()),
        found=100 * float(found.mean()) if found.size else 0.0,
        located=100 * float(np.mean(twice)) if twice.size else 0.0,
        localisation=float(np.median(miss[found])) if found.any() else float("nan"),
        points=off,
        seconds=seconds,
        **errors,
        **{f"baseline_{k}": baseline[k] for k in ("mpjpe", "vertex", "flips")},
    )


def _errors(rig: Rig, markers: MarkerSet, truth: Array, pose: Pose) -> dict[str, Any]:
    found = rig.skeleton.globals(pose)
    distance = 100 / rig.size * np.linalg.norm(found[..., :3, 3] - truth[..., :3, 3], axis=-1)
    true_turns, turns = rotations.orientations(truth), rotations.orientations(found)
    angle = np.rad2deg(rotations.between(true_turns, turns))
    jump = rotations.between(turns[1:], turns[:-1])[:, markers.drivers]
    true_jump = rotations.between(true_turns[1:], true_turns[:-1])[:, markers.drivers]
    surface = _thinned(rig.mesh)
    gap = 100 / rig.size * np.linalg.norm(surface.skin(found) - surface.skin(truth), axis=-1)
    return {
        "mpjpe": float(distance[:, rig.deforming].mean()),
        "mpjpe_all": float(distance.mean()),
        "driver_angle": float(angle[:, markers.drivers].mean()),
        "joint_angle": float(angle[:, rig.deforming].mean()),
        "vertex": float(gap.mean()),
        "vertex_p95": float(np.percentile(gap, 95)),
        "flips": int(np.sum((jump > FLIP) & (true_jump < CALM))),
    }


def _thinned(mesh: Mesh) -> Mesh:
    """At most ``MAX_VERTICES`` of the vertices, evenly drawn, without triangles."""
    step = -(-max(len(mesh.positions), 1) // MAX_VERTICES)
    return replace(
        mesh,
        positions=mesh.positions[::step],
        normals=mesh.normals[::step],
        texcoords=mesh.texcoords[::step],
        colors=mesh.colors[::step],
        bindings=mesh.bindings[::step],
        weights=mesh.weights[::step],
        triangles=mesh.triangles[:0],
        triangle_materials=mesh.triangle_materials[:0],
    )


def _codec(name: str) -> tuple[PoseMapCodec, int]:
    if name == "splat":
        from animax.views.splat import SplatPoseMap

        return SplatPoseMap(), 64
    if name == "rgb":
        from animax.views.rgb import RgbPoseMap

        return RgbPoseMap(), 96
    raise ValueError(f"codec {name!r}; accepted: splat, rgb")


def _markers(rig: Rig, codec: str) -> MarkerSet:
    return choose_markers(rig) if codec == "splat" else choose_markers(rig, channels=48)


def _rigs(data: Path, limit: int | None, wanted: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], Rig]]:
    entries = json.loads((data / "manifest.json").read_text())["rigs"]
    if wanted:
        entries = [e for e in entries if e["id"] in wanted]
    for entry in _some(entries, limit):
        yield (entry["id"], entry["category"]), load_rig(data / entry["file"])


def _some(items: list[Any], limit: int | None) -> list[Any]:
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


COLUMNS = (
    "outside",
    "found",
    "located",
    "localisation",
    "points",
    "mpjpe",
    "mpjpe_all",
    "driver_angle",
    "joint_angle",
    "vertex",
    "baseline_mpjpe",
    "baseline_vertex",
    "flips",
    "baseline_flips",
    "seconds",
)


def summary(results: list[ClipResult], worst: int = 10) -> str:
    """Markdown: median and 95th percentile of every measure (flips: total), medians by category, worst clips."""
    lines = [f"{len(results)} clips of {len({r.rig for r in results})} rigs", ""]
    lines += ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]

    def row(title: str, some: list[ClipResult], percent: float) -> str:
        cells = []
        for column in COLUMNS:
            values = np.array([getattr(r, column) for r in some], np.float64)
            if column.endswith("flips"):
                cells.append(f"{int(values.sum())}")
            else:
                flip = 100 - percent if column in ("found", "located") else percent
                cells.append("–" if np.isnan(values).all() else f"{np.nanpercentile(values, flip):.3g}")
        return f"| {title} | " + " | ".join(cells) + " |"

    lines += [row("median", results, 50), row("P95", results, 95)]
    lines += [
        row(category, [r for r in results if r.category == category], 50)
        for category in sorted({r.category for r in results})
    ]
    lines += ["", f"worst {worst} by vertex error:", ""]
    seen = [r for r in results if not np.isnan(r.vertex)]
    for r in sorted(seen, key=lambda r: -r.vertex)[:worst]:
        lines.append(
            f"- {r.rig} / {r.clip}: vertex {r.vertex:.2f} %D, mpjpe {r.mpjpe:.2f} %D, drivers {r.driver_angle:.1f}°, "
            f"joints {r.joint_angle:.1f}°, outside {r.outside:.1f} %, {r.drivers} drivers, flips {r.flips}"
        )
    unseen = [f"{r.rig}/{r.clip}" for r in results if np.isnan(r.vertex)]
    if unseen:
        lines += ["", f"{len(unseen)} clips that the views do not show: " + ", ".join(unseen)]
    flipped = [r for r in results if r.flips]
    if flipped:
        lines += [
            "",
            f"{len(flipped)} clips with flips: " + ", ".join(f"{r.rig}/{r.clip} {r.flips}" for r in flipped[:20]),
        ]
    return "\n".join(lines)


def write_csv(results: Iterable[ClipResult], path: Path) -> Iterator[ClipResult]:
    """One row a clip, as they come; gives them on."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(ClipResult)])
        writer.writeheader()
        for result in results:
            writer.writerow(asdict(result))
            file.flush()
            yield result


def told(results: Iterable[ClipResult]) -> Iterator[ClipResult]:
    """Gives them on, and says now and then on standard error how many there were."""
    for number, result in enumerate(results, 1):
        if number % 50 == 0:
            print(f"{number} clips, {result.rig}", file=sys.stderr, flush=True)
        yield result


def main(argv: list[str] | None = None) -> int:
    """Command line: ``--data DIR [--codec splat|rgb] [--noise 0.005] [--limit N] [--clips N] [--csv F] [--md F]``."""
    parser = argparse.ArgumentParser(prog="animax-engine evaluate --oracle", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--codec", choices=("splat", "rgb"), default="splat")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="of decoded points, frame widths (0.005 is half a percent)"
    )
    parser.add_argument("--limit", type=int, help="most rigs")
    parser.add_argument("--clips", type=int, help="most clips of a rig")
    parser.add_argument("--frames", type=int, default=MAX_FRAMES, help="most frames of a clip")
    parser.add_argument("--rig", action="append", default=[], help="only this rig id; may repeat")
    parser.add_argument("--room", type=float, default=ROOM, help="radius that the views show, half diagonals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write one row a clip")
    parser.add_argument("--md", type=Path, help="write the summary")
    args = parser.parse_args(argv)
    results = run_oracle(
        args.data,
        args.codec,
        noise=args.noise,
        limit=args.limit,
        clips_per_rig=args.clips,
        max_frames=args.frames,
        rigs=tuple(args.rig),
        room=args.room,
        seed=args.seed,
    )
    if args.csv:
        results = write_csv(results, args.csv)
    text = summary(list(told(results)))
    sys.stdout.write(text + "\n")
    if args.md:
        args.md.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Reading a document's animations as clips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.accessors import Accessors
from animax.assets.fields import Json, index, objects, optional_index, string
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.errors import AssetError, OptionError
from animax.motion.clip import Clip

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

RATES = (24.0, 25.0, 30.0, 60.0)
"""Rates that a file's key times are compared with where no ``fps`` is asked for; 30 where none fits."""
LOOP_DISTANCE = 0.02
"""Largest joint displacement between first and last pose of a loop, in rest diagonals."""
LOOP_ANGLE = np.deg2rad(10.0)
"""Largest local rotation between first and last pose of a loop."""
PATHS = {"translation": ("VEC3",), "rotation": ("VEC4",), "scale": ("VEC3",)}


@dataclass(frozen=True, eq=False)
class Track:
    """One channel: how a joint's translation, rotation or scale changes.

    Attributes:
        joint: joint index.
        path: ``translation``, ``rotation`` or ``scale``.
        interpolation: ``LINEAR``, ``STEP`` or ``CUBICSPLINE``.
        times: (K,) seconds, not falling.
        values: (K, 3 or 4); for CUBICSPLINE (K, 3, 3 or 4): in-tangent, value, out-tangent.
    """

    joint: int
    path: str
    interpolation: str
    times: Array
    values: Array


def read_clips(
    rig: Rig, fps: float | None = None, names: Iterable[str] | None = None, *, index: int | None = None
) -> list[Clip]:
    """The document's animations, resampled at a constant rate.

    A clip starts at its first key. Joints without a channel keep their rest value. Channels of nodes that are no
    joints, of morph target weights and of animation pointers are left out. A clip whose last pose equals its first is
    a loop: it is sampled without the closing frame and stretched by at most half a frame, so that the frame after the
    last is the first.

    Args:
        rig: from ``load_rig``.
        fps: samples a second; None takes the rate on whose grid the keys lie.
        names: the clips wanted, by name; None for all.
        index: of the one animation wanted, among these.

    Raises:
        AssetError: damaged or over-limit animation data.
        OptionError: ``fps`` is not positive, or a name is not in the file.
    """
    if fps is not None and not 0 < fps <= 1000:
        raise OptionError("fps", fps, "a number above 0, at most 1000")
    animations, titles = objects(rig.document.json, "animations", "glTF"), clip_names(rig)
    wanted = set(titles) if names is None else set(names)
    if wanted - set(titles):
        raise OptionError("names", sorted(wanted - set(titles))[0], f"names of this file's {len(titles)} animations")
    accessors = Accessors(rig.document)
    left = rig.document.limits.clip_samples
    clips = []
    for i, (entry, title) in enumerate(zip(animations, titles, strict=True)):
        if title not in wanted or index not in (None, i):
            continue
        tracks = read_tracks(rig, entry, accessors, f"animations[{i}]")
        if not tracks:
            continue
        clip = _sampled(rig, tracks, title, fps, left)
        left -= len(clip) * len(rig.skeleton)
        clips.append(clip)
    return clips


def clip_names(rig: Rig) -> list[str]:
    """Names of the document's animations in order; one without a name is ``animation_`` and its index."""
    animations = objects(rig.document.json, "animations", "glTF")
    return [string(entry, "name", f"animations[{i}]") or f"animation_{i}" for i, entry in enumerate(animations)]


def read_tracks(rig: Rig, animation: Json, accessors: Accessors, where: str) -> list[Track]:
    """The channels of one animation that move joints of the rig."""
    samplers = objects(animation, "samplers", where)
    joint_of = {int(node): joint for joint, node in enumerate(rig.joint_nodes)}
    nodes = len(rig.document.json.get("nodes", []))
    # the sampler of each target: of the last channel, where several have one target although they must not
    chosen: dict[tuple[int, str], int] = {}
    for c, channel in enumerate(objects(animation, "channels", where)):
        at = f"{where}.channels[{c}]"
        target = channel.get("target")
        path = target.get("path") if isinstance(target, dict) else None
        if not isinstance(target, dict) or not isinstance(path, str) or path not in PATHS:
            continue
        node = optional_index(target, "node", f"{at}.target", nodes)
        if node is not None and node in joint_of:
            chosen[joint_of[node], path] = index(channel, "sampler", at, len(samplers))
    times: dict[int, Array] = {}
    tracks = []
    for (joint, path), number in chosen.items():
        sampler, at = samplers[number], f"{where}.samplers[{number}]"
        clock = index(sampler, "input", at, len(accessors))
        if clock not in times:
            times[clock] = _key_times(accessors, clock)
        track = _track(accessors, sampler, times[clock], joint, path, at)
        if len(track.times):
            tracks.append(track)
    return tracks


def _key_times(accessors: Accessors, clock: int) -> Array:
    times = accessors.floats(clock, ("SCALAR",))[:, 0]
    if np.any(np.diff(times) < 0):
        raise AssetError(f"accessors[{clock}] holds key times that fall; accepted: rising times")
    return times


def _track(accessors: Accessors, sampler: Json, times: Array, joint: int, path: str, at: str) -> Track:
    interpolation = sampler.get("interpolation", "LINEAR")
    if interpolation not in ("LINEAR", "STEP", "CUBICSPLINE"):
        raise AssetError(f"{at}.interpolation is {str(interpolation)[:20]!r}; accepted: LINEAR, STEP, CUBICSPLINE")
    values = accessors.floats(index(sampler, "output", at, len(accessors)), PATHS[path])
    per_key = 3 if interpolation == "CUBICSPLINE" else 1
    if len(values) != per_key * len(times):
        raise AssetError(
            f"{at} has {len(times)} keys and {len(values)} values; accepted: {per_key * len(times)} values"
        )
    if per_key == 3:
        values = values.reshape(len(times), 3, -1)
    elif path == "rotation":
        values = rotations.normalise(values)
    return Track(joint, path, interpolation, times, values)


def _sampled(rig: Rig, tracks: list[Track], title: str, fps: float | None, samples_left: int) -> Clip:
    start = min(float(track.times[0]) for track in tracks)
    seconds = max(float(track.times[-1]) for track in tracks) - start
    limits = rig.document.limits
    if seconds > limits.clip_seconds:
        raise AssetError(f"clip {title[:40]!r} lasts {seconds:g} s; accepted: at most {limits.clip_seconds:g}")
    rate = fps or key_rate(tracks, start)
    steps = round(seconds * rate)
    if (steps + 1) * len(rig.skeleton) > samples_left:
        raise AssetError(
            f"clip {title[:40]!r} takes the samples over the limit; accepted: {limits.clip_samples} in all"
        )
    ends = sample(rig, tracks, start + np.array([0.0, seconds]))
    loop = steps > 1 and _same(rig, ends)
    grid = np.linspace(0.0, seconds, steps, endpoint=False) if loop else np.arange(steps + 1) / rate
    return Clip(title, rate, sample(rig, tracks, start + grid), loop)


def key_rate(tracks: list[Track], start: float) -> float:
    """The rate of ``RATES`` on whose grid all key times lie, 30 if none."""
    times = np.unique(np.concatenate([track.times for track in tracks])) - start
    for rate in RATES:
        if np.all(np.abs(times * rate - np.round(times * rate)) < 0.02):
            return rate
    return 30.0


def sample(rig: Rig, tracks: list[Track], times: Array) -> Pose:
    """The pose at ``times`` (F,) seconds of the file's clock; times outside a track's keys hold its end keys."""
    frames = len(times)
    rest = rig.skeleton.rest
    out = {
        "translation": np.repeat(rest.translations[None], frames, axis=0),
        "rotation": np.repeat(rest.rotations[None], frames, axis=0),
        "scale": np.repeat(rest.scales[None], frames, axis=0),
    }
    turned: list[tuple[int, Array, Array, Array]] = []
    for track in tracks:
        before, s, span = _bracket(track.times, times)
        after = np.minimum(before + 1, len(track.times) - 1)
        if track.interpolation == "CUBICSPLINE":
            values = _hermite(track.values[before], track.values[after], s[:, None], span[:, None])
        elif track.interpolation == "STEP":
            values = track.values[np.where(s >= 1, after, before)]
        elif track.path == "rotation":
            turned.append((track.joint, track.values[before], track.values[after], s))
            continue
        else:
            values = track.values[before] * (1 - s[:, None]) + track.values[after] * s[:, None]
        out[track.path][:, track.joint] = rotations.normalise(values) if track.path == "rotation" else values
    if turned:
        joints = [joint for joint, _, _, _ in turned]
        a, b, s = (np.stack([entry[i] for entry in turned], axis=1) for i in (1, 2, 3))
        out["rotation"][:, joints] = rotations.slerp(a, b, s)
    return Pose(out["translation"], rotations.make_continuous(out["rotation"]), out["scale"])


def _bracket(keys: Array, times: Array) -> tuple[IntArray, Array, Array]:
    """For each time the key before it, its place between that and the next (0 to 1), and their distance in seconds."""
    before = np.clip(np.searchsorted(keys, times, side="right") - 1, 0, max(len(keys) - 2, 0))
    span = keys[np.minimum(before + 1, len(keys) - 1)] - keys[before]
    s: Array = np.where(span > 0, (times - keys[before]) / np.where(span > 0, span, 1.0), times >= keys[before])
    return before, np.clip(s, 0.0, 1.0), span


def _hermite(a: Array, b: Array, s: Array, span: Array) -> Array:
    """glTF's cubic spline between keys ``a`` and ``b`` (F, 3, C) of in-tangent, value, out-tangent."""
    s2, s3 = s * s, s * s * s
    return (
        (2 * s3 - 3 * s2 + 1) * a[:, 1]
        + span * (s3 - 2 * s2 + s) * a[:, 2]
        + (3 * s2 - 2 * s3) * b[:, 1]
        + span * (s3 - s2) * b[:, 0]
    )


def _same(rig: Rig, ends: Pose) -> bool:
    """Whether the two poses of ``ends`` are the same to the eye."""
    heads = rig.skeleton.positions(ends)
    moved = np.linalg.norm(heads[1] - heads[0], axis=-1).max()
    turned = rotations.between(ends.rotations[0], ends.rotations[1]).max()
    return bool(moved <= LOOP_DISTANCE * rig.size and turned <= LOOP_ANGLE)

"""The bank: marker positions and template-view renders of every frame of every clip, computed once.

Markers are stored in the *body frame*: origin at the centre of the rest box, x to the rig's left, y up, z forward,
half the rest box's diagonal as the unit. There, all rigs share the same four template cameras.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax.assets import Limits, load_rig, read_clips
from animax.assets.document import read_document
from animax.assets.joint_names import words
from animax.assets.markers import CHOICE, MarkerKind, choose_markers
from animax.assets.rig import Rig
from animax.errors import AnimaxError
from animax.motion.clip import Clip
from animax.motion.travel import remove_travel
from animax.views.camera import ROOM, template_cameras
from animax.views.render import render_frames

FPS = 16.0
"""Frames a second of the network's clips (Wan's)."""
MIN_FRAMES = 4


@dataclass(frozen=True)
class Source:
    """One rig to read, with what is known about it.

    Attributes:
        path: the GLB.
        id: its name in banks, unique among all sources of one.
        facing: axis that its clips face, or None for the estimate.
        split: "train" or "val".
        category: for balanced sampling.
        clips: captions and facts by clip name; None takes every clip with its name as the caption.
        noun, description: what captions call it, in a word and with its looks; empty where nobody said.
    """

    path: Path
    id: str
    facing: str | None
    split: str
    category: str
    clips: dict[str, dict[str, Any]] | None
    noun: str = ""
    description: str = ""


def read_sources(data: Path) -> list[Source]:
    """The rigs below ``data``: by its manifest.json where there is one, else every .glb and .gltf file."""
    manifest = data / "manifest.json"
    if not manifest.exists():
        paths = sorted([*data.rglob("*.glb"), *data.rglob("*.gltf")])
        names = ["-".join(path.relative_to(data).with_suffix("").parts) for path in paths]
        return [Source(path, name, None, "train", "own", None) for path, name in zip(paths, names, strict=True)]
    return [
        Source(
            data / rig["file"],
            rig["id"],
            rig["front_axis"],
            rig["split"],
            rig["category"],
            {clip["name"]: clip for clip in rig["clips"]},
            rig.get("noun", ""),
            rig.get("description", ""),
        )
        for rig in json.loads(manifest.read_text())["rigs"]
    ]


def clip_facts(source: Source, name: str) -> dict[str, Any] | None:
    """What is known about a clip: ``action``, ``captions`` and perhaps ``loop``. None for one to leave out."""
    if source.clips is None:  # exporters put the armature's name before a bar
        said = words(name.rpartition("|")[2]) or (name,)
        return {"action": "_".join(said), "captions": [" ".join(said)]}
    return source.clips.get(name)


def source_clips(source: Source, rig: Rig, fps: float = FPS) -> Iterator[tuple[Clip, dict[str, Any]]]:
    """The clips of a rig, in place, each with its index entry."""
    for clip in read_clips(rig, fps=fps):
        facts = clip_facts(source, clip.name)
        if facts is None or len(clip) < MIN_FRAMES:
            continue
        yield (
            remove_travel(clip, rig),
            {
                "name": clip.name,
                "frames": len(clip),
                # a clip that was read as a loop comes without its closing frame
                "period": len(clip) if clip.loop else len(clip) - 1 if facts.get("loop") else 0,
                "action": facts["action"],
                "captions": facts["captions"],
            },
        )


def fingerprint(source: Source, **settings: object) -> str:
    """A hash of all that a stored part is made from: the rig's file, what is known about it, how markers are chosen,
    and ``settings`` (JSON).

    Raises:
        AssetError: the file cannot be read.
    """
    known = {**asdict(source), "path": read_document(source.path, Limits()).sha256, "markers": CHOICE}
    return hashlib.sha256(json.dumps([known, settings], sort_keys=True).encode()).hexdigest()


def is_stored(path: Path, made_from: str) -> bool:
    """Whether ``path`` holds a part with the fingerprint ``made_from``."""
    if not path.exists():
        return False
    with np.load(path) as file:
        return "made_from" in file.files and str(file["made_from"]) == made_from


def store(path: Path, **arrays: Any) -> None:
    """Write a part, whole or not at all."""
    with path.with_suffix(".tmp").open("wb") as file:
        np.savez(file, **arrays)
    path.with_suffix(".tmp").replace(path)


def _entry(source: Source, channels: int, rgb_size: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """One rig's index entry and arrays."""
    rig = load_rig(source.path, facing=source.facing)
    markers = choose_markers(rig, channels)
    cameras = template_cameras(rig, size=max(rgb_size, 1))

    def place(globals_: NDArray[np.float64]) -> NDArray[np.float16]:
        out = np.zeros((*globals_.shape[:-3], channels, 3), np.float16)
        out[..., markers.channels, :] = rig.to_body(markers.positions(globals_))
        return out

    def renders(globals_: NDArray[np.float64]) -> NDArray[np.uint8]:
        chunks = [
            render_frames(rig.mesh, rig.mesh.skin(globals_[i : i + 16]), cameras, up=rig.stance.up)
            for i in range(0, len(globals_), 16)
        ]
        return np.concatenate(chunks, axis=1).transpose(1, 0, 2, 3, 4)  # frames first

    rest = rig.skeleton.rest_globals
    head_of = {int(joint): i for i, joint in enumerate(markers.joints) if markers.kinds[i] == MarkerKind.HEAD}
    parent_marker = np.full(channels, -1)
    driver_index = {int(joint): i for i, joint in enumerate(markers.drivers)}
    for i, joint in enumerate(markers.joints):
        if markers.kinds[i] != MarkerKind.HEAD:
            parent_marker[markers.channels[i]] = markers.channels[head_of[int(joint)]]
        else:
            up = markers.driver_parents[driver_index[int(joint)]]
            if up >= 0:
                parent_marker[markers.channels[i]] = markers.channels[head_of[int(markers.drivers[up])]]
    entry: dict[str, Any] = {
        "id": source.id,
        "split": source.split,
        "category": source.category,
        "channels": sorted(int(c) for c in markers.channels),
        "parents": parent_marker.tolist(),
        "clips": [],
    }
    poses, pictures = [place(rest[None])], []
    if rgb_size:
        pictures.append(renders(rest[None]))
    for clip, facts in source_clips(source, rig):
        globals_ = rig.skeleton.globals(clip.pose)
        poses.append(place(globals_))
        if rgb_size:
            pictures.append(renders(globals_))
        entry["clips"].append(facts)
    arrays: dict[str, NDArray[Any]] = {"poses": np.concatenate(poses)}
    if rgb_size:
        arrays["rgb"] = np.concatenate(pictures)
    return entry, arrays


def _store_entry(source: Source, folder: Path, channels: int, rgb_size: int) -> str:
    """Compute one rig and write it below ``folder``, unless the same is there; a line of progress."""
    path = folder / f"{source.id}.npz"
    try:
        made_from = fingerprint(source, channels=channels, rgb_size=rgb_size)
        if is_stored(path, made_from):
            return f"{source.id}: kept"
        entry, arrays = _entry(source, channels, rgb_size)
    except AnimaxError as error:
        path.unlink(missing_ok=True)
        return f"{source.id}: left out: {error}"
    store(path, index=json.dumps(entry), made_from=made_from, **arrays)
    return f"{source.id}: {len(entry['clips'])} clips, {len(arrays['poses'])} frames"


def build_bank(
    data: list[Path], out: Path, *, channels: int, rgb_size: int, workers: int = 2, only: tuple[str, ...] = ()
) -> Iterator[str]:
    """Write ``out``/index.json, poses.npy (N, channels, 3) float16 and, with ``rgb_size``, rgb.npy
    (N, V, rgb_size, rgb_size, 3) uint8. Yields a line of progress for each rig. A build over an earlier one, or
    over an interrupted one, computes only the rigs whose file, manifest entry or settings are others."""
    sources = [s for folder in data for s in read_sources(folder) if not only or s.id in only]
    folder = out / "rigs"
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_store_entry, source, folder, channels, rgb_size) for source in sources]
        for i, job in enumerate(jobs, start=1):
            yield f"{i}/{len(sources)} {job.result()}"
    rigs, first, stored = [], 0, [folder / f"{source.id}.npz" for source in sources]
    arrays: dict[str, list[NDArray[Any]]] = {}
    for path in filter(Path.exists, stored):
        with np.load(path) as file:
            rigs.append({**json.loads(str(file["index"])), "first": first})
            for name in file.files:
                if name in ("poses", "rgb"):
                    arrays.setdefault(name, []).append(file[name])
        first += len(arrays["poses"][-1])
    for name in ("poses", "rgb"):
        (out / f"{name}.npy").unlink(missing_ok=True)  # not written over: a larger bank may link to it
    for name, parts in arrays.items():
        np.save(out / f"{name}.npy", np.concatenate(parts))
    (out / "index.json").write_text(
        json.dumps({"fps": FPS, "room": ROOM, "channels": channels, "rgb_size": rgb_size, "rigs": rigs})
    )


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine bank OUT DATA [DATA ...]``."""
    parser = argparse.ArgumentParser(prog="animax-engine bank", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path, nargs="+", help="folders of rigs, each with a manifest.json or without")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--rgb-size", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    for line in build_bank(args.data, args.out, channels=args.channels, rgb_size=args.rgb_size, workers=args.workers):
        print(line, flush=True)


if __name__ == "__main__":
    main()

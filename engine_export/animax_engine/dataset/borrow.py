"""More motions for every rig of a bank: clips of other rigs, retargeted, kept where they still show what they showed.

Borrowed clips have poses only. They follow the bank's own rows, so that its renders keep their numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets import load_rig
from animax.assets.markers import choose_markers
from animax.assets.rig import Rig
from animax.bone_map import BoneMap
from animax.errors import AnimaxError
from animax.motion.body import body_root
from animax.motion.bone_matching import Limbs, match_limbs
from animax.motion.clip import Clip
from animax.motion.retarget import retarget
from animax.procedural.phrases import article
from animax.views.camera import ROOM, orbit
from animax_engine.dataset.bank import Source, fingerprint, is_stored, read_sources, source_clips, store

Array = NDArray[np.float64]

KIN = {
    "humanoid": ("monster", "robot"),
    "monster": ("humanoid", "quadruped", "robot", "dragon"),
    "robot": ("humanoid", "monster"),
    "quadruped": ("monster", "dragon"),
    "dragon": ("bird", "quadruped", "monster"),
    "bird": ("dragon",),
}
"""Other categories whose bodies may be alike; their clips come after those of the rig's own category."""
TRIES = 8
"""Donors that are asked for a motion before it is given up."""
EACH = 3
"""Borrowed versions of a motion that a rig lacks; one fewer of those it has."""


@dataclass(frozen=True, eq=False)
class Body:
    """A rig with what comparing its motion to another's needs.

    Attributes:
        rig: the rig.
    """

    rig: Rig

    @cached_property
    def weights(self) -> Array:
        """(J,) share of all skin weight."""
        weights = self.rig.mesh.joint_weights(len(self.rig.skeleton))
        shares: Array = weights / max(float(weights.sum()), 1e-12)
        return shares

    @cached_property
    def offsets(self) -> Array:
        """(J, 3) middle of each joint's own skin, in the joint's space."""
        mesh, rest = self.rig.mesh, self.rig.skeleton.rest_globals
        total = np.zeros(len(rest))
        sums = np.zeros((len(rest), 3))
        joints = mesh.binding_joints[mesh.bindings]
        for k in range(joints.shape[1]):
            np.add.at(total, joints[:, k], mesh.weights[:, k])
            np.add.at(sums, joints[:, k], mesh.weights[:, k, None] * self.rig.rest_vertices)
        middles = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-12)[:, None], rest[:, :3, 3])
        out: Array = np.linalg.solve(rest, np.concatenate([middles, np.ones((len(rest), 1))], axis=1)[..., None])
        return out[:, :3, 0]

    def middles(self, globals_: Array) -> Array:
        """(F, J, 3) where the middle of each joint's skin is, in the axes of the stance, half the rest diagonal as the
        unit."""
        at = np.einsum("fjab,jb->fja", globals_[..., :3, :3], self.offsets) + globals_[..., :3, 3]
        return at @ self.rig.stance.axes.T / (self.rig.size / 2)

    @cached_property
    def index(self) -> dict[str, int]:
        """Joints by name."""
        return {name: joint for joint, name in enumerate(self.rig.skeleton.names)}

    @cached_property
    def root(self) -> int:
        """The body root."""
        return body_root(self.rig)

    def depth(self, middles: Array) -> float:
        """How much lower than at rest the skin of any joint reaches, by its ``middles`` (F, J, 3)."""
        rest = self.middles(self.rig.skeleton.rest_globals[None])
        lowest = [float(at[:, self.rig.deforming, 1].min()) for at in (middles, rest)]
        return lowest[0] - lowest[1]

    @cached_property
    def limbs(self) -> Limbs:
        """See ``Limbs``."""
        return Limbs.of(self.rig)

    @cached_property
    def levers(self) -> Array:
        """(J,) how much skin a turn of each joint moves: weight times squared arm of all that it carries."""
        skeleton = self.rig.skeleton
        rest = skeleton.rest_globals
        at = np.einsum("jab,jb->ja", rest[:, :3, :3], self.offsets) + rest[:, :3, 3]
        out = np.zeros(len(rest))
        for joint in range(len(rest)):
            above = joint
            while above >= 0:
                out[above] += self.weights[joint] * np.sum((at[joint] - rest[above, :3, 3]) ** 2)
                above = int(skeleton.parents[above])
        return out


WORST_MAP = 0.7
"""Highest mean cost of a bone map."""
WORST_KIN_MAP = 0.25
"""The same for rigs of another category: names must agree."""
LEAST_DRIVEN = 0.7
"""Least share of the target's joints that a bone map drives."""
LEAST_KEPT = 0.85
"""Least share of the source's motion in joints that drive something."""
LEAST_AGREEMENT = 0.7
"""Least correlation of how matched parts move."""
RANGE = (0.5, 1.9)
"""Of the target's motion against the source's, both in their own sizes."""
DEEPEST = 0.08
"""How much lower or higher than the source's the target's lowest point may be, in rest diagonals."""


@dataclass(frozen=True)
class Match:
    """How well a bone map covers its target.

    Attributes:
        cost: mean over the target's skin.
        driven: share of the target's movable joints that a source chain drives.
    """

    cost: float
    driven: float

    def good(self, *, kin: bool = False) -> bool:
        """Whether the donor's clips are worth trying; ``kin``: it is of another category."""
        return self.cost <= (WORST_KIN_MAP if kin else WORST_MAP) and self.driven >= LEAST_DRIVEN

    @staticmethod
    def of(bones: BoneMap, target: Body) -> Match:
        """That of ``bones``, which drive ``target``."""
        costs = {target.index[name]: pair.cost for pair in bones.pairs for name in pair.target}
        joints = list(costs)
        if not joints:
            return Match(np.inf, 0.0)
        weights = target.weights[joints] + 1e-9
        driven = np.mean(np.isin(target.rig.deforming, joints))
        return Match(float(np.average(list(costs.values()), weights=weights)), float(driven))


@dataclass(frozen=True)
class Fit:
    """How well a retargeted clip stands for its source.

    Attributes:
        agreement: correlation (-1 to 1) of how matched parts move about their mean places.
        range: motion of the target's skin against the source's, both in their own sizes.
        sinking: how much lower than the source the target reaches, in rest diagonals.
    """

    agreement: float
    range: float
    sinking: float

    @property
    def good(self) -> bool:
        """Whether the clip may be trained on."""
        return self.agreement >= LEAST_AGREEMENT and RANGE[0] <= self.range <= RANGE[1] and abs(self.sinking) <= DEEPEST

    @staticmethod
    def of(clip: Clip, source: Body, made: Clip, target: Body, bones: BoneMap) -> Fit:
        """That of ``made`` on ``target`` to ``clip`` on ``source``, which ``bones`` connects."""
        drives: dict[int, int] = {}
        for pair in bones.pairs:
            for i, name in enumerate(pair.target):
                share = i / max(len(pair.target) - 1, 1)
                drives[target.index[name]] = source.index[pair.source[round(share * (len(pair.source) - 1))]]
        joints, drivers = list(drives), list(drives.values())
        x, y = (body.middles(body.rig.skeleton.globals(c.pose)) for body, c in ((source, clip), (target, made)))
        sinking = (source.depth(x) - target.depth(y)) / 2
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        ours, theirs = x[:, drivers], y[:, joints]
        weight = np.sqrt(target.weights[joints])[:, None]
        norm = np.sqrt(np.sum(weight * ours**2) * np.sum(weight * theirs**2))
        moved = [float(np.sum(body.weights[:, None] * z**2)) ** 0.5 for body, z in ((source, x), (target, y))]
        return Fit(
            float(np.sum(weight * ours * theirs) / max(norm, 1e-12)),
            moved[1] / max(moved[0], 1e-12),
            sinking,
        )


def kept(clip: Clip, source: Body, bones: BoneMap) -> float:
    """Share of the source's turning, weighted by what it moves, in joints that drive something or lead to such."""
    skeleton = source.rig.skeleton
    leads = np.zeros(len(skeleton), bool)
    leads[[source.index[name] for pair in bones.pairs for name in pair.source]] = True
    deforming = np.zeros(len(skeleton), bool)
    deforming[source.rig.deforming] = True
    for joint in range(len(skeleton) - 1, 0, -1):
        parent = int(skeleton.parents[joint])
        if parent >= 0 and leads[joint] and not deforming[parent]:
            leads[parent] = True
    joint = source.root
    while joint >= 0:
        leads[joint] = True
        joint = int(skeleton.parents[joint])
    mean = rotations.normalise(rotations.make_continuous(clip.pose.rotations).mean(axis=0))
    activity = np.mean(rotations.between(clip.pose.rotations, mean) ** 2, axis=0) * source.levers
    return float(activity[leads].sum() / max(activity.sum(), 1e-12))


def leaves_views(points: Array) -> bool:
    """Whether more than a fiftieth of the markers (F, M, 3), body frame, lie outside the template views."""
    cameras = orbit(np.zeros(3), ROOM, np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), size=1)
    pixels, _depth = cameras.project(points.reshape(-1, 3))
    return bool(np.mean(np.any((pixels < 0) | (pixels > 1), axis=-1)) > 0.02)


def renamed(caption: str, donor: Source, target: Source) -> str:
    """A caption of ``donor`` that speaks of ``target``: its description and noun in place of the donor's."""
    if not (donor.noun and target.noun):
        return caption
    for old, new in ((donor.description, target.description), (donor.noun, target.noun)):
        if re.search(rf"\b{re.escape(old)}\b", caption):
            caption = re.sub(rf"\b(a|an) {re.escape(old)}\b", f"{article(new)} {new}", caption)
            return re.sub(rf"\b{re.escape(old)}\b", new, caption)
    return caption


_bodies: dict[Path, tuple[Body, list[tuple[Clip, dict[str, Any]]]]] = {}
_fingerprints: dict[Path, str] = {}
"""What this process has read; sources are too rich to be keys, and arrive anew with every job."""


def _read(source: Source) -> tuple[Body, list[tuple[Clip, dict[str, Any]]]]:
    if source.path not in _bodies:
        rig = load_rig(source.path, facing=source.facing)
        _bodies[source.path] = Body(rig), list(source_clips(source, rig))
    return _bodies[source.path]


def _fingerprint(source: Source) -> str:
    if source.path not in _fingerprints:
        _fingerprints[source.path] = fingerprint(source)
    return _fingerprints[source.path]


def borrowed_clips(target: Source, donors: list[Source], count: int) -> Iterator[tuple[Clip, dict[str, Any], Body]]:
    """Up to ``count`` good clips for ``target``, first one of every motion that it lacks, then second versions.

    Args:
        target: the rig that gets them.
        donors: rigs to take from; best those of its own category first.
        count: at most so many.
    """
    body, own = _read(target)
    has = {facts["action"] for _, facts in own}
    maps: list[tuple[float, int, BoneMap]] = []
    for i, donor in enumerate(donors):
        bones = match_limbs(_read(donor)[0].limbs, body.limbs)
        match = Match.of(bones, body)
        kin = donor.category != target.category
        if match.good(kin=kin):
            maps.append((match.cost - match.driven + kin, i, bones))
    offers: dict[str, list[tuple[int, BoneMap, Clip, dict[str, Any]]]] = {}
    for _, i, bones in sorted(maps, key=lambda item: item[:2]):
        for clip, facts in _read(donors[i])[1]:
            offers.setdefault(facts["action"], []).append((i, bones, clip, facts))
    random = np.random.default_rng(zlib.crc32(target.id.encode()))
    actions = sorted(offers)
    random.shuffle(actions)
    given = 0
    tried: dict[str, int] = dict.fromkeys(actions, 0)
    for version in range(EACH):
        for action in sorted(actions, key=lambda a: a in has):
            if version == EACH - 1 and action in has:
                continue
            for i, bones, clip, facts in offers[action][tried[action] : (version + 1) * TRIES]:
                tried[action] += 1
                source = _read(donors[i])[0]
                if kept(clip, source, bones) < LEAST_KEPT:
                    continue
                made = retarget(clip, source.rig, body.rig, bones)
                if not Fit.of(clip, source, made, body, bones).good:
                    continue
                entry = {
                    **facts,
                    "name": f"{donors[i].id}/{facts['name']}",
                    "captions": [renamed(caption, donors[i], target) for caption in facts["captions"]],
                    "borrowed": True,
                }
                yield made, entry, body
                given += 1
                if given >= count:
                    return
                break


def _store_borrowed(target: Source, donors: list[Source], folder: Path, channels: int, count: int) -> str:
    """Write the borrowed clips of one rig below ``folder``, unless the same are there; a line of progress."""
    path = folder / f"{target.id}.npz"
    entries, poses = [], [np.zeros((0, channels, 3), np.float16)]
    try:
        lenders = [_fingerprint(donor) for donor in donors]
        made_from = fingerprint(target, donors=lenders, channels=channels, count=count)
        if is_stored(path, made_from):
            return f"{target.id}: kept"
        markers = choose_markers(_read(target)[0].rig, channels)
        for clip, entry, body in borrowed_clips(target, donors, count):
            points = body.rig.to_body(markers.positions(body.rig.skeleton.globals(clip.pose)))
            if leaves_views(points):
                continue
            rows = np.zeros((len(points), channels, 3), np.float16)
            rows[:, markers.channels] = points
            entries.append(entry)
            poses.append(rows)
    except AnimaxError as error:
        path.unlink(missing_ok=True)
        return f"{target.id}: left out: {error}"
    store(path, index=json.dumps(entries), made_from=made_from, poses=np.concatenate(poses))
    return f"{target.id}: {len(entries)} borrowed clips"


def extend_bank(bank: Path, out: Path, data: list[Path], *, count: int, workers: int = 2) -> Iterator[str]:
    """Write to ``out`` the bank ``bank`` with up to ``count`` borrowed clips for every training rig. ``bank`` itself
    stays as it is; its renders are linked. Yields a line of progress for each rig; a run over an earlier one computes
    only the rigs that something they depend on has changed for.

    Args:
        bank: as ``build_bank`` made it.
        out: a new folder on the same disk.
        data: the folders that ``bank`` was made from.
        count: of clips a rig.
        workers: processes.
    """
    index = json.loads((bank / "index.json").read_text())
    known = {rig["id"]: rig for rig in index["rigs"]}
    sources = [s for folder in data for s in read_sources(folder) if s.split == "train" and s.id in known]
    sources = [s for s in sources if known[s.id]["clips"]]
    folder = out / "borrowed"
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        jobs = []
        for target in sorted(sources, key=lambda s: s.category):
            kin = (target.category, *KIN.get(target.category, ()))
            donors = [s for s in sources if s.category in kin and s.id != target.id]
            jobs.append(pool.submit(_store_borrowed, target, donors, folder, index["channels"], count))
        for i, job in enumerate(jobs, start=1):
            yield f"{i}/{len(jobs)} {job.result()}"
    poses = [np.load(bank / "poses.npy")]
    first = len(poses[0])
    for source in sources:
        path = folder / f"{source.id}.npz"
        if not path.exists():
            continue
        with np.load(path) as file:
            entries, rows = json.loads(str(file["index"])), file["poses"]
        for entry in entries:
            known[source.id]["clips"].append({**entry, "first": first})
            first += entry["frames"]
        poses.append(rows)
    np.save(out / "poses.npy", np.concatenate(poses))
    (out / "rgb.npy").unlink(missing_ok=True)
    if (bank / "rgb.npy").exists():
        _link(bank / "rgb.npy", out / "rgb.npy")
    (out / "index.json").write_text(json.dumps(index))


def _link(path: Path, link: Path) -> None:
    """A hard link, or a copy on another disk."""
    try:
        os.link(path, link)
    except OSError:
        shutil.copyfile(path, link)


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine borrow BANK OUT DATA [DATA ...]``."""
    parser = argparse.ArgumentParser(prog="animax-engine borrow", description=__doc__)
    parser.add_argument("bank", type=Path)
    parser.add_argument("out", type=Path, help="folder of the larger bank")
    parser.add_argument("data", type=Path, nargs="+", help="the folders of rigs that the bank was made from")
    parser.add_argument("--count", type=int, default=80, help="borrowed clips a rig")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    for line in extend_bank(args.bank, args.out, args.data, count=args.count, workers=args.workers):
        print(line, flush=True)


if __name__ == "__main__":
    main()

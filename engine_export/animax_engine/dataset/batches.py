"""Random training batches drawn from a bank: windows of clips, augmented, projected and drawn as pose maps."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animax.assets.markers import mirror_channels
from animax.diffusion import clock
from animax.diffusion.latents import NEAR, RGB_SCALE, SEEN, TANGENT_STEP, LatentSpace
from animax.diffusion.repertoire import Repertoire
from animax.diffusion.text import TextEncoder
from animax.views.camera import orbit
from animax.views.render import BACKGROUND
from animax_engine.dataset.augment import REVERSED, ancestors, rescaled_bones, turned, without_a_part
from animax_engine.dataset.captions import captions_of
from animax_engine.dataset.cycles import cycle_of

MIRRORED_VIEWS = (0, 3, 2, 1)
"""The view that each template view shows when the body is mirrored: left and right change places."""
EVERYDAY = frozenset(
    (
        *("idle", "walk", "run", "jump", "death", "hit", "attack", "punch", "kick", "bite", "shoot", "slash", "strike"),
        *("wave", "dance", "sit", "crawl", "sneak", "roll", "sleep", "eat", "peck", "bark", "howl", "gallop", "trot"),
        *("hop", "walk_legs", "run_legs", "fly", "flap", "glide", "swim", "slither", "open", "close"),
    )
)
"""Actions that are asked for first, of any rig."""
EVERYDAY_WEIGHT = 6.0
"""How often they are drawn, for each time another action of as many clips is. Without it a humanoid's walk was one
sample in three hundred."""
POSTURE = 0.1
"""What counts of how far a clip's mean pose is from the template's, against how far the clip moves about it."""
CALM = 0.05
"""Share of the mean energy of all that is drawn below which what moves less does not count more."""
ALIKE = 4
"""Batches that are drawn together, and parted by how many markers bodies have: a batch computes as many channels as its
richest body needs."""
_SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_SIDE = re.compile(r"\b(left|right|Left|Right)\b")


def mirrored_caption(caption: str) -> str:
    """The caption with left and right swapped."""
    return _SIDE.sub(lambda match: _SIDES[match[0]], caption)


@dataclass(frozen=True)
class Augmentation:
    """How far a sample may leave its clip.

    Attributes:
        speed: largest factor, either way.
        shape: standard deviation of the log of the body's stretch along each axis (pose-only batches).
        mirror: probability.
        borrowed: share of borrowed clips in pose-only batches.
        backwards: probability of playing a clip backwards, where that has a name (see ``augment.REVERSED``).
        bones: standard deviation of the log of bone lengths' change, for half of the samples (pose-only batches).
        yaw: largest angle in degrees that the body is turned by, for half of the samples (pose-only batches).
        drop: probability of leaving out a part that hardly moves (pose-only batches).
    """

    speed: float = 1.25
    shape: float = 0.12
    mirror: float = 0.5
    borrowed: float = 0.4
    backwards: float = 0.3
    bones: float = 0.15
    yaw: float = 15.0
    drop: float = 0.15


UNCHANGED = Augmentation(speed=1.0, shape=0.0, mirror=0.0, backwards=0.0, bones=0.0, yaw=0.0, drop=0.0)
"""Clips as they are."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples of V views and F frames, the template first; compact, to be drawn as latents by ``draw_splats`` and
    ``picture_latents`` where they are used.

    Attributes:
        points: (B, V, 1 + F, C, 2) places in [0, 1] where the marker on each channel is drawn, see
            ``LatentSpace.drawn_at``.
        mask: (B, C) 1 for channels in use.
        rgb: (B, V, 1 + F, H, W, 3) uint8, or None in pose-only batches.
        text: (B, T, width) float16.
        weight: (B,) what each sample counts, see ``Batches.weigh``.
        clock: (B, F, ``FEATURES``) what may be told of the time at each frame, see ``animax.diffusion.clock``.
        moved: (B, V, 6, C, 2) likewise, of the template's markers a step along each axis of space and back, by which
            the views share their noise (see ``tangents``); None for a single view.
        planned: (B, V, F, C, 2) likewise, of the clip as it is planned; None without a repertoire.
    """

    points: Tensor
    mask: Tensor
    rgb: Tensor | None
    text: Tensor
    weight: Tensor
    clock: Tensor
    moved: Tensor | None = None
    planned: Tensor | None = None

    def time(self, patch: int) -> Tensor:
        """What slots of ``patch`` frames are told of the time, (B, S, ``FEATURES``)."""
        slots = 1 + (self.clock.shape[1] - 1) // patch
        return self.clock[:, clock.slot_frames(slots, patch).astype(int)]

    def packed(self) -> Batch:
        """The same with as many channels as the richest body uses, each body's first: networks do not mind where a
        marker lies."""
        used = self.mask.argsort(dim=1, descending=True, stable=True)[:, : int(self.mask.sum(dim=1).max())]
        points, moved, planned = (
            None if x is None else x.take_along_dim(used[:, None, None, :, None], dim=3)
            for x in (self.points, self.moved, self.planned)
        )
        assert points is not None
        return replace(self, points=points, mask=self.mask.gather(1, used), moved=moved, planned=planned)


@dataclass(frozen=True, eq=False)
class Motions:
    """B windows of F frames of clips, in space.

    Attributes:
        rest: (B, C, 3) markers of the body at rest, in half sizes, body frame.
        points: (B, F, C, 3) of the clip.
        mask: (B, C) 1 for channels in use.
        text: (B, T, width) float16.
        turns: (B, F) where in its turn the motion is.
        repeats: (B,) whether it turns round.
        period: (B,) frames of a turn.
        low: (B, F) row of each clip's poses at or before each frame.
        mirrored: (B,) whether left and right have changed places.
    """

    rest: Tensor
    points: Tensor
    mask: Tensor
    text: Tensor
    turns: NDArray[np.float64]
    repeats: NDArray[np.bool_]
    period: NDArray[np.float64]
    low: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bodies:
    """What a bank's index says of its R rigs, of C channels.

    Attributes:
        rest: (R,) row of the rest pose.
        masks: (R, C) 1 for channels in use.
        parents: (R, C) channel of the marker above, or the channel itself.
        above: (R, C, C) see ``ancestors``.
        one_tree: (R,) whether all markers hang together; where limbs are trees of their own (foot controls), bones end
            at what does not know them.
    """

    rest: Tensor
    masks: Tensor
    parents: Tensor
    above: Tensor
    one_tree: Tensor

    @classmethod
    def read(cls, rigs: list[dict[str, Any]], channels: int) -> Bodies:
        """From the rigs of an index."""
        masks = torch.zeros(len(rigs), channels)
        for mask, rig in zip(masks, rigs, strict=True):
            mask[rig["channels"]] = 1.0
        parents = torch.tensor([rig["parents"] for rig in rigs])
        return cls(
            torch.tensor([rig["first"] for rig in rigs]),
            masks,
            torch.where(parents < 0, torch.arange(channels), parents),
            torch.from_numpy(np.stack([ancestors(rig["parents"]) for rig in rigs])),
            torch.tensor([sum(rig["parents"][channel] < 0 for channel in rig["channels"]) == 1 for rig in rigs]),
        )


class Batches:
    """Draws batches from a bank folder (see ``bank``).

    Args:
        folder: the bank.
        space: the latent space to draw in.
        frames: F of a sample.
        splits: rigs to take.
        text: the text encoder; every caption is encoded once, here.

    Attributes:
        weights: (clips,) what each clip's samples count; all alike until ``weigh``.
    """

    def __init__(
        self,
        folder: Path,
        space: LatentSpace,
        *,
        frames: int,
        text: TextEncoder,
        splits: tuple[str, ...] = ("train",),
        augmentation: Augmentation = Augmentation(),
        seed: int = 0,
    ) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.space, self.frames, self.augmentation = space, frames, augmentation
        self.random = np.random.default_rng(seed)
        self.fps = float(index["fps"])
        self.poses = torch.from_numpy(np.load(folder / "poses.npy"))
        rgb = folder / "rgb.npy"
        self.rgb = np.load(rgb, mmap_mode="r") if rgb.exists() else None
        rigs = [rig for rig in index["rigs"] if rig["split"] in splits]
        self.bodies = Bodies.read(rigs, space.codec.channels)
        clips, captions = told_clips(rigs)
        self.clips = clips
        self.first = np.array([clip["first"] for clip in clips])
        self.length = np.array([clip["frames"] for clip in clips])
        self.period = np.array([clip["period"] for clip in clips])
        self.rig = np.array([clip["rig"] for clip in clips])
        self.reversible = np.array([clip["backwards"] is not None for clip in clips])
        self.cycles = [
            cycle_of(
                self.poses[clip["first"] : clip["first"] + clip["frames"], rigs[clip["rig"]]["channels"]]
                .double()
                .numpy(),
                self.poses[rigs[clip["rig"]]["first"], rigs[clip["rig"]]["channels"]].double().numpy(),
                clip["action"],
                clip["period"],
            )
            for clip in clips
        ]
        borrowed = np.array([clip.get("borrowed", False) for clip in clips])
        self.repertoire: Repertoire | None = None
        """By which batches' clips are planned."""
        self.left_out = 0.0
        """Probability that a clip is planned without those of its own rig, whose number in the repertoire is then that
        in the bank."""
        self.own, self.borrowed = (balanced_weights(clips, group) for group in (~borrowed, borrowed))
        self.weights = torch.ones(len(clips))
        self.waiting: dict[tuple[int, float], list[NDArray[np.int64]]] = defaultdict(list)
        self.text = encoded(captions, text, folder)
        self.cameras = orbit(np.zeros(3), index["room"], np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), size=1)
        self.projections = torch.from_numpy(self.cameras.matrices).float()
        self.mirror = torch.from_numpy(mirror_channels(space.codec.channels))

    def rays(self) -> Tensor:
        """Plücker rays (1, V, 6, size, size) of the template views at the pose maps' resolution."""
        rays = self.cameras.pluecker(self.space.codec.size, np.zeros(3), 1.0)
        return torch.from_numpy(rays).float()[None]

    def weigh(self) -> None:
        """Let samples count in inverse proportion to how far their pose maps move: a cat's walk like a giant's fall.

        By the mean over the clips of one action of a rig: a weight that depends on what is asked for alone does not
        change which answer is best. The mean weight is one.
        """
        energy = torch.zeros(len(self.clips))
        for chunk in torch.arange(len(self.clips)).split(256):
            batch = self.draw(len(chunk), 1, joint=False, clips=chunk.numpy())
            _, _, away = drawn_motion(batch, self.space)
            away = away.flatten(3)
            posture = away.mean(dim=2, keepdim=True)
            moving, standing = (part.square().sum(dim=-1).mean(dim=(1, 2)) for part in (away - posture, posture))
            energy[chunk] = moving + POSTURE * standing
        kinds = [(clip["rig"], clip["action"]) for clip in self.clips]
        by_kind: dict[tuple[int, str], list[float]] = defaultdict(list)
        for kind, value in zip(kinds, energy.tolist(), strict=True):
            by_kind[kind].append(value)
        usual = torch.tensor([float(np.mean(by_kind[kind])) for kind in kinds])
        drawn = torch.from_numpy(self.odds(self.augmentation.borrowed)).float()
        weights = 1 / (usual + CALM * (drawn * usual).sum()).clamp(min=1e-9)
        self.weights = weights / (drawn * weights).sum()

    def times(self, clips: NDArray[np.int64], backwards: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Times (B, F) in frames since each clip's start: a random window, sped up or slowed down. Where ``backwards``
        (B,), time runs to the clip's start."""
        speed = np.exp(self.random.uniform(-1, 1, len(clips)) * np.log(self.augmentation.speed))[:, None]
        steps = np.arange(self.frames) * speed
        last = (self.length[clips] - 1)[:, None].astype(float)
        period = self.period[clips][:, None].astype(float)
        free = last - steps[:, -1:]
        held = -self.random.integers(0, 5, (len(clips), 1))
        start = np.where(free > 0, self.random.random((len(clips), 1)) * free, held)
        start = np.where(period > 0, self.random.random((len(clips), 1)) * period, start)
        times = start + steps
        if backwards is not None:
            times = np.where(backwards[:, None], last - times, times)
        return times

    def wound(self, times: NDArray[np.float64], clips: NDArray[np.int64]) -> NDArray[np.float64]:
        """Fractional frame indices (B, F) within each clip: loops go round, others start and hold at their ends."""
        period, last = self.period[clips][:, None].astype(float), (self.length[clips] - 1)[:, None].astype(float)
        return np.where(period > 0, np.mod(times, np.maximum(period, 1.0)), np.clip(times, 0, last))

    def _turns(
        self,
        clips: NDArray[np.int64],
        times: NDArray[np.float64],
        backwards: NDArray[np.bool_],
        mirrored: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
        """``turns``, ``repeats`` and ``period`` of ``Motions``, at unwound ``times`` (B, F) of clips."""
        cycles = [self.cycles[clip] for clip in clips]
        period = np.array([cycle.period for cycle in cycles])
        repeats = np.array([cycle.repeats for cycle in cycles])
        begin = np.array(
            [cycle.begin + 0.5 * (cycle.swaps and swap) for cycle, swap in zip(cycles, mirrored, strict=True)]
        )
        turns = times / period[:, None] + begin[:, None]
        turns = np.where(backwards[:, None], np.where(repeats[:, None], -turns, 1 - turns), turns)
        passed = np.abs(np.diff(times[:, :2], axis=1))[:, 0]
        return turns, repeats, period / np.maximum(passed, 1e-6)

    def choose(self, batch: int, borrowed: float) -> NDArray[np.int64]:
        """Random clips (batch,), of which a share ``borrowed`` are borrowed ones."""
        return self.random.choice(len(self.clips), batch, p=self.odds(borrowed))

    def share_borrowed(self, *, joint: bool) -> float:
        """Of the clips in a batch."""
        return 0.0 if joint else self.augmentation.borrowed

    def alike(self, batch: int, borrowed: float) -> NDArray[np.int64]:
        """``choose`` of bodies of about as many markers; what this batch leaves over waits for the next ones."""
        waiting = self.waiting[batch, borrowed]
        if not waiting:
            chosen = self.choose(ALIKE * batch, borrowed)
            markers = self.bodies.masks.sum(dim=1).numpy()[self.rig[chosen]]
            groups = chosen[np.argsort(markers, kind="stable")].reshape(ALIKE, batch)
            waiting.extend(self.random.permutation(groups))
        return waiting.pop()

    def odds(self, borrowed: float) -> NDArray[np.float64]:
        """Probability (clips,) of each clip, of which a share ``borrowed`` are borrowed ones, where there are any."""
        share = borrowed if self.borrowed.any() else 0.0
        return (1 - share) * self.own + share * self.borrowed

    def move(self, clips: NDArray[np.int64], *, joint: bool = False) -> Motions:
        """Random windows of ``clips`` (B,), of bodies of other proportions unless ``joint``."""
        change, batch = self.augmentation, len(clips)
        backwards = self.reversible[clips] & (self.random.random(batch) < change.backwards)
        unwound = self.times(clips, backwards)
        times = self.wound(unwound, clips)
        low = np.floor(times).astype(np.int64)
        period, length = self.period[clips][:, None], self.length[clips][:, None]
        high = np.where(period > 0, (low + 1) % np.maximum(period, 1), np.minimum(low + 1, length - 1))
        blend = torch.from_numpy(times - low).float()[..., None, None]
        base = self.first[clips][:, None]
        points = self.poses[base + low].float().lerp(self.poses[base + high].float(), blend)
        rest = self.poses[self.bodies.rest[self.rig[clips]]].float()
        points = torch.cat([rest[:, None], points], dim=1)
        mask = self.bodies.masks[self.rig[clips]]
        if not joint:
            points, mask = self._other_body(points, mask, self.rig[clips])
        mirrored = self.random.random(batch) < change.mirror
        flip = torch.from_numpy(mirrored)[:, None, None, None]
        points = torch.where(flip, points[:, :, self.mirror] * torch.tensor([-1.0, 1, 1]), points)
        mask = torch.where(flip[:, 0, 0], mask[:, self.mirror], mask)
        text = self._texts(clips, backwards, mirrored)
        turns, repeats, period = self._turns(clips, unwound, backwards, mirrored)
        return Motions(points[:, 0], points[:, 1:], mask, text, turns, repeats, period, low, mirrored)

    def draw(self, batch: int, views: int, *, joint: bool, clips: NDArray[np.int64] | None = None) -> Batch:
        """A batch of ``batch`` samples with ``views`` of the four template views (1: a random one each)."""
        if clips is None:
            clips = self.choose(batch, self.share_borrowed(joint=joint))
        motions = self.move(clips, joint=joint)
        chosen = (
            torch.from_numpy(self.random.integers(0, 4, (batch, 1))) if views == 1 else torch.arange(4).expand(batch, 4)
        )
        rgb = self._pictures(clips, motions.low, chosen.numpy(), motions.mirrored) if joint else None
        projections, standing = self.projections[chosen], motions.rest[:, None]
        rest = project(standing, projections)

        def drawn(points: Tensor) -> Tensor:
            return drawn_at(project(points, projections), rest)

        moved = None
        if views > 1:
            extent = (motions.rest.amax(dim=1) - motions.rest.amin(dim=1)).amax(dim=-1)
            steps = torch.cat([torch.eye(3), -torch.eye(3)])[None] * (TANGENT_STEP * extent)[:, None, None]
            moved = drawn(standing + steps[:, :, None])
        return Batch(
            points=torch.cat([rest, drawn(motions.points)], dim=2),
            mask=motions.mask,
            rgb=rgb,
            text=motions.text,
            weight=self.weights[clips],
            clock=torch.from_numpy(clock.told(motions.turns, motions.repeats, motions.period)),
            moved=moved,
            planned=None if self.repertoire is None else drawn(standing + self._planned(motions, clips)),
        )

    def _planned(self, motions: Motions, clips: NDArray[np.int64]) -> Tensor:
        """(B, F, C, 3) how far from rest markers are planned to be, by what is said of each clip."""
        assert self.repertoire is not None
        moves = torch.zeros_like(motions.points)
        for i, clip in enumerate(clips):
            used = motions.mask[i] > 0
            without = int(self.rig[clip]) if self.random.random() < self.left_out else None
            plan = self.repertoire.plan(
                motions.rest[i, used].double().numpy(),
                motions.text[i].float().numpy(),
                int(self.random.integers(2**31)),
                without=without,
                repeats=bool(motions.repeats[i]),
            )
            turns = (
                motions.turns[i]
                if plan.tempo.repeats == motions.repeats[i]
                else plan.tempo.turns(np.arange(self.frames))
            )
            moves[i][:, used] = torch.from_numpy(plan.moves(turns)).float()
        return moves

    def _other_body(self, points: Tensor, mask: Tensor, rigs: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The same motion of a body of other proportions that faces a little aside and may lack a part."""
        change, size = self.augmentation, len(rigs)
        above = self.bodies.above[rigs]

        def half() -> NDArray[np.bool_]:
            return self.random.random(size) < 0.5

        if change.bones:
            amounts = self.random.normal(0, change.bones, (size, 9))
            amounts *= (half() & self.bodies.one_tree[rigs].numpy())[:, None]
            points = rescaled_bones(points, mask, self.bodies.parents[rigs], above, torch.from_numpy(amounts).float())
        if change.drop:
            chance = self.random.random(mask.shape) * (self.random.random((size, 1)) < change.drop)
            mask = without_a_part(points, mask, above, torch.from_numpy(chance).float())
        stretch = np.exp(self.random.normal(0, change.shape, (size, 1, 1, 3)))
        points = points * torch.from_numpy(stretch / np.cbrt(stretch.prod(-1, keepdims=True))).float()
        angles = np.deg2rad(self.random.uniform(-change.yaw, change.yaw, size) * half())
        return turned(points, torch.from_numpy(angles).float()), mask

    def _pictures(
        self, clips: NDArray[np.int64], frames: NDArray[np.int64], views: NDArray[np.int64], mirrored: NDArray[np.bool_]
    ) -> Tensor:
        """Renders (B, V, 1 + F, H, W, 3), the template first."""
        assert self.rgb is not None, "the bank holds no renders"
        rows = np.concatenate(
            [self.bodies.rest[self.rig[clips]].numpy()[:, None], self.first[clips][:, None] + frames], axis=1
        )
        source = np.where(mirrored[:, None], np.array(MIRRORED_VIEWS)[views], views)
        pictures = self.rgb[rows[:, None, :], source[:, :, None]]  # (B, V, 1 + F, H, W, 3)
        pictures[mirrored] = pictures[mirrored][..., ::-1, :]
        return torch.from_numpy(pictures)

    def _texts(self, clips: NDArray[np.int64], backwards: NDArray[np.bool_], mirrored: NDArray[np.bool_]) -> Tensor:
        rows = []
        for clip, back, swap in zip(clips, backwards, mirrored, strict=True):
            choices = self.clips[clip]["backwards" if back else "texts"][int(swap)]
            rows.append(choices[self.random.integers(len(choices))])
        return torch.from_numpy(self.text[rows])


def told_clips(rigs: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The clips of an index's rigs, and all captions. Clips are entries of the index with their ``first`` row, number
    of the ``rig``, its ``category``, and numbers of captions: ``texts``, plain ones and mirrored ones, and
    ``backwards``, those of the clip played backwards, None where that has no name."""
    clips: list[dict[str, Any]] = []
    captions: dict[str, int] = {}
    for i, rig in enumerate(rigs):
        first = rig["first"] + 1
        for clip in rig["clips"]:
            said = captions_of(clip, rig["category"])
            texts = [
                [captions.setdefault(change(c), len(captions)) for c in said] for change in (str, mirrored_caption)
            ]
            # a clip follows the one before, unless its place is given
            clips.append({"first": first, **clip, "rig": i, "texts": texts, "category": rig["category"]})
            first += clip["frames"]
    told = {(clip["rig"], clip["action"]): clip["texts"] for clip in clips}
    told |= {(clip["category"], clip["action"]): clip["texts"] for clip in clips}
    for clip in clips:
        action = REVERSED.get(clip["action"])
        clip["backwards"] = (
            clip["texts"] if action == clip["action"]
            else told.get((clip["rig"], action)) or told.get((clip["category"], action))
        )  # fmt: skip
    return clips, list(captions)


def encoded(captions: list[str], text: TextEncoder, folder: Path) -> NDArray[np.float16]:
    """States (N, T, width) of the captions, memory-mapped. They are kept in ``folder``, by captions and encoder, for
    the next run, which encodes only what no earlier one has."""
    key = hashlib.sha256("\n".join([text.encoder_hash, *captions]).encode()).hexdigest()[:16]
    path = folder / f"text-{key}.npy"
    if not path.exists():
        states = np.zeros((len(captions), text.TOKENS, text.WIDTH), np.float16)
        missing = {caption: i for i, caption in enumerate(captions)}
        for names in folder.glob("text-*.json"):
            known = json.loads(names.read_text())
            if known["encoder"] == text.encoder_hash and (earlier := names.with_suffix(".npy")).exists():
                old = np.load(earlier, mmap_mode="r")
                for i, caption in enumerate(known["captions"]):
                    if caption in missing:
                        states[missing.pop(caption)] = old[i]
        if missing:
            states[list(missing.values())] = text.encode(list(missing))
        path.with_suffix(".json").write_text(json.dumps({"encoder": text.encoder_hash, "captions": captions}))
        partial = path.with_suffix(f".{os.getpid()}.tmp")  # several processes may come here at once
        with partial.open("wb") as file:
            np.save(file, states)
        partial.replace(path)
    stored: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return stored


def balanced_weights(clips: list[dict[str, Any]], group: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sampling probability of each clip; 0 outside ``group`` (clips,). Every category counts by the square root of its
    clips in the group; so does, within it, every action, those that are asked for every day ``EVERYDAY_WEIGHT``
    times."""
    kinds = [(clip["category"], clip["action"]) for clip in clips]
    members = np.flatnonzero(group)
    by_kind = Counter(kinds[i] for i in members)
    by_category = Counter(clips[i]["category"] for i in members)
    actions = {kind: size**0.5 * (EVERYDAY_WEIGHT if kind[1] in EVERYDAY else 1) for kind, size in by_kind.items()}
    within: dict[str, float] = defaultdict(float)
    for (category, _), weight in actions.items():
        within[category] += weight
    weights = np.zeros(len(clips))
    for i in members:
        category, _ = kinds[i]
        share = actions[kinds[i]] / within[category]
        weights[i] = by_category[category] ** 0.5 * share / by_kind[kinds[i]]
    return weights / max(weights.sum(), 1e-12)


def project(points: Tensor, projections: Tensor) -> Tensor:
    """Image positions (B, V, F, C, 2) in [0, 1] of points (B, F, C, 3) by projections (B, V, 3, 4) onto unit images."""
    homogeneous = torch.einsum("bvij,bfcj->bvfci", projections[..., :3], points) + projections[:, :, None, None, :, 3]
    return homogeneous[..., :2] / homogeneous[..., 2:]


def draw_splats(points: Tensor, mask: Tensor, space: LatentSpace) -> Tensor:
    """Pose latents (B, V, F, C, size, size) of ``points`` (B, V, F, C, 2) in [0, 1], ordered by channel.

    The same as ``SplatPoseMap.draw`` and ``LatentSpace.encode_pose``, for many rigs at once: ``mask`` (B, C) is 0 for
    channels that are not in use, and points outside the picture are drawn at its edge.
    """
    size = space.codec.size
    cells = 1 + points.clamp(0.0, 1.0) * (size - 2)
    distance = (cells[..., None] - (torch.arange(size) + 0.5)).abs()
    weights = torch.where(distance < 0.5, 0.75 - distance.square(), 0.5 * (1.5 - distance).clamp(min=0.0).square())
    across, down = weights[..., 0, :], weights[..., 1, :] * (mask[:, None, None, :, None] * space.pose_scale)
    return down[..., :, None] * across[..., None, :]


def drawn_at(places: Tensor, rest: Tensor) -> Tensor:
    """The same as ``LatentSpace.drawn_at``."""
    return 0.5 + 0.5 * torch.asinh((places - rest) / NEAR) / math.asinh(0.5 / NEAR)


def drawn_motion(batch: Batch, space: LatentSpace) -> tuple[Tensor, Tensor, Tensor]:
    """Pose latents of the template, those of a clip's frame that shows the rest pose, both (B, V, C, size, size), and
    what the clip's (B, V, F, C, size, size) differ by from these."""
    maps = draw_splats(batch.points, batch.mask, space)
    at_rest = drawn_rest(batch, space)
    return maps[:, :, 0], at_rest[:, :, 0], maps[:, :, 1:] - at_rest


def drawn_plan(batch: Batch, space: LatentSpace) -> Tensor | None:
    """What the pose latents (B, V, F, C, size, size) of the planned clip differ by from those of the rest pose."""
    if batch.planned is None:
        return None
    return draw_splats(batch.planned, batch.mask, space) - drawn_rest(batch, space)


def drawn_rest(batch: Batch, space: LatentSpace) -> Tensor:
    """Pose latents (B, V, 1, C, size, size) of a clip's frame that shows the rest pose."""
    return draw_splats(torch.full_like(batch.points[:, :, :1], 0.5), batch.mask, space)


def tangents(moved: Tensor, mask: Tensor, space: LatentSpace) -> Tensor:
    """The same as ``LatentSpace.tangents``, (B, V, C, 3, size, size), of a batch's ``moved`` markers."""
    drawn = draw_splats(moved, mask, space)
    derivative = (drawn[:, :, :3] - drawn[:, :, 3:]).movedim(2, 3).flatten(-2)  # (B, V, C, 3, size²)
    squares, left = torch.linalg.eigh(derivative @ derivative.mT)
    lengths = squares.clamp(min=0).sqrt()
    seen = lengths > SEEN * lengths[..., 2:].clamp(min=1e-9)
    seen[..., 0] = False  # along the line of sight
    whitened = left @ (torch.where(seen, 1 / lengths.clamp(min=1e-9), 0.0)[..., None] * left.mT)
    return (whitened @ derivative).unflatten(-1, (space.codec.size, space.codec.size))


def shared_noise(moved: Tensor, mask: Tensor, space: LatentSpace, frames: int, generator: torch.Generator) -> Tensor:
    """Noise on pose latents (B, V, F, C, size, size) as the sampler starts from: what it says of a marker's place is
    one random move in space as all views see it."""
    along = tangents(moved, mask, space)
    size, views, channels = along.shape[:3]
    shape = (size, views, frames, channels, *along.shape[-2:])
    white = torch.randn(shape, generator=generator)
    moves = torch.randn((size, 1, frames, channels, 3), generator=generator)
    # products of small matrices by channel: (B, V, C, F, size²) with (B, V, C, 3, size²)
    along, own = along.flatten(-2), white.flatten(-2).transpose(2, 3)
    shared = (moves.transpose(2, 3) - own @ along.mT) @ along
    return white + shared.transpose(2, 3).unflatten(-1, shape[-2:])


def picture_latents(rgb: Tensor) -> Tensor:
    """RGB latents (..., 3, H, W) of pictures (..., H, W, 3) uint8, as ``LatentSpace.encode_rgb``."""
    return ((rgb.float() - torch.tensor(BACKGROUND)) * (RGB_SCALE / 255)).movedim(-1, -3)

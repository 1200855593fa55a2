"""The repertoire: how bodies of the training data move when they do what is said of them.

The broad strokes of a motion are told by prompt and body alone: a dog's walk is nearly a wolf's. They are looked up:
clips that are called so, of bodies that are built so, are carried over to the body in hand, marker by marker to where
markers rest (kernel regression), as retrieval-augmented motion diffusion does with whole poses (Zhang et al. 2023,
"ReMoDiffuse", arXiv 2304.01116). The result, the plan, is where the denoiser starts from: it says what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.clock import Tempo
from animax.errors import ModelError

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
IntArray = NDArray[np.int64]

WAVES = 4
"""Of a turn of a motion that repeats: its fundamental and three harmonics."""
TERMS = 10
"""Cosines over the one turn of a motion that does not."""
KINDS = 5
"""Kinds of motion that are asked, nearest by what they are called."""
CAPTIONS = 12
"""Of a kind, nearest to a prompt, whose mean cosine says how near the kind is: by one alone, what is put in other words
than any caption's goes astray; by all, kinds that are told in many ways are near to nothing (docs/decisions.md)."""
SHARPNESS = 30.0
"""Factor of a kind's nearness in the logarithm of its weight."""
ALIKE = 0.15
"""Deviation of the shapes of bodies that count alike within a kind."""
RELATED = 0.3
"""... from kind to kind: a snake's crawl is not a baby's."""
NEAR = 0.05
"""Half sizes: deviation of the places at rest of markers that move alike."""
FAR = 0.32
"""... where there is no marker as near as that."""
FAINT = 1e-6
"""Weight of what is far against what is near."""
LEAST_WEIGHT = 0.01
"""Of a clip against the one that counts most, below which it is left out."""
LOOSE = 1.0
"""What is taken to lie in all directions alike, of the variance of captions about their kind's mean."""
LED = 0.5
"""Power of a clip's weight in how often it leads."""
MOST_RESTORED = 2.0
"""Factor of the range of a marker that clips which differ have lost in their mean."""
STEPS = 127
"""Of the numbers that clips are stored in, from zero to a clip's largest."""
GRID = np.linspace(-0.8, 0.8, 11)
"""Places along each axis, half sizes, at which a body's shape is felt for."""
TOUCH = 0.1
"""Half sizes: how far these feel."""


def courses(turns: Array, *, repeats: bool) -> Array:
    """What a motion is a sum of, at ``turns`` (F,): (F, 1 + 2 · ``WAVES``) waves of whole turns, or (F, ``TERMS``)
    cosines of half turns up to the end, at which a motion that does not repeat is held."""
    if not repeats:
        return np.stack([np.cos(k * np.pi * turns.clip(0.0, 1.0)) for k in range(TERMS)], axis=-1)
    waves = [wave(2 * np.pi * k * turns) for k in range(1, WAVES + 1) for wave in (np.cos, np.sin)]
    return np.stack([np.ones_like(turns), *waves], axis=-1)


def shape_of(rest: Array) -> Array:
    """(S,) unit: where in space markers at ``rest`` (M, 3) are, for comparison with other bodies."""
    along = np.exp(-((rest[..., None] - GRID) ** 2) / (2 * TOUCH**2))  # (M, 3, G)
    felt = np.einsum("mi,mj,mk->ijk", along[:, 0], along[:, 1], along[:, 2]).ravel()
    shape: Array = felt / max(float(np.linalg.norm(felt)), 1e-12)
    return shape


@dataclass(frozen=True, eq=False)
class Plan:
    """How M markers are expected to move.

    Attributes:
        parts: (N, M, 3) what each of the ``courses`` is multiplied by, in half sizes of the body, body frame.
        tempo: how the motion takes its time.
    """

    parts: Array
    tempo: Tempo

    def moves(self, turns: Array) -> Array:
        """(F, M, 3) how far markers are from rest at ``turns`` (F,), in half sizes of the body, body frame."""
        moves: Array = np.einsum("fn,nmc->fmc", courses(turns, repeats=self.tempo.repeats), self.parts)
        return moves


@dataclass(frozen=True, eq=False)
class Repertoire:
    """C clips of R bodies, of K kinds of motion which N captions tell.

    Attributes:
        text: (N, width) what captions mean, of unit length.
        told: (N,) kind of motion that each tells.
        anywhere: (K,) kinds that may begin anywhere in their turn, as gaits and rests do; others begin at its
            beginning.
        rest: (ΣM, 3) markers of all bodies at rest, in half sizes, body frame.
        ends: (R,) one past each body's last marker.
        kind, body: (C,) of each clip.
        repeats: (C,) whether it turns round.
        period: (C,) frames of a turn.
        scale: (C,) of its parts, for one of their ``STEPS``.
        parts: (ΣN·M, 3) int8, of all clips one after another: ``Plan.parts`` of a body's markers.
    """

    text: Floats
    told: IntArray
    anywhere: NDArray[np.bool_]
    rest: Floats
    ends: IntArray
    kind: IntArray
    body: IntArray
    repeats: NDArray[np.bool_]
    period: Floats
    scale: Floats
    parts: NDArray[np.int8]

    @cached_property
    def shapes(self) -> Array:
        """(R, S) of the bodies."""
        return np.stack([shape_of(self._rest_of(body)) for body in range(len(self.ends))])

    @cached_property
    def _begins(self) -> IntArray:
        """(C + 1,) first row of each clip's parts."""
        markers = np.diff(self.ends, prepend=0)[self.body]
        sizes = markers * np.where(self.repeats, 1 + 2 * WAVES, TERMS)
        return np.concatenate([[0], np.cumsum(sizes)])

    def _rest_of(self, body: int) -> Array:
        return self.rest[self.ends[body - 1] if body else 0 : self.ends[body]].astype(float)

    def _parts_of(self, clip: int) -> Array:
        stored = self.parts[self._begins[clip] : self._begins[clip + 1]]
        shaped = stored.reshape(1 + 2 * WAVES if self.repeats[clip] else TERMS, -1, 3)
        parts: Array = shaped.astype(float) * self.scale[clip]
        return parts

    @cached_property
    def _captions_of(self) -> IntArray:
        """(K, most of a kind) numbers of each kind's captions, one past the last where it has no more."""
        counts = np.bincount(self.told, minlength=len(self.anywhere))
        order = np.argsort(self.told, kind="stable")
        table = np.full((len(counts), counts.max()), len(self.told))
        table[np.arange(counts.max()) < counts[:, None]] = order
        return table

    @cached_property
    def _telling(self) -> Floats:
        """(width, width) by which states are multiplied, so that what captions of one kind differ by counts for less:
        within-class covariance normalisation (Hatch et al. 2006), of all kinds alike."""
        counts = np.bincount(self.told).astype(float)
        by_kind = self.text[np.argsort(self.told, kind="stable")].astype(float)
        sums = np.add.reduceat(by_kind, (np.cumsum(counts) - counts).astype(int))
        off = self.text - (sums / counts[:, None])[self.told]
        off /= np.sqrt(counts * len(counts))[self.told, None]
        variance, along = np.linalg.eigh(off.T @ off)
        scale = 1 / np.sqrt(variance.clip(0) + LOOSE * max(variance.mean(), 1e-9))
        telling: Floats = ((along * scale) @ along.T / scale.max()).astype(np.float32)
        return telling

    @cached_property
    def _meanings(self) -> Floats:
        """(N, width) what captions tell of their kind, of unit length."""
        return units(self.text @ self._telling)

    def nearness(self, states: Floats, captions: int = CAPTIONS) -> Array:
        """(K,) mean cosine between a prompt's ``states`` (T, width) and the ``captions`` of each kind that are nearest,
        of what they tell of their kind."""
        cosines = np.append(self._meanings @ units(states[0] @ self._telling), np.nan)[self._captions_of]
        nearest = -np.sort(-cosines, axis=1)[:, :captions]  # what is not there comes last
        mean: Array = np.nanmean(nearest, axis=1)
        return mean

    def is_whole(self) -> bool:
        """Whether the arrays fit together, none of them empty."""
        clips, kinds, bodies = len(self.kind), len(self.anywhere), len(self.ends)
        if not min(clips, kinds, bodies, len(self.text)):
            return False
        of_clips = all(len(part) == clips for part in (self.body, self.repeats, self.period, self.scale))
        numbers = ((self.told, kinds), (self.kind, kinds), (self.body, bodies))
        known = all(part.min() >= 0 and part.max() < count for part, count in numbers)
        told = len(self.told) == len(self.text) and len(np.unique(self.told)) == kinds
        bodies_end = bool((np.diff(self.ends, prepend=0) > 0).all()) and self.ends[-1] == len(self.rest)
        return of_clips and known and told and bodies_end and len(self.parts) == self._begins[-1]

    def likeness(self, states: Floats) -> float:
        """Of the kind of motion that is nearest to a prompt's ``states`` (T, width), the nearness."""
        return float(self.nearness(states).max())

    def only(self, bodies: Sequence[int]) -> Repertoire:
        """The clips of some bodies, at least one of which has any, and the kinds of motion that these are of."""
        clips = np.flatnonzero(np.isin(self.body, bodies))
        kinds = np.unique(self.kind[clips])
        said = np.isin(self.told, kinds)
        rests = [self._rest_of(body) for body in bodies]
        rows = np.concatenate([np.arange(self._begins[clip], self._begins[clip + 1]) for clip in clips])
        return Repertoire(
            text=self.text[said],
            told=np.searchsorted(kinds, self.told[said]),
            anywhere=self.anywhere[kinds],
            rest=np.concatenate(rests).astype(np.float32),
            ends=np.cumsum([len(rest) for rest in rests]),
            kind=np.searchsorted(kinds, self.kind[clips]),
            body=np.searchsorted(bodies, self.body[clips]),
            repeats=self.repeats[clips],
            period=self.period[clips],
            scale=self.scale[clips],
            parts=self.parts[rows],
        )

    def beside(self, others: Repertoire) -> Repertoire:
        """These clips, and those of ``others`` but of bodies that are here too. Kinds of motion stay apart."""
        here = {self._rest_of(body).tobytes() for body in range(len(self.ends))}
        new = [body for body in range(len(others.ends)) if others._rest_of(body).tobytes() not in here]
        if not np.isin(others.body, new).any():
            return self
        added = others.only(new)
        moved = replace(
            added,
            told=added.told + len(self.anywhere),
            kind=added.kind + len(self.anywhere),
            body=added.body + len(self.ends),
            ends=added.ends + self.ends[-1],
        )
        pairs = {field.name: (getattr(self, field.name), getattr(moved, field.name)) for field in fields(self)}
        return Repertoire(**{name: np.concatenate(pair) for name, pair in pairs.items()})

    def weigh(
        self, states: Floats, shape: Array, *, without: int | None = None, repeats: bool | None = None
    ) -> tuple[IntArray, Array]:
        """Clips that answer a prompt's ``states`` (T, width) for a body of a ``shape`` (S,), and what each counts; they
        all turn round, or none does. Other arguments as of ``plan``."""
        nearness = self.nearness(states)
        off = ((self.shapes - shape) ** 2).sum(axis=1)[self.body]
        others = self.body != (-1 if without is None else without)
        if others.any():
            off[~others] = np.inf
        nearest = np.full(len(nearness), np.inf)
        np.minimum.at(nearest, self.kind, off)
        score = SHARPNESS * nearness - nearest / (2 * RELATED**2)
        score[np.isinf(nearest)] = -np.inf
        kinds = np.argsort(-score, kind="stable")[:KINDS]
        clips, weights = [], []
        for kind in kinds[np.isfinite(score[kinds])]:
            of_kind = np.flatnonzero((self.kind == kind) & np.isfinite(off))
            share = np.exp((off[of_kind].min() - off[of_kind]) / (2 * ALIKE**2))
            clips.append(of_kind)
            weights.append(np.exp(score[kind] - score[kinds[0]]) * share / share.sum())
        found, weight = np.concatenate(clips), np.concatenate(weights)
        again = self.repeats[found]
        most = bool(weight @ again > 0.5 * weight.sum()) if repeats is None or not (again == repeats).any() else repeats
        found, weight = found[again == most], weight[again == most]
        kept = weight > LEAST_WEIGHT * weight.max()
        return found[kept], weight[kept] / weight[kept].sum()

    def plan(
        self, rest: Array, states: Floats, seed: int, *, without: int | None = None, repeats: bool | None = None
    ) -> Plan:
        """The plan for markers at ``rest`` (M, 3), in half sizes of the body, body frame.

        Args:
            rest: of the body.
            states: (T, width) of the prompt.
            seed: of which clip leads, and of where in its turn what may begin anywhere does.
            without: a body whose clips are left out, if there are others.
            repeats: whether it is to turn round, if there is such a clip; None: as most do.
        """
        clips, weights = self.weigh(states, shape_of(rest), without=without, repeats=repeats)
        repeats = bool(self.repeats[clips[0]])
        courses_of = 1 + 2 * WAVES if repeats else TERMS
        carried, near = np.empty((len(clips), courses_of, len(rest), 3)), np.empty((len(clips), len(rest)))
        for i, clip in enumerate(clips):
            off = ((rest[:, None] - self._rest_of(self.body[clip])) ** 2).sum(axis=-1)
            share = np.exp(-off / (2 * NEAR**2)) + FAINT * np.exp(-off / (2 * FAR**2))
            near[i] = np.maximum(share.sum(axis=1), 1e-300)
            carried[i] = (share / near[i][:, None]) @ self._parts_of(clip)
        leading = carried[self._leading(clips, weights, seed)]
        weights = weights * agreement(carried, leading)
        weights /= weights.sum()
        counts = weights[:, None] * near
        counts /= counts.sum(axis=0)
        parts = np.einsum("cm,cnmk->nmk", counts, carried)
        parts[1:] *= lost(carried, counts, parts)[:, None]
        tempo = Tempo(repeats, float(np.exp(weights @ np.log(self.period[clips]))))
        if repeats and weights @ self.anywhere[self.kind[clips]] > 0.5:
            tempo = Tempo(repeats, tempo.period, float(np.random.default_rng([seed, 1]).random()))
        return Plan(parts, tempo)

    def _leading(self, clips: IntArray, weights: Array, seed: int) -> int:
        """The place of a clip drawn among ``clips``, of the kind of motion of the one that counts most."""
        of_kind = self.kind[clips] == self.kind[clips[weights.argmax()]]
        often = np.where(of_kind, weights**LED, 0.0)
        return int(np.random.default_rng([seed, 2]).choice(len(clips), p=often / often.sum()))


def agreement(parts: Array, leading: Array) -> Array:
    """(C,) how far motions, of ``parts`` (C, N, M, 3) each, go along with the ``leading`` one (N, M, 3), from 0 to 1:
    two steps that go against each other are no step."""
    moving, lead = parts[:, 1:].reshape(len(parts), -1), leading[1:].ravel()
    if not lead.any():
        return np.ones(len(parts))
    along = moving @ lead / np.maximum(np.linalg.norm(moving, axis=1) * np.linalg.norm(lead), 1e-300)
    agreed: Array = along.clip(0.0, 1.0)
    return agreed


def lost(parts: Array, counts: Array, mean: Array) -> Array:
    """(M,) by what factor markers move less in the ``mean`` (N, M, 3) of motions, of ``parts`` (C, N, M, 3) each that
    count ``counts`` (C, M), than they do in these: from 1 to ``MOST_RESTORED``."""
    ranges = np.sqrt((parts[:, 1:] ** 2).sum(axis=(1, 3)))  # (C, M)
    range_of_mean = np.sqrt((mean[1:] ** 2).sum(axis=(0, 2)))
    factor: Array = (counts * ranges).sum(axis=0) / np.maximum(range_of_mean, 1e-12)
    return factor.clip(1.0, MOST_RESTORED)


def units(states: Floats) -> Floats:
    """States (…, width), of unit length; nothing stays nothing."""
    length = np.linalg.norm(states, axis=-1, keepdims=True)
    of_unit_length: Floats = states / np.maximum(length, np.float32(1e-9))
    return of_unit_length


def read_repertoire(path: Path) -> Repertoire:
    """The file of a model.

    Raises:
        ModelError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {field.name: file[field.name] for field in fields(Repertoire)}
        text = arrays["text"].astype(np.float32)
        repertoire = Repertoire(**{**arrays, "text": text / np.linalg.norm(text, axis=1, keepdims=True)})
        whole = repertoire.is_whole()
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"{path.name} holds no repertoire") from error
    if not whole:
        raise ModelError(f"{path.name} holds no repertoire: its arrays do not fit together, or are empty")
    return repertoire


def write_repertoire(repertoire: Repertoire, path: Path) -> None:
    """The inverse of ``read_repertoire``; what captions mean is rounded to a hundredth of its largest number."""
    text = np.rint(repertoire.text * (STEPS / np.abs(repertoire.text).max(axis=1, keepdims=True))).astype(np.int8)
    arrays = {field.name: getattr(repertoire, field.name) for field in fields(repertoire)}
    np.savez_compressed(path, **{**arrays, "text": text})

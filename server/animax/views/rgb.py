"""RgbPoseMap: the paper's pose maps (§ 3.1), coloured joints and grey bones on black, for models behind a video VAE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import MarkerKind, MarkerSet
from animax.errors import OptionError
from animax.views.pose_map import Array, Maps, Observations

Floats = NDArray[np.float32]
IntArray = NDArray[np.int64]

RADIUS = 2.5 / 96
"""Of the large model's circles, in widths of the picture."""
LINE_GREY = 0.35
"""Level of the bones: in the palette's gap between black and its darkest colours."""
EDGE = 0.5
"""Half the width of a drawn circle's soft edge, pixels."""
NOISE = 0.12
"""Standard deviation of a map's colours that the decoder expects, per channel in [0, 1]."""
ITERATIONS = 6
"""Gauss-Newton steps of the sub-pixel fit."""
RADII = (0.6, 1.4)
"""Least and largest radius of a circle, in radii of one at the mean depth."""
COVERED = np.float32(0.3)
"""What a pixel in another circle's colour costs, in pixels of background: without it, the rim of another circle, whose
blend with black may be a colour of the palette, passes for a large circle behind it."""
WHOLE = 0.75
"""Visible share less half the misfit of a circle that is seen whole, through some blur and noise."""
LEAST = 0.2
"""Confidence below which a place is not told: most of what is left there is the edges of other circles."""


@dataclass(frozen=True)
class RgbPoseMap:
    """Every marker is a filled circle in a colour of its own, every bone a grey line under the circles.

    Both are painted far to near, so that what is hidden in one view lies on top in the opposite one. Far circles are
    larger than near ones, so that a rim of what lies behind still shows. Colours are levels in [0, 1].

    Off-axis markers are not drawn: they would cover the joints that they belong to. They come back with confidence 0.

    Attributes:
        size: height and width, pixels.
        radius: of a circle at the mean depth of its image's circles, pixels.
        growth: relative growth of a circle's radius with its relative depth.
        colours: size of the palette; the channels of drawn markers must be below it.
        tails: draw the virtual tails of leaf joints.
    """

    size: int = 96
    radius: float = 2.5
    growth: float = 2.5
    colours: int = 48
    tails: bool = True

    @property
    def channels(self) -> int:
        """Red, green and blue."""
        return 3

    def resized(self, size: int) -> RgbPoseMap:
        """The same for maps of another size."""
        return replace(self, size=size, radius=self.radius * size / self.size)

    def drawn(self, markers: MarkerSet) -> IntArray:
        """Indices of the markers that appear in the maps."""
        kinds = [MarkerKind.HEAD, MarkerKind.TAIL] if self.tails else [MarkerKind.HEAD]
        return np.flatnonzero(np.isin(markers.kinds, kinds))

    def draw(self, points: Array, depths: Array, markers: MarkerSet, frame: int) -> Maps:
        """See ``PoseMapCodec.draw``.

        Raises:
            OptionError: a marker's channel has no colour in the palette.
        """
        drawn = self._drawn(markers)
        views, frames = points.shape[:2]
        at = (points * (self.size / frame)).reshape(views * frames, -1, 2)
        depth = depths.reshape(views * frames, -1)
        bones = np.stack([self._bones(p, d, markers) for p, d in zip(at, depth, strict=True)])
        images = np.repeat(bones[..., None], 3, axis=-1).astype(np.float64)
        self._paint(images, at[:, drawn], depth[:, drawn], self.palette()[markers.channels[drawn]])
        images = images.reshape(views, frames, self.size, self.size, 3)
        return np.ascontiguousarray(np.moveaxis(images, -1, 2), np.float32)

    def _drawn(self, markers: MarkerSet) -> IntArray:
        """``drawn``, once it is sure that each has a colour."""
        drawn = self.drawn(markers)
        if np.any(markers.channels[drawn] >= self.colours):
            raise OptionError(
                "channel", int(markers.channels[drawn].max()), f"below the palette's {self.colours} colours"
            )
        return drawn

    def _paint(self, images: Array, at: Array, depth: Array, colours: Array) -> None:
        """Paint circles at ``at`` (I, D, 2) onto ``images`` (I, size, size, 3), one rank of depth after another."""
        relative = depth / depth.mean(axis=1, keepdims=True) - 1
        radii = self.radius * np.clip(1 + self.growth * relative, *RADII)
        far_to_near = np.argsort(-depth, axis=1, kind="stable")
        reach = int(np.ceil(self.radius * RADII[1] + EDGE))
        window = np.arange(-reach, reach + 1)
        image = np.arange(len(at))
        for which in far_to_near.T:
            center, radius = at[image, which], radii[image, which, None, None]
            corner = np.floor(np.clip(center, -1.0, self.size)).astype(np.int64)
            x, y = corner[:, :1] + window, corner[:, 1:] + window
            distance = np.hypot((y + 0.5 - center[:, 1:])[:, :, None], (x + 0.5 - center[:, :1])[:, None])
            inside = ((y >= 0) & (y < self.size))[:, :, None] & ((x >= 0) & (x < self.size))[:, None]
            alpha = np.where(inside, coverage(distance, radius), 0.0)
            n, row, column = np.nonzero(alpha)
            place = n, y[n, row], x[n, column]
            share = alpha[n, row, column, None]
            images[place] = images[place] * (1 - share) + colours[which[n]] * share

    def _bones(self, at: Array, depths: Array, markers: MarkerSet) -> Floats:
        """(size, size) grey levels of the bones of one image."""
        canvas = np.zeros((self.size, self.size), np.uint8)
        ends = self._bone_ends(markers)
        order = np.argsort(-depths[ends].mean(axis=1))
        fixed = np.rint((at - 0.5) * 16).clip(-(2**20), 2**20).astype(np.int64)
        for a, b in ends[order]:
            cv2.line(canvas, fixed[a].tolist(), fixed[b].tolist(), round(LINE_GREY * 255), 1, cv2.LINE_AA, 4)
        return canvas.astype(np.float32) / np.float32(255)

    def _bone_ends(self, markers: MarkerSet) -> IntArray:
        """(B, 2) markers at the ends of each bone: heads of neighbouring drivers, and head and tail of leaves."""
        head = {int(markers.joints[m]): int(m) for m in np.flatnonzero(markers.kinds == MarkerKind.HEAD)}
        ends = [
            (head[int(markers.drivers[parent])], head[int(joint)])
            for joint, parent in zip(markers.drivers, markers.driver_parents, strict=True)
            if parent >= 0
        ]
        if self.tails:
            ends += [(head[int(markers.joints[m])], int(m)) for m in np.flatnonzero(markers.kinds == MarkerKind.TAIL)]
        return np.array(ends, np.int64).reshape(-1, 2)

    def palette(self) -> Array:
        """(colours, 3) levels in [0, 1]; the same for every rig."""
        return maximin_palette(self.colours)

    def decode(self, maps: Maps, markers: MarkerSet, frame: int) -> Observations:
        """Positions by soft assignment of pixels to colours, the best place for a circle, and a sub-pixel fit of its
        edge. Pixels in the colour of another marker speak little against a circle: they may cover it.

        The confidence is the share of the circle that is seen, less what does not fit there.
        """
        views, frames = maps.shape[:2]
        drawn = self._drawn(markers)
        points = np.full((views, frames, len(markers), 2), frame / 2.0)
        confidence = np.zeros((views, frames, len(markers)))
        for view in range(views):
            for f in range(frames):
                at, sure = self._decode_image(maps[view, f], markers.channels[drawn])
                points[view, f, drawn] = at * (frame / self.size)
                confidence[view, f, drawn] = sure
        return Observations(points, confidence)

    def _decode_image(self, image: Maps, channels: IntArray) -> tuple[Array, Array]:
        """Positions (D, 2) in pixels of the map and confidence (D,) of the circles in one map (3, size, size)."""
        own, empty = self._assign(image, channels)
        other = np.maximum(1 - own - empty, 0)
        best = np.full(len(own), -np.inf)
        start = np.zeros((len(own), 3))
        # a circle's score: its own colour in it, less black and grey, and a little less the colours of others
        evidence = own - empty - COVERED * other
        for radius in self.radius * np.array([0.7, 1.0, 1.3] if self.growth else [1.0]):
            disc = _disc(float(radius))
            score = np.stack([cv2.filter2D(e, -1, disc, borderType=cv2.BORDER_CONSTANT) for e in evidence])
            score = score.reshape(len(own), -1)
            peak = score.argmax(axis=1)
            row, column = np.divmod(peak, self.size)
            found = np.stack([column + 0.5, row + 0.5, np.full(len(own), radius)], axis=-1)
            value = np.take_along_axis(score, peak[:, None], axis=1)[:, 0]
            start = np.where((value > best)[:, None], found, start)
            best = np.maximum(best, value)
        return self._fit(own, other, start)

    def _assign(self, image: Maps, channels: IntArray) -> tuple[Floats, Floats]:
        """Probabilities that pixels show each marker's colour (D, size, size), and background or bone (size, size)."""
        greys = np.linspace(0.0, LINE_GREY, 3)[:, None] * np.ones(3)
        colours = np.concatenate([self.palette()[channels], greys]).astype(np.float32)
        pixels = np.asarray(image, np.float32).reshape(3, -1)
        squares = np.sum(pixels**2, axis=0) - 2 * colours @ pixels + np.sum(colours**2, axis=1)[:, None]
        squares -= squares.min(axis=0)
        likelihood = np.exp(squares * np.float32(-0.5 / NOISE**2))
        likelihood /= likelihood.sum(axis=0)
        likelihood = likelihood.reshape(-1, self.size, self.size)
        return likelihood[: len(channels)], likelihood[len(channels) :].sum(axis=0)

    def _fit(self, own: Floats, other: Floats, start: Array) -> tuple[Array, Array]:
        """Gauss-Newton on centre and radius of circles (D, 3), against the probabilities near ``start``."""
        reach = int(np.ceil(self.radius * RADII[1])) + 2
        window = np.arange(-reach, reach + 1)
        corner = np.floor(start).astype(np.int64)
        x, y = corner[:, :1] + window, corner[:, 1:2] + window
        border = ((0, 0), (reach, reach), (reach, reach))
        place = np.arange(len(own))[:, None, None], (y + reach)[:, :, None], (x + reach)[:, None]
        seen = np.pad(own, border)[place].astype(np.float64)
        weight = 1 - np.pad(other, border, constant_values=1.0)[place].astype(np.float64)
        px, py = (x + 0.5)[:, None, :], (y + 0.5)[:, :, None]
        unknowns = 3 if self.growth else 2
        damping = np.diag([0.05, 0.05, 0.3][:unknowns])  # a covered circle leaves a direction undetermined
        circle = start.copy()
        for _ in range(ITERATIONS):
            dx, dy = circle[:, 0, None, None] - px, circle[:, 1, None, None] - py
            distance = np.maximum(np.hypot(dx, dy), 1e-6)
            model, slope = soft_disc(distance, circle[:, 2, None, None])
            jacobian = np.stack([slope * dx / distance, slope * dy / distance, -slope], axis=-1)[..., :unknowns]
            jacobian = jacobian.reshape(len(own), -1, unknowns)
            weighted = np.swapaxes(jacobian * weight.reshape(len(own), -1, 1), 1, 2)
            gradient = weighted @ (seen - model).reshape(len(own), -1, 1)
            step = np.linalg.solve(weighted @ jacobian + damping, gradient)[..., 0]
            circle[:, :unknowns] += np.clip(step, -0.5, 0.5)
            circle[:, 2] = np.clip(circle[:, 2], self.radius * RADII[0], self.radius * RADII[1])
        circle[:, :2] = start[:, :2] + np.clip(circle[:, :2] - start[:, :2], -1.5, 1.5)
        distance = np.hypot(circle[:, 0, None, None] - px, circle[:, 1, None, None] - py)
        model, _ = soft_disc(distance, circle[:, 2, None, None])
        share = np.sum(model * seen, axis=(1, 2)) / np.sum(model, axis=(1, 2))
        visible = np.maximum(np.sum(weight * model, axis=(1, 2)), 1e-6)
        misfit = np.sum(weight * np.abs(seen - model), axis=(1, 2)) / visible
        confidence = np.clip((share - misfit / 2) / WHOLE, 0, 1)
        return circle[:, :2], np.where(confidence < LEAST, 0.0, confidence)


def reduced(maps: Maps, size: int) -> Maps:
    """Maps (..., 3, H, W) made smaller, each pixel the mean of those that it covers; larger ones are not made."""
    if size >= maps.shape[-1]:
        return maps
    flat = np.moveaxis(maps.reshape(-1, *maps.shape[-3:]), 1, -1)
    small = [cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=cv2.INTER_AREA) for image in flat]
    out: Maps = np.moveaxis(np.stack(small), -1, 1).reshape(*maps.shape[:-2], size, size).astype(np.float32)
    return out


def coverage(distance: Array, radius: Array | float) -> Array:
    """Share of a pixel that a circle covers, by the distance of their centres: a straight edge's."""
    return np.clip((radius + EDGE - distance) / (2 * EDGE), 0.0, 1.0)


def soft_disc(distance: Array, radius: Array) -> tuple[Array, Array]:
    """A disc with a logistic edge, and its derivative by the distance."""
    value = 1 / (1 + np.exp(np.clip((distance - radius) * 4, -40, 40)))
    return value, -4 * value * (1 - value)


@lru_cache
def maximin_palette(count: int) -> Array:
    """(count, 3) colours in [0, 1]³, each the farthest from black, the bones' grey and all before it: so the first ones
    are the easiest to tell apart."""
    levels = np.linspace(0.0, 1.0, 17)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    greys = np.linspace(0.0, LINE_GREY, 3)[:, None] * np.ones(3)
    nearest = np.min(np.linalg.norm(candidates[:, None] - greys, axis=-1), axis=1)
    chosen = []
    for _ in range(count):
        chosen.append(candidates[int(np.argmax(nearest))])
        nearest = np.minimum(nearest, np.linalg.norm(candidates - chosen[-1], axis=-1))
    palette = np.array(chosen)
    palette.setflags(write=False)
    return palette


@lru_cache
def _disc(radius: float) -> Floats:
    reach = int(np.ceil(radius + EDGE))
    axis = np.arange(-reach, reach + 1)
    disc: Floats = coverage(np.hypot(axis[:, None], axis), radius).astype(np.float32)
    return disc

"""Changes to bodies and motions that leave what the caption says true.

Markers are (B, 1 + F, C, 3) in the body frame, the rest pose first; every change is the same for all frames of a
sample. Two tensors tell the marker trees: ``parents`` (B, C), a root being its own, and ``above`` (B, C, C), True where
the column's marker is the row's or one of its ancestors.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animax.assets.markers import split_channels

REVERSED: dict[str, str] = {
    **{action: action for action in (
        "idle", "idle_2", "idle_b", "idle_neutral", "idle_fish", "idle_snake", "idle_snail", "idle_machine",
        "idle_headlow", "sit_idle", "lie_idle", "sit_chair_idle", "sit_floor_idle", "blocking", "yes", "no",
        "wave", "head_nod", "bob", "shiver", "meditate", "float_water", "sleep", "coiled", "open_close", "gate_cycle",
        "sway_tentacle", "levitate",
    )},
    **{a: b for pair in (
        ("open", "close"), ("open_d", "close_d"), ("gate_open", "gate_close"), ("lever_on", "lever_off"),
        ("lie_down", "lie_up"), ("sit_chair_down", "sit_chair_up"), ("sit_floor_down", "sit_floor_up"),
        ("sit", "stand_up"), ("drive_f", "drive_b"), ("drive_l", "drive_r"),
    ) for a, b in (pair, pair[::-1])},
}  # fmt: skip
"""What each action shows when it is played backwards."""
LARGEST_PART = 0.3
"""Share of the markers that may be left out at most."""
LONGEST = 0.5
"""Largest logarithm of a bone's factor."""
STILL = 0.1
"""Share of a clip's motion that markers may have which are left out."""


def ancestors(parents: list[int]) -> NDArray[np.bool_]:
    """(C, C) of the marker tree ``parents`` (C,), -1 at roots: True where the column is the row or above it."""
    out = np.eye(len(parents), dtype=bool)
    for channel in range(len(parents)):
        above = parents[channel]
        while above >= 0:
            out[channel, above] = True
            above = parents[above]
    return out


def rescaled_bones(points: Tensor, mask: Tensor, parents: Tensor, above: Tensor, amounts: Tensor) -> Tensor:
    """The markers with longer and shorter bones: a smooth random field over the rest pose gives each bone's factor,
    alike on the left and the right, so that limbs change whole. The body keeps its middle and its size; off-axis
    markers, which all rigs have at one distance, keep theirs.

    Args:
        points: markers.
        mask: (B, C) 1 for channels in use.
        parents: marker trees.
        above: the same.
        amounts: (B, 9) normal numbers with the deviation that the factors' logarithms shall have; 0 leaves a sample as
            it is.
    """
    size, frames, channels = points.shape[:3]
    root = parents == torch.arange(channels)
    tails = points.gather(2, parents[:, None, :, None].expand(points.shape))
    bones = torch.where(root[:, None, :, None], points, points - tails)
    middle = 2 * (points[:, 0] - bones[:, 0] / 2)
    field = torch.cat([middle[..., :1].abs(), middle[..., 1:]], dim=-1)
    waves = torch.cat([field, torch.sin(3 * field + amounts[:, None, :3]), field.square() - 0.5], dim=-1)
    factors = torch.exp((waves * amounts[:, None]).sum(-1).clamp(-LONGEST, LONGEST))
    body, _ = split_channels(channels)
    factors = torch.where(root | (torch.arange(channels) >= body), 1.0, factors)
    scaled = (bones * factors[:, None, :, None]).transpose(1, 2).reshape(size, channels, frames * 3)
    moved = (above.float() @ scaled).reshape(size, channels, frames, 3).transpose(1, 2)
    old, new = _box(points[:, 0], mask), _box(moved[:, 0], mask)
    ratio = old[1] / new[1].clamp(min=1e-6)
    moved = (moved - new[0][:, None, None]) * ratio[:, None, None, None] + old[0][:, None, None]
    changed = amounts.abs().sum(-1)[:, None, None, None] * mask[:, None, :, None] > 0
    return torch.where(changed, moved, points)


def turned(points: Tensor, angles: Tensor) -> Tensor:
    """The markers turned by ``angles`` (B,) radians about the upright axis."""
    cos, sin = torch.cos(angles)[:, None, None], torch.sin(angles)[:, None, None]
    x, y, z = points.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)


def without_a_part(points: Tensor, mask: Tensor, above: Tensor, chance: Tensor) -> Tensor:
    """``mask`` (B, C) without one marker and all below it, a part that hardly moves.

    Args:
        points: markers.
        mask: 1 for channels in use.
        above: the marker trees.
        chance: (B, C) random numbers; the largest positive one of a fitting part wins, none leaves the sample whole.
    """
    below = above.float() * mask[:, :, None]  # rows that go when the column goes
    energy = points[:, 1:].var(dim=1).sum(-1) * mask
    share = (below * energy[:, :, None]).sum(1) / energy.sum(1, keepdim=True).clamp(min=1e-9)
    fits = (below.sum(1) <= LARGEST_PART * mask.sum(1, keepdim=True)) & (share <= STILL) & (mask > 0)
    best, part = torch.where(fits, chance, 0.0).max(dim=1)
    gone = below.gather(2, part[:, None, None].expand(-1, mask.shape[1], 1))[..., 0]
    return torch.where((best > 0)[:, None], mask * (1 - gone), mask)


def _box(rest: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Middle (B, 3) and diagonal (B,) of the box of the markers (B, C, 3) in use."""
    used = mask[..., None] > 0
    low = torch.where(used, rest, torch.inf).amin(1)
    high = torch.where(used, rest, -torch.inf).amax(1)
    return (low + high) / 2, (high - low).norm(dim=-1)

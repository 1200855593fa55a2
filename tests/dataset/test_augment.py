"""Changes to bodies keep what makes them bodies."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from animax.assets.markers import mirror_channels, split_channels  # noqa: E402
from animax_engine.dataset.augment import (  # noqa: E402
    REVERSED,
    ancestors,
    rescaled_bones,
    turned,
    without_a_part,
)

CHANNELS = 16
BODY, _ = split_channels(CHANNELS)
PARENTS = [-1, 0, 1, 0, 3, 0, 5, 0, 7, 0, 1, 3, 5, 7, 0, 0]
"""A root with four limbs of two bones, and off-axis markers on them."""


def body(seed=0, frames=7):
    """Markers (1, 1 + F, C, 3) of rigid bones that turn at random, their trees and mask."""
    random = np.random.default_rng(seed)
    bones = random.normal(size=(CHANNELS, 3)) * 0.3
    points = np.zeros((1 + frames, CHANNELS, 3))
    for channel, parent in enumerate(PARENTS):
        turn = random.normal(size=(1 + frames, 3, 3))
        turn, _ = np.linalg.qr(turn)
        turn[0] = np.eye(3)
        points[:, channel] = turn @ bones[channel] + (points[:, parent] if parent >= 0 else 0)
    parents = torch.tensor([[c if p < 0 else p for c, p in enumerate(PARENTS)]])
    above = torch.from_numpy(ancestors(PARENTS))[None]
    return torch.from_numpy(points).float()[None], torch.ones(1, CHANNELS), parents, above


def lengths(points, parents):
    return (points - points[:, :, parents[0]]).norm(dim=-1)


def box(points):
    return points[:, 0].amax(1) - points[:, 0].amin(1)


def test_ancestors():
    above = ancestors([-1, 0, 1, 0])
    assert above.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]


def test_no_amount_changes_nothing():
    points, mask, parents, above = body()
    torch.testing.assert_close(rescaled_bones(points, mask, parents, above, torch.zeros(1, 9)), points)


def test_bones_change_their_length_only():
    """And by the same factor at all times, so that a skeleton's kinematics still holds."""
    points, mask, parents, above = body()
    made = rescaled_bones(points, mask, parents, above, torch.full((1, 9), 0.2))
    ratio = lengths(made, parents)[:, :, 1:] / lengths(points, parents)[:, :, 1:]
    torch.testing.assert_close(ratio, ratio[:, :1].expand(ratio.shape), rtol=1e-3, atol=1e-3)
    assert ratio[0, 0, : BODY - 1].std() > 0.05
    torch.testing.assert_close(ratio[0, 0, BODY - 1 :], ratio[0, 0, -1].expand(CHANNELS - BODY), rtol=1e-3, atol=1e-3)
    old, new = (torch.nn.functional.normalize(p - p[:, :, parents[0]], dim=-1) for p in (points, made))
    torch.testing.assert_close(old, new, atol=1e-3, rtol=1e-3)


def test_the_body_keeps_its_middle_and_size():
    points, mask, parents, above = body()
    made = rescaled_bones(points, mask, parents, above, torch.full((1, 9), 0.2))
    torch.testing.assert_close(box(made).norm(dim=-1), box(points).norm(dim=-1))
    middles = [(p[:, 0].amax(1) + p[:, 0].amin(1)) / 2 for p in (made, points)]
    torch.testing.assert_close(*middles, atol=1e-5, rtol=1e-5)


def test_left_and_right_change_alike():
    points, mask, parents, above = body()
    flip = torch.tensor([-1.0, 1, 1])
    amounts = torch.randn(1, 9, generator=torch.Generator().manual_seed(0)) * 0.15
    made = rescaled_bones(points, mask, parents, above, amounts)
    torch.testing.assert_close(rescaled_bones(points * flip, mask, parents, above, amounts), made * flip)


def test_channels_that_are_not_in_use_stay():
    points, mask, parents, above = body()
    mask[:, 4] = 0
    made = rescaled_bones(points, mask, parents, above, torch.full((1, 9), 0.2))
    assert torch.equal(made[:, :, 4], points[:, :, 4])


def test_turned_about_the_upright_axis():
    """What faces forward (z) faces the body's left (x) after a quarter turn."""
    points, *_ = body()
    made = turned(points, torch.tensor([np.pi / 2]))
    torch.testing.assert_close(made[..., 0], points[..., 2], atol=1e-6, rtol=0)
    torch.testing.assert_close(made[..., 1], points[..., 1])
    torch.testing.assert_close(torch.cdist(made, made), torch.cdist(points, points), atol=1e-5, rtol=1e-4)


def test_only_still_parts_are_left_out_and_whole():
    points, mask, _, above = body(frames=40)
    limb = [3, 4, 11]
    points[:, :, limb] = points[:, :1, limb] + 0.01 * points[:, :, limb]
    points[:, :, [4, 11]] = points[:, :, [3]] + 0.2
    seen = set()
    for seed in range(60):
        chance = torch.rand(1, CHANNELS, generator=torch.Generator().manual_seed(seed))
        made = without_a_part(points, mask, above, chance)
        gone = frozenset(torch.nonzero(made[0] == 0)[:, 0].tolist())
        assert gone in {frozenset(np.flatnonzero(above[0, :, c])) for c in range(CHANNELS)}, "one marker and all below"
        energy = points[0, 1:].var(dim=0).sum(-1)
        assert energy[list(gone)].sum() <= 0.1 * energy.sum()
        assert len(gone) <= 0.3 * CHANNELS
        seen.add(gone)
    assert frozenset(limb) in seen
    assert torch.equal(without_a_part(points, mask, above, torch.zeros(1, CHANNELS)), mask)


def test_what_is_backwards_twice_is_forwards():
    assert all(REVERSED[other] == action for action, other in REVERSED.items())
    assert "walk" not in REVERSED


def test_mirrored_channels_are_a_pairing():
    """Bones are changed before the body is mirrored; the mask of a part left out is mirrored with it."""
    mirror = mirror_channels(CHANNELS)
    assert (mirror[mirror] == np.arange(CHANNELS)).all()

"""Borrowed clips that show what they say are told from those that do not."""

import json

import numpy as np
import pytest

from animax_engine.dataset.borrow_check import check, table

FRAMES = 12
ACTIONS = ("rise", "sway", "turn")


@pytest.fixture
def bank(tmp_path):
    """A rig with three motions of its own and one borrowed clip of each; the last says something else."""
    time = np.linspace(0, 1, FRAMES)
    paths = [np.stack(p, axis=-1) for p in ((0 * time, time, 0 * time), (np.sin(9 * time), 0 * time, 0 * time))]
    paths.append(np.stack([0 * time, 0 * time, np.cos(7 * time)], axis=-1))
    shown = [*paths, 0.9 * paths[0], 1.1 * paths[1], paths[0]]
    poses = np.zeros((1 + 6 * FRAMES, 4, 3), np.float16)
    for i, path in enumerate(shown):
        poses[1 + i * FRAMES : 1 + (i + 1) * FRAMES, 2] = path
    np.save(tmp_path / "poses.npy", poses)
    clips = [{"action": a, "frames": FRAMES, "period": 0} for a in ACTIONS]
    clips += [{**clips[i], "borrowed": True, "first": 1 + (3 + i) * FRAMES} for i in range(3)]
    rig = {"id": "r", "split": "train", "category": "prop", "channels": [2], "first": 0, "clips": clips}
    (tmp_path / "index.json").write_text(json.dumps({"rigs": [rig]}))
    return tmp_path


def test_ranks(bank):
    ranks = {action: rank for _, action, rank, _ in check(bank, 10)}
    assert ranks["rise"] == ranks["sway"] == 0
    assert ranks["turn"] > 0
    assert all(chance == pytest.approx(1 / 3) for *_, chance in check(bank, 10))


def test_table(bank):
    rows = table(bank, check(bank, 10)).splitlines()
    assert rows[-2].startswith("| prop | 1 | 3 | 3 | 3 | 0.67 |")
    assert rows[-1].startswith("| all | 1 |")

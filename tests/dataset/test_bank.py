"""A bank is of the files and settings that it was last asked for."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from animax_engine.dataset.bank import build_bank


def test_a_rig_is_computed_again_where_its_file_or_the_settings_change(repository, tmp_path):
    rig, bank = tmp_path / "data" / "rig.glb", tmp_path / "bank"
    rig.parent.mkdir()

    def build(example, channels, rgb_size=0):
        rig.write_bytes(example)
        (line,) = build_bank([rig.parent], bank, channels=channels, rgb_size=rgb_size, workers=1)
        return line.removeprefix("1/1 rig: ")

    def poses():
        return np.load(bank / "poses.npy")

    snake, chest = ((repository / "examples" / f"{name}.glb").read_bytes() for name in ("snake", "chest"))
    assert "clips" in build(snake, 8, rgb_size=2)
    first = poses()
    assert len(np.load(bank / "rgb.npy")) == len(first)
    assert build(snake, 8, rgb_size=2) == "kept"
    assert "clips" in build(snake, 8)
    assert not (bank / "rgb.npy").exists()
    np.testing.assert_array_equal(poses(), first)
    assert "clips" in build(snake, 12)
    assert poses().shape[1] == 12
    assert "clips" in build(chest, 12)
    assert poses().shape[0] != len(first)
    assert build(chest, 12) == "kept"
    assert build(b"no rig", 12).startswith("left out")
    assert json.loads((bank / "index.json").read_text())["rigs"] == []

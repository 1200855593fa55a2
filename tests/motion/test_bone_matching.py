from __future__ import annotations

from pathlib import Path

import pytest

from animax.assets import load_rig
from animax.motion.bone_matching import bone_words, left_over, map_bones

from .synthetic import biped


@pytest.mark.parametrize(("source", "target"), [("quadruped", "beetle"), ("spider", "beetle"), ("biped", "quadruped")])
def test_left_and_right_are_matched_alike(repository: Path, source: str, target: str):
    """Also where one body has more legs than the other."""
    rigs = [load_rig(repository / "examples" / f"{name}.glb") for name in (source, target)]
    found = {pair.source: pair.target for pair in map_bones(*rigs).pairs}

    def other_side(names: tuple[str, ...]) -> tuple[str, ...]:
        flipped = {".L": ".R", ".R": ".L", "_l": "_r", "_r": "_l", " L ": " R ", " R ": " L "}
        out = []
        for name in names:
            key = next((key for key in flipped if key in name[-2:] or (len(key) == 3 and key in name)), None)
            out.append(name.replace(key, flipped[key]) if key else name)
        return tuple(out)

    sided = [chain for chain in found if other_side(chain) != chain]
    assert sided
    for chain in sided:
        assert found[other_side(chain)] == other_side(found[chain])


def test_legs_that_are_trees_of_their_own_are_legs(real_rigs):
    """A mech whose legs hang on a bone without skin; its feet are controls."""
    rigs = [load_rig(real_rigs / "rigs" / "val" / name) for name in ("humanoid/alien.glb", "robot/mech_leela.glb")]
    found = {pair.target[0]: pair.source[0] for pair in map_bones(*rigs).pairs}
    for side in "LR":
        assert found[f"UpperLeg.{side}"] == f"UpperLeg.{side}"
        assert found[f"Foot.{side}"] == f"Foot.{side}"


def test_what_is_left_over():
    rig = biped()
    bones = map_bones(rig, rig)
    assert left_over(bones, rig, rig) == ([], [])


def test_bone_words():
    assert bone_words("mixamorig:LeftForeArm") == bone_words("LowerArm.L") == {"forearm"}
    assert bone_words("calf_r") == bone_words("RightLowerLeg") == {"shin"}

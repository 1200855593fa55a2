"""The table of other engines' spaces in docs/conventions.md, against matrices."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

SIZES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


def rows(text: str) -> list[list[str]]:
    table = text[text.index("| space |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def axes(formula: str) -> np.ndarray:
    """The 3 × 3 matrix of a formula such as ``100 (x, -z, y)``; a ``w`` that stays as it is left out."""
    factor, inner = re.fullmatch(r"(\d+ )?\((.+)\)", formula).groups()
    parts = [part for part in inner.split(", ") if part != "w"]
    signed = [(-1 if part.startswith("-") else 1) * np.array(SIZES[part.lstrip("-")]) for part in parts]
    return float(factor or 1) * np.stack(signed)


def direction(name: str) -> np.ndarray:
    return (1 if name[0] == "+" else -1) * np.array(SIZES[name[1].lower()])


def pose(rotations: Rotation, translations: np.ndarray) -> np.ndarray:
    """Place of the end of a chain of local transforms."""
    at = np.zeros(3)
    for turn, shift in zip(reversed(rotations), translations[::-1], strict=True):
        at = turn.apply(at) + shift
    return at


@pytest.fixture
def spaces(request):
    found = rows((request.config.rootpath / "docs" / "conventions.md").read_text())
    assert [row[0].split()[0] for row in found] == ["Unity"] * 2 + ["Unreal"] * 3 + ["Blender"]
    return found


def test_chains_come_out_the_same_in_every_space(spaces):
    random = np.random.default_rng(0)
    turns, shifts = Rotation.random(6, rng=random), random.normal(size=(6, 3))
    for name, translation, rotation, _ in spaces:
        move, turn = axes(translation), axes(rotation)
        converted = Rotation.from_quat(
            np.concatenate([turns.as_quat()[:, :3] @ turn.T, turns.as_quat()[:, 3:]], axis=1)
        )
        there = pose(converted, shifts @ move.T)
        np.testing.assert_allclose(there, move @ pose(turns, shifts), atol=1e-9, err_msg=name)
        back = Rotation.from_quat(
            np.concatenate([converted.as_quat()[:, :3] @ np.linalg.inv(turn).T, converted.as_quat()[:, 3:]], axis=1)
        )
        assert (back * turns.inv()).magnitude().max() < 1e-12, name


def test_up_and_forward_become_what_the_table_says(spaces):
    for name, translation, _, becomes in spaces:
        move = axes(translation)
        up, forward = becomes.split(", ")
        scale = abs(np.linalg.det(move)) ** (1 / 3)
        np.testing.assert_allclose(move @ (0, 1, 0) / scale, direction(up), err_msg=name)
        np.testing.assert_allclose(move @ (0, 0, 1) / scale, direction(forward), err_msg=name)
        left_handed = name.startswith(("Unity", "Unreal"))
        assert (np.linalg.det(move) < 0) == left_handed, name
        assert scale == pytest.approx(100 if name.startswith("Unreal") else 1), "Unreal counts centimetres"

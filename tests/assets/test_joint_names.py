"""Words, sides and pairs in the naming habits of common tools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.assets.joint_names import pairs, side, unique_names, words


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("mixamorig:LeftUpLeg", "mixamorig:RightUpLeg"),
        ("upper_arm.L", "upper_arm.R"),
        ("upper_arm.L.001", "upper_arm.R.001"),
        ("Bip01 L Thigh", "Bip01 R Thigh"),
        ("lShin", "rShin"),
        ("thigh_l", "thigh_r"),
        ("armL", "armR"),
        ("leftfoot", "rightfoot"),
        ("LEFT_EYE", "RIGHT_EYE"),
    ],
)
def test_sides_of_common_rigs(left, right):
    assert side(words(left)) == 1
    assert side(words(right)) == -1
    assert pairs(["Hips", right, left]) == [(2, 1)]


@pytest.mark.parametrize("name", ["Hips", "", "tail.003", "leg", "Lamp", "Root", "LeftRight"])
def test_what_has_no_side(name):
    assert side(words(name)) == 0


def test_parts_of_different_kind_or_number_are_no_pair():
    assert pairs(["arm.L", "leg.R", "finger1.L", "finger2.R"]) == []


@given(st.lists(st.sampled_from(["a", "b", "a_2", "a_2_2", "", "b_3"]), max_size=40))
def test_unique_names_are_unique_and_first_ones_stay(names):
    out = unique_names(names)
    assert len(set(out)) == len(out) == len(names)
    for i, name in enumerate(names):
        if name not in names[:i]:
            assert out[i] == name
        assert out[i].startswith(name)


def test_fifty_thousand_equal_names_take_no_time():
    assert len(set(unique_names(["bone"] * 50_000))) == 50_000

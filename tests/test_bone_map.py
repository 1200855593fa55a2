from __future__ import annotations

import json

import pytest

from animax.bone_map import STRANGE, BoneMap, ChainPair
from animax.errors import OptionError

GUESS = BoneMap(
    (
        ChainPair(("arm", "forearm", "hand"), ("Arm", "ForeArm", "Hand"), -0.5, "name"),
        ChainPair(("tail",), ("Tail1", "Tail2"), 0.4, "shape"),
    )
)


def test_confidence_falls_with_the_cost_and_comes_back():
    costs = [-1.0, -0.4, 0.0, 0.5, 0.95, STRANGE]
    told = [ChainPair(("a",), ("b",), cost, "shape").confidence for cost in costs]
    assert told == sorted(told, reverse=True)
    assert (told[0], told[-1]) == (1.0, 0.6)
    assert [ChainPair.cost_of(sure) for sure in told] == pytest.approx(costs)
    assert ChainPair(("a",), ("b",), -5.0, "name").confidence == 1
    assert ChainPair(("a",), ("b",), 9.0, "shape").confidence == 0.6
    assert ChainPair(("a",), ("b",)).confidence == 1


def test_a_map_is_read_back_from_json():
    data = json.loads(json.dumps(GUESS.as_dict()))
    read = BoneMap.from_dict({**data, "resting": ["Ear"]})
    assert read == GUESS
    assert {pair.found_by for pair in read.pairs} == {"given"}


def test_pairs_that_are_given_take_their_joints_out_of_the_guess():
    given = BoneMap((ChainPair(("tail",), ("Hand",)), ChainPair((), ("Tail1",))))
    assert given.over(GUESS).pairs == (
        *given.pairs,
        ChainPair(("arm", "forearm", "hand"), ("Arm", "ForeArm")),
    )
    assert BoneMap(()).over(GUESS) == GUESS


@pytest.mark.parametrize(
    "chains",
    [
        3,
        [3],
        [{"source": ["a"]}],
        [{"source": [], "target": []}],
        [{"source": [1], "target": ["a"]}],
        [{"source": "a", "target": ["a"]}],
    ],
)
def test_damaged_maps_are_refused(chains):
    for data in ({"chains": chains}, chains, {}):
        with pytest.raises(OptionError, match="bone_map"):
            BoneMap.from_dict(data)


def test_a_joint_that_is_not_there_is_told_with_those_that_are():
    bones = BoneMap((ChainPair(("arm",), ("Paw",)),))
    for joints, told in ((["Arm", "Hand"], "Arm, Hand"), ([f"J{i}" for i in range(13)], "J10, J11, …")):
        with pytest.raises(OptionError, match=f"target rig: .*{told}$"):
            bones.check(["arm"], joints)

"""Plans of motions, looked up among clips of a few bodies that are made here."""

from dataclasses import replace

import numpy as np
import pytest

from animax.diffusion.repertoire import (
    STEPS,
    TERMS,
    WAVES,
    Repertoire,
    agreement,
    courses,
    lost,
    read_repertoire,
    shape_of,
    units,
    write_repertoire,
)
from animax.errors import ModelError

RANDOM = np.random.default_rng(0)
TALL = np.array([[0.0, 0.9, 0.0], [0.3, 0.5, 0.0], [-0.3, 0.5, 0.0], [0.25, -0.9, 0.0], [-0.25, -0.9, 0.0]])
LONG = np.array([[0.0, 0.1, 0.9], [0.0, 0.1, -0.9], [0.2, -0.4, 0.5], [-0.2, -0.4, 0.5]])
WALK, FALL = 0, 1
"""Kinds of motion."""


def states(*values):
    return np.array([values + (0,) * (8 - len(values)), np.ones(8)], np.float32)


def parts_of(body, number, repeats):
    """What a clip of a body is made of, known by the clip's number."""
    made = np.random.default_rng(number).normal(size=(1 + 2 * WAVES if repeats else TERMS, len(body), 3))
    return made / np.abs(made).max()


CLIPS = [(WALK, 0, TALL, True, 16.0), (WALK, 1, LONG, True, 10.0), (FALL, 0, TALL, False, 24.0)]


@pytest.fixture(scope="module")
def repertoire():
    parts = [parts_of(body, i, repeats) for i, (_, _, body, repeats, _) in enumerate(CLIPS)]
    return Repertoire(
        text=np.concatenate([np.eye(8, dtype=np.float32)[:3], states(1.0, 1.0, 1.0)[:1] / 3**0.5]),
        told=np.array([WALK, FALL, FALL, FALL]),
        anywhere=np.array([True, False]),
        rest=np.concatenate([TALL, LONG]).astype(np.float32),
        ends=np.array([5, 9]),
        kind=np.array([clip[0] for clip in CLIPS]),
        body=np.array([clip[1] for clip in CLIPS]),
        repeats=np.array([clip[3] for clip in CLIPS]),
        period=np.array([clip[4] for clip in CLIPS], np.float32),
        scale=np.full(3, 1 / STEPS, np.float32),
        parts=np.concatenate([np.rint(STEPS * part).astype(np.int8).reshape(-1, 3) for part in parts]),
    )


@pytest.mark.parametrize(("body", "number"), [(TALL, 0), (LONG, 1)])
def test_a_body_of_the_repertoire_moves_as_it_did(repertoire, body, number):
    plan = repertoire.plan(body, states(1.0), 0)
    assert plan.tempo.repeats
    assert plan.tempo.period == pytest.approx(CLIPS[number][4], rel=1e-3)
    np.testing.assert_allclose(plan.parts, parts_of(body, number, repeats=True), atol=0.02)
    turns = np.linspace(0, 2, 9)
    np.testing.assert_allclose(plan.moves(turns)[:4], plan.moves(turns)[4:8], atol=1e-9)


def test_what_is_done_once_is_held_at_its_end(repertoire):
    plan = repertoire.plan(TALL, states(0.0, 1.0), 0)
    assert (plan.tempo.repeats, plan.tempo.begin) == (False, 0.0)
    np.testing.assert_allclose(plan.parts, parts_of(TALL, 2, repeats=False), atol=0.02)
    np.testing.assert_allclose(plan.moves(np.array([1.0, 1.5, 7.0])), plan.moves(np.ones(3)))
    np.testing.assert_allclose(plan.moves(np.array([-1.0])), plan.parts.sum(axis=0)[None])


def test_courses_are_waves_of_whole_turns_or_cosines_of_half_turns():
    turns = np.array([0.0, 0.25, 1.0])
    around, once = courses(turns, repeats=True), courses(turns, repeats=False)
    assert (around.shape, once.shape) == ((3, 1 + 2 * WAVES), (3, TERMS))
    np.testing.assert_allclose(around[0], around[2], atol=1e-12)
    np.testing.assert_allclose(around[1][:5], [1, 0, 1, -1, 0], atol=1e-12)
    np.testing.assert_allclose(once[2], (-1.0) ** np.arange(TERMS))


def test_a_gait_begins_anywhere_by_the_seed(repertoire):
    begins = [repertoire.plan(TALL, states(1.0), seed).tempo.begin for seed in range(20)]
    assert np.std(begins) > 0.2
    assert repertoire.plan(TALL, states(1.0), 7).tempo.begin == begins[7]


def test_bodies_that_are_built_alike_are_asked(repertoire):
    near = TALL + RANDOM.normal(0, 0.01, TALL.shape)
    clips, weights = repertoire.weigh(states(1.0), shape_of(near))
    assert clips.tolist() == [0]
    assert weights.tolist() == [1.0]
    np.testing.assert_allclose(repertoire.plan(near, states(1.0), 0).parts, parts_of(TALL, 0, repeats=True), atol=0.1)
    between, _ = repertoire.weigh(states(1.0), (repertoire.shapes[0] + repertoire.shapes[1]) / 2)
    assert between.tolist() == [0, 1]


def test_a_body_can_be_left_out_and_turning_round_be_asked_for(repertoire):
    assert repertoire.weigh(states(1.0), shape_of(TALL), without=0)[0].tolist() == [1]
    assert repertoire.weigh(states(0.0, 1.0), shape_of(TALL), without=0)[0].tolist() == [1]  # nobody else falls
    assert repertoire.weigh(states(1.0), shape_of(TALL), repeats=False)[0].tolist() == [2]
    some = replace(repertoire, repeats=np.array([True, True, True]))
    assert some.weigh(states(0.0, 1.0), shape_of(TALL), repeats=False)[0].tolist() == [2]


def test_a_kind_is_as_near_as_its_captions_are_in_the_mean(repertoire):
    told_alike = replace(repertoire, told=np.array([WALK, FALL, FALL, FALL]), text=np.eye(8, dtype=np.float32)[:4])
    plain = told_alike.nearness(states(1.0))
    assert plain[WALK] == pytest.approx(1.0, abs=1e-5)
    assert plain[FALL] < 0.1
    several = told_alike.nearness(states(0.0, 1.0))
    assert several[WALK] < several[FALL] < told_alike.nearness(states(0.0, 1.0), captions=1)[FALL]
    assert repertoire.likeness(states(1.0)) == pytest.approx(1.0)
    assert repertoire.likeness(np.zeros((2, 8), np.float32)) == 0.0


def test_what_captions_of_one_kind_differ_by_counts_for_less(repertoire):
    """Captions of both kinds say who moves (first number), and that is not what tells them apart."""
    random = np.random.default_rng(2)
    who = random.normal(size=(40, 1))
    told = np.arange(40) % 2
    text = units(np.hstack([who, 0.3 * (told[:, None] - 0.5), 0.1 * random.normal(size=(40, 6))]).astype(np.float32))
    some = replace(repertoire, text=text, told=told)
    asked = states(-1.5, 0.15)
    by_all_that_is_said = [text[told == kind] @ units(asked[0]) for kind in (0, 1)]
    assert max(by_all_that_is_said[0]) > max(by_all_that_is_said[1]) - 0.02
    nearness = some.nearness(asked)
    assert nearness[1] > nearness[0] + 0.2


def test_motions_that_go_against_the_leading_one_do_not_count(repertoire):
    parts = np.stack([parts_of(TALL, 0, repeats=True)] * 3) * np.array([1.0, 0.5, -1.0])[:, None, None, None]
    np.testing.assert_allclose(agreement(parts, parts[0]), [1.0, 1.0, 0.0], atol=1e-9)
    still = np.zeros_like(parts[0])
    np.testing.assert_array_equal(agreement(parts, still), 1.0)
    assert agreement(np.stack([parts[0], still]), parts[0]).tolist() == pytest.approx([1.0, 0.0])
    near = TALL + RANDOM.normal(0, 1e-3, TALL.shape)  # two bodies whose legs go against each other
    both = repertoire.only([0]).beside(replace(repertoire.only([0]), rest=near.astype(np.float32)))
    against = replace(
        both, parts=np.where(np.arange(len(both.parts))[:, None] < len(both.parts) // 2, 1, -1) * both.parts
    )
    for body in (TALL, near):
        moving = np.abs(against.plan(body, states(1.0), 0).parts[1:]).max()
        assert moving > 0.9 * np.abs(parts[0][1:]).max()


def test_the_seed_draws_which_clip_of_the_leading_kind_is_followed(repertoire):
    """Two bodies built alike walk, legs against each other."""
    near = TALL + RANDOM.normal(0, 1e-3, TALL.shape)
    one = repertoire.only([0])
    others = one.beside(replace(one, rest=near.astype(np.float32), parts=-one.parts))
    both = replace(others, kind=others.kind % 2)
    walks = [both.plan(TALL, states(1.0), seed).parts[1] for seed in range(40)]
    first = parts_of(TALL, 0, repeats=True)[1]
    ways = [float(np.sign((walk * first).sum())) for walk in walks]
    assert set(ways) == {-1.0, 1.0}
    assert 10 < ways.count(1.0) < 30
    np.testing.assert_allclose(np.abs(walks), np.abs(first)[None].repeat(40, axis=0), atol=0.02)
    np.testing.assert_array_equal(both.plan(TALL, states(1.0), 3).parts[1], walks[3])


def test_range_that_a_mean_has_lost_is_given_back():
    turned = np.stack([parts_of(TALL, 0, repeats=True)] * 2)
    turned[1, 1], turned[1, 2] = turned[0, 2], -turned[0, 1]  # the fundamental a quarter turn on
    turned[:, 3:] = 0.0
    counts = np.full((2, len(TALL)), 0.5)
    mean = turned.mean(axis=0)
    np.testing.assert_allclose(lost(turned, counts, mean), 2**0.5)
    np.testing.assert_allclose(lost(turned, counts, 0.1 * mean), 2.0)
    np.testing.assert_allclose(lost(turned, counts, 2 * mean), 1.0)
    np.testing.assert_allclose(lost(0 * turned, counts, 0 * mean), 1.0)


def test_two_repertoires_lie_beside_each_other(repertoire):
    others = replace(repertoire, text=np.roll(repertoire.text, 4, axis=1), rest=repertoire.rest + np.float32(0.01))
    both = repertoire.beside(others)
    assert both.is_whole()
    assert (len(both.kind), len(both.ends), len(both.anywhere)) == (6, 4, 4)
    for asked, first in ((states(1.0), 0), (states(0, 0, 0, 0, 1.0), 3)):
        clips, _ = both.weigh(asked, shape_of(TALL))
        assert clips.tolist() == [first]
    np.testing.assert_allclose(
        both.plan(LONG + 0.01, states(0, 0, 0, 0, 1.0), 3).parts, repertoire.plan(LONG, states(1.0), 3).parts, atol=1e-4
    )


def test_a_body_that_both_have_is_the_first_s(repertoire):
    assert repertoire.beside(repertoire) is repertoire
    newer = replace(repertoire.only([1]), period=np.array([7], np.float32))
    both = newer.beside(repertoire)
    assert both.is_whole()
    assert both.period.tolist() == [7, 16, 24]
    assert both.ends.tolist() == [4, 9]
    assert both.plan(LONG, states(1.0), 0).tempo.period == pytest.approx(7)


def test_some_bodies_bring_their_kinds_alone(repertoire):
    some = repertoire.only([1])
    assert some.is_whole()
    assert (len(some.kind), len(some.anywhere), len(some.text)) == (1, 1, 1)
    np.testing.assert_array_equal(some.plan(LONG, states(1.0), 5).parts, repertoire.plan(LONG, states(1.0), 5).parts)


def test_it_is_read_as_it_was_written(repertoire, tmp_path):
    write_repertoire(repertoire, tmp_path / "some.npz")
    read = read_repertoire(tmp_path / "some.npz")
    for name, values in vars(repertoire).items():
        if not name.startswith("_") and name != "shapes":
            np.testing.assert_allclose(getattr(read, name), values, atol=0.01 if name == "text" else 0)
    np.testing.assert_allclose(np.linalg.norm(read.text, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("damage", ["text", "pickle", "lacking", "lengths", "empty", "numbers", "parts"])
def test_a_file_that_holds_none_is_refused(repertoire, tmp_path, damage):
    path = tmp_path / "some.npz"
    write_repertoire(repertoire, path)
    values = dict(np.load(path))
    if damage == "lacking":
        del values["period"]
    elif damage == "lengths":
        values["period"] = values["period"][:-1]
    elif damage == "empty":
        values = {name: value[:0] for name, value in values.items()}
    elif damage == "pickle":
        values["text"] = np.array([{}], object)
    elif damage == "numbers":
        values["body"] = values["body"] + 1
    elif damage == "parts":
        values["parts"] = values["parts"][:-1]
    np.savez(path, **values)
    if damage == "text":
        path.write_text("none")
    with pytest.raises(ModelError, match=r"some\.npz holds no repertoire"):
        read_repertoire(path)


def test_no_prompt_has_no_direction():
    assert not units(np.zeros((2, 4), np.float32)).any()

"""Captions in other forms, never saying something else."""

import re

import pytest

pytest.importorskip("torch")

from animax.procedural import KINDS, captions, describe
from animax_engine.dataset.captions import ADVERBS, SUBJECTS, SYNONYMS, clause_of, inflected, variations
from animax_engine.text.evaluate import paraphrases

WALK = ["walk", "fox walking", "a fox walking forward", "a red fox taking calm steps", "show a fox strolling along"]


def procedural():
    """(action, captions) of every generated motion."""
    for kind in KINDS:
        for name, motion in describe(kind, 0).motions.items():
            yield motion.action, captions(kind, name, 0)


def test_clauses_are_what_follows_the_subject():
    assert [clause_of(c) for c in WALK] == [
        None,
        "walking",
        "walking forward",
        "taking calm steps",
        "strolling along",
    ]
    assert clause_of("walk slowly") is None
    assert clause_of("a king running") == "running"


@pytest.mark.parametrize(
    ("clause", "does", "do"),
    [
        ("walking forward", "walks forward", "walk forward"),
        ("lowering its head and barking", "lowers its head and barks", "lower its head and bark"),
        ("swinging open, then shut", "swings open, then shut", "swing open, then shut"),
        ("being defeated and falling over", "is defeated and falls over", "be defeated and fall over"),
        ("plodding along", "plods along", "plod along"),
        ("bobbing its head to say yes", "bobs its head to say yes", "bob its head to say yes"),
        ("channelling magic", "channels magic", "channel magic"),
        ("moving back and forth", "moves back and forth", "move back and forth"),
    ],
)
def test_verbs_are_inflected_together(clause, does, do):
    assert inflected(clause, third=True) == does
    assert inflected(clause, third=False) == do


def test_every_clause_of_generated_motions_is_understood():
    for action, said in procedural():
        for caption in said[1:]:
            assert clause_of(caption), (action, caption)


def test_there_are_enough_and_all_differ():
    for action, said in procedural():
        made = variations(action, "quadruped", said)
        assert 8 <= len(made) <= 16
        assert len({*made, *said}) == len(made) + len(set(said))
        assert made == variations(action, "quadruped", said)


def stems(text: str) -> set[str]:
    """The first three letters of each word, which no ending changes."""
    return {word[:3] for word in re.findall(r"[a-z]+", text.lower())}


def test_nothing_is_said_of_another_motion():
    """Words come from the captions, the action's own verbs, or what may be said of anything."""
    grammar = stems(
        "a an the is it its do make animate be animation cycle loop and then small big little large low poly"
    )
    grammar |= stems("cartoon stylised young old strange cute lie lying die dying")
    for action, said in procedural():
        allowed = grammar | stems(" ".join([*said, SYNONYMS.get(action, ""), *ADVERBS.get(action, ())]))
        allowed |= stems(" ".join(SUBJECTS["fish"]))
        for caption in variations(action, "fish", said):
            assert stems(caption) <= allowed, (action, caption, stems(caption) - allowed)


def test_paraphrases_stay_unseen():
    unseen = {p.lower() for p in paraphrases()}
    assert len(unseen) > 100
    for category in SUBJECTS:
        for action, said in procedural():
            made = {c.lower() for c in variations(action, category, said, 1000)}
            assert made
            assert not unseen & made


def test_a_single_file_name_is_enough():
    made = variations("Take 01", "own", ["take 01"])
    assert made
    assert made == sorted(made)
    assert all("take 01" in caption for caption in made)

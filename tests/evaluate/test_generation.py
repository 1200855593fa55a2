"""Makers of known skill on a rig of our own: one that returns the clip asked for, one that never moves."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from animax.assets import load_rig
from animax.motion.clip import Clip
from animax_engine.dataset.bank import Source
from animax_engine.evaluate.generation import Made, Subject, evaluate_rig, intervals, summary
from animax_engine.evaluate.prompts import NONSENSE, PARAPHRASES


@pytest.fixture(scope="module")
def subject(request):
    path = request.config.rootpath / "examples" / "biped.glb"
    names = [clip["name"] for clip in load_rig(path).document.json["animations"]]
    clips = {name: {"loop": True, "action": name.lower(), "captions": [f"does {name}"]} for name in names}
    return Subject.read(Source(path, "biped", None, "val", "humanoid", clips), 64, 16.0)


def asked_clip(subject, prompt):
    return next(c for i, c in enumerate(subject.clips) if subject.facts[i]["captions"] == [prompt])


def results(subject, make, prompts="captions", per_rig=3, seeds=range(2)):
    return list(evaluate_rig(subject, make, prompts, per_rig, seeds, np.random.default_rng(0)))


def test_the_clip_itself_is_found_and_all_ratios_are_one(subject):
    made = results(subject, lambda rig, category, prompt, seed: Made(asked_clip(subject, prompt), 1.0, 0.0))
    assert len(made) == 6
    assert all(r.rank == 0 and not r.static and r.prompt == f"does {r.clip}" for r in made)
    figures = summary(made)
    assert figures["top1"] == figures["top3"] == 1.0
    assert figures["chance"] == pytest.approx(1 / len(subject.clips))
    assert figures["range_ratio"] == pytest.approx(1.0)
    assert figures["jerk_ratio"] == pytest.approx(1.0)
    assert figures["spread_ratio"] == 0.0  # the same for every seed
    assert intervals(made)["top1"] == (1.0, 1.0)


def test_standing_still_is_a_static_failure(subject):
    def still(rig, category, prompt, seed):
        clip = asked_clip(subject, prompt)
        first = replace(
            clip.pose,
            translations=np.repeat(clip.pose.translations[:1], len(clip), axis=0),
            rotations=np.repeat(clip.pose.rotations[:1], len(clip), axis=0),
            scales=np.repeat(clip.pose.scales[:1], len(clip), axis=0),
        )
        assert isinstance(clip, Clip)
        return Made(replace(clip, pose=first))

    figures = summary(results(subject, still))
    assert figures["static"] == 1.0
    assert figures["range_ratio"] == 0.0


def test_paraphrases_and_nonsense_take_the_place_of_captions(subject):
    seen = []

    def make(rig, category, prompt, seed):
        seen.append(prompt)
        return Made(subject.clips[0])

    results(subject, make, "nonsense", seeds=range(1))
    assert len(seen) == 3
    assert set(seen) <= set(NONSENSE)
    seen.clear()
    made = results(subject, make, "paraphrases", per_rig=99, seeds=range(1))
    assert {"walk", "run"} <= {r.action for r in made}
    assert {r.action for r in made} == {facts["action"] for facts in subject.facts} & set(PARAPHRASES)
    assert all(r.prompt in PARAPHRASES[r.action] for r in made)

"""Makers of known skill on a rig of our own: one that returns the clip asked for, one that never moves."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from animax.assets import load_rig
from animax_engine.dataset.bank import Source
from animax_engine.evaluate.generation import Made, Subject, evaluate_rig, intervals, summary
from animax_engine.evaluate.measures import moved
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


def stretch(clip, frames):
    pose = clip.pose
    return clip.with_pose(
        replace(
            pose, translations=pose.translations[frames], rotations=pose.rotations[frames], scales=pose.scales[frames]
        )
    )


def test_standing_still_is_a_static_failure(subject):
    def still(rig, category, prompt, seed):
        clip = asked_clip(subject, prompt)
        return Made(stretch(clip, np.zeros(len(clip), int)))

    figures = summary(results(subject, still))
    assert figures["static"] == 1.0
    assert figures["range_ratio"] == 0.0


def test_real_clips_are_measured_over_stretches_as_long_as_what_is_made(subject):
    def cut(rig, category, prompt, seed):
        clip = asked_clip(subject, prompt)
        return Made(stretch(clip, np.arange(4)))

    for result in results(subject, cut):
        whole = next(
            t
            for t, facts in zip(subject.tracks, subject.facts, strict=True)
            if f"does {result.clip}" in facts["captions"]
        )
        assert 0 < result.moved_real < moved(whole.points)


def test_rigs_count_alike_however_many_clips_they_have(subject):
    made = results(subject, lambda rig, category, prompt, seed: Made(asked_clip(subject, prompt)))
    figures = summary([*made, replace(made[0], rig="another", rank=1)])
    assert figures["top1"] == pytest.approx(6 / 7)
    assert figures["top1_by_rig"] == pytest.approx(0.5)


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

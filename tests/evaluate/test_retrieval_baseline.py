"""The baseline finds clips by meaning and puts them on the rig."""

import numpy as np
import pytest

pytest.importorskip("torch")

from animax.assets import load_rig, read_clips
from animax.diffusion.text import TextEncoder
from animax_engine.dataset.bank import Source
from animax_engine.evaluate.retrieval_baseline import RetrievalBaseline


@pytest.fixture(scope="module")
def baseline(request):
    sources = []
    for kind, category in (("biped", "humanoid"), ("quadruped", "quadruped")):
        path = request.config.rootpath / "examples" / f"{kind}.glb"
        names = [clip.name for clip in read_clips(load_rig(path), fps=16.0)]
        clips = {name: {"captions": [name.replace("_", " ")]} for name in names}
        sources.append(Source(path, kind, None, "train", category, clips))
    return RetrievalBaseline(sources, TextEncoder(), 16.0)


def test_nearest_in_meaning_and_of_the_same_category_among_equals(baseline):
    for category, kind in (("humanoid", "biped"), ("quadruped", "quadruped")):
        source, name, _ = baseline.nearest("walks", category)
        assert (source.id, "walk" in name.lower()) == (kind, True)
    assert "wave" in baseline.nearest("waving with one hand", "humanoid")[1].lower()


def test_its_own_rig_gets_its_own_clip_back(baseline):
    source, name, _ = baseline.nearest("walks", "humanoid")
    rig = load_rig(source.path)
    clip = next(clip for clip in read_clips(rig, fps=16.0) if clip.name == name)
    answer = baseline.answer(rig, "walks", "humanoid")
    made, real = (rig.skeleton.globals(c.pose)[:, rig.deforming, :3, 3] for c in (answer, clip))
    assert np.linalg.norm(made - real, axis=-1).max() < 0.02 * rig.size

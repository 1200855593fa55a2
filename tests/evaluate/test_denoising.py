"""Networks of known skill: one that knows all, one that only knows the template, one that reads the prompt."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from animax.diffusion.latents import LatentSpace  # noqa: E402
from animax.diffusion.text import TextEncoder  # noqa: E402
from animax.views.splat import SplatPoseMap  # noqa: E402
from animax_engine.dataset.batches import UNCHANGED, Batches, draw_splats  # noqa: E402
from animax_engine.evaluate.denoising import LEVELS, explained  # noqa: E402

CHANNELS, FRAMES = 8, 9


@pytest.fixture
def batches(tmp_path):
    """One rig whose only marker goes right or up, as its clip's caption says."""
    poses = np.zeros((1 + 2 * FRAMES, CHANNELS, 3), np.float16)
    poses[1 : 1 + FRAMES, 2, 0] = poses[1 + FRAMES :, 2, 1] = np.linspace(0, 0.4, FRAMES)
    np.save(tmp_path / "poses.npy", poses)
    clips = [
        {"name": n, "frames": FRAMES, "period": 0, "action": n, "captions": [n]} for n in ("goes right", "goes up")
    ]
    rig = {"id": "r", "split": "train", "category": "prop", "channels": [2], "first": 0, "clips": clips}
    rig["parents"] = [-1] * CHANNELS
    index = {"fps": 16.0, "room": 1.2, "channels": CHANNELS, "rigs": [rig]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    space = LatentSpace(SplatPoseMap(CHANNELS, 4), 6)
    return Batches(tmp_path, space, frames=FRAMES, text=TextEncoder(), augmentation=UNCHANGED)


class Skilled:
    """Answers with the clip that ``knows(sigma, text)`` gives, or the template where that is None."""

    config = SimpleNamespace(pose=SimpleNamespace(patch=(4, 4, 4)))

    def __init__(self, knows):
        self.knows = knows

    def __call__(self, rgb, pose, template_rgb, template, sigma, text, rays, clock, plan):
        answer = self.knows(text)
        return None, template[:, :, None].expand_as(pose) if answer is None else answer


def rows(batches, knows, samples=4):
    return list(explained(Skilled(knows), batches, views=1, samples=samples, seed=0))


def drawn_clean(batches, samples=4):
    batches.random = np.random.default_rng(0)
    batch = batches.draw(samples, 1, joint=False)
    return batch, draw_splats(batch.points, batch.mask, batches.space)[:, :, 1:]


def test_knowing_all_explains_all_and_the_template_nothing(batches):
    _, clean = drawn_clean(batches)
    for row in rows(batches, lambda text: clean):
        assert row.own == row.none == row.other == pytest.approx(1.0, abs=1e-5)
    made = rows(batches, lambda text: None)
    assert [row.sigma for row in made] == list(LEVELS)
    assert all(row.own == pytest.approx(0.0, abs=1e-5) for row in made)


def test_the_three_prompts_are_told_apart(batches):
    batch, clean = drawn_clean(batches)
    own = batch.text.float()

    def reader(text):
        if not text.any():
            return None
        # the clip of the first sample in the batch that has this caption
        which = [(own == t).all(dim=(1, 2)).nonzero()[0, 0] for t in text]
        return clean[torch.stack(which)]

    for row in rows(batches, reader):
        assert row.own > 0.5
        assert row.none == pytest.approx(0.0, abs=1e-5)
        assert row.other < row.own

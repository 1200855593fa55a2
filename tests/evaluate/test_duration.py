"""Stretches of a long clip: what drifts is seen, what does not is not."""

import numpy as np
import pytest

pytest.importorskip("torch")

from animax_engine.evaluate import duration
from animax_engine.evaluate.duration import Stretch, measure, summary


def rows(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]


def test_medians_of_first_middle_and_last_stretches():
    some = [Stretch("a", "walk", n, 0.01 * n, 0.02 * n, 0.5, 7.0) for n in range(4)]
    assert rows(summary(some)) == [
        ["first 2 s", "0.0 %", "0.0 %", "50.0 %", "7"],
        ["between", "1.5 %", "3.0 %", "50.0 %", "7"],
        ["last 2 s", "3.0 %", "6.0 %", "50.0 %", "7"],
    ]


def test_a_body_that_sinks_is_seen(monkeypatch, repository):
    from types import SimpleNamespace

    from animax.assets import load_rig, read_clips
    from animax.assets.markers import choose_markers
    from animax_engine.evaluate.generation import Subject

    rig = load_rig(repository / "examples" / "biped.glb")
    still = read_clips(rig, 16.0)[0]
    frames = np.arange(64) % len(still)
    pose = type(still.pose)(
        *(getattr(still.pose, name)[frames].copy() for name in ("translations", "rotations", "scales"))
    )
    top = int(np.flatnonzero(rig.skeleton.parents < 0)[0])
    sunk = pose.translations.copy()
    sunk[:, top] -= np.linspace(0, 0.4, 64)[:, None] * rig.size * rig.stance.up
    clip = still.with_pose(type(pose)(sunk, pose.rotations, pose.scales))
    monkeypatch.setattr(duration, "animate", lambda *_: SimpleNamespace(clip=clip))
    subject = Subject(SimpleNamespace(id="biped"), rig, choose_markers(rig), [], [], [])
    first, second = measure(subject, SimpleNamespace(fps=16.0), "x", 4.0, 0)
    assert second.height < first.height - 0.15
    assert second.number == 1

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from animax.assets.markers import choose_markers
from animax.motion.clip import Clip
from animax.views.splat import SplatPoseMap
from tests.motion.synthetic import biped, random_pose, snake

oracle = pytest.importorskip("animax_engine.evaluate.oracle")


@pytest.mark.parametrize(
    ("rig", "degrees"),
    [(biped(yaw=0.4), 15), (snake(24), 10)],  # more, and the snake's ends leave the views
    ids=["biped", "snake"],
)
def test_perfect_pose_maps_give_the_motion_back(rig, degrees):
    clip = Clip("moves", 16.0, random_pose(rig, 17, degrees=degrees))
    result = oracle.evaluate_clip(rig, choose_markers(rig), clip, SplatPoseMap(), 64)
    assert result.outside == 0
    assert result.found == 100
    assert result.localisation < 1e-3
    assert result.mpjpe < 0.05
    assert result.driver_angle < 0.5
    assert result.vertex < 0.05
    assert result.flips == 0
    assert result.vertex < result.baseline_vertex


def test_noise_raises_errors_but_makes_no_flips():
    rig = biped()
    clip = Clip("moves", 16.0, random_pose(rig, 33, degrees=15))
    markers, codec = choose_markers(rig), SplatPoseMap()
    clean, noisy = (oracle.evaluate_clip(rig, markers, clip, codec, 64, noise=n) for n in (0.0, 0.005))
    assert clean.vertex < noisy.vertex < 1.0
    assert clean.points < noisy.points
    assert noisy.flips == 0


def test_a_clip_that_leaves_the_views_is_named():
    rig = biped()
    pose = random_pose(rig, 5)
    gone = Clip("gone", 16.0, replace(pose, translations=pose.translations + np.array([0.0, 100.0, 0.0])))
    result = oracle.evaluate_clip(rig, choose_markers(rig), gone, SplatPoseMap(), 64, names=("puppet", "humanoid"))
    assert (result.outside, result.found, result.flips) == (100, 0, 0)
    assert np.isnan(result.vertex)
    assert "1 clips that the views do not show: puppet/gone" in oracle.summary([result])


def test_summary_and_table(tmp_path):
    rig = biped()
    clip = Clip("moves", 16.0, random_pose(rig, 5))
    result = oracle.evaluate_clip(rig, choose_markers(rig), clip, SplatPoseMap(), 64, names=("puppet", "humanoid"))
    worse = replace(result, clip="worse", vertex=99.0, flips=3)
    text = oracle.summary([result, worse], worst=1)
    assert "| humanoid |" in text
    assert "worst 1 by vertex error:\n\n- puppet / worse" in text
    assert "puppet/worse 3" in text
    assert list(oracle.write_csv([result, worse], tmp_path / "clips.csv")) == [result, worse]
    rows = list(csv.DictReader((tmp_path / "clips.csv").open()))
    assert [r["clip"] for r in rows] == ["moves", "worse"]
    assert float(rows[0]["mpjpe"]) == result.mpjpe


def test_real_rigs_meet_the_targets(real_rigs, capsys):
    ids = ("m2m_fox", "kaykit_knight", "m2m_snake", "ap2_eagle", "w_ant")
    argv = ["--data", str(real_rigs), "--clips", "1", "--frames", "17", *(a for i in ids for a in ("--rig", i))]
    assert oracle.main(argv) == 0
    assert "5 clips of 5 rigs" in capsys.readouterr().out
    results = list(oracle.run_oracle(real_rigs, rigs=ids, clips_per_rig=1, max_frames=17, noise=0.005))
    assert sorted(r.vertex for r in results)[2] < 1.0
    assert sum(r.flips for r in results) == 0

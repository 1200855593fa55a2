from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from animax import procedural
from animax.cli import main
from animax.cli.inspect import axis


@pytest.fixture
def report(biped, capsys) -> dict:
    assert main(["inspect", str(biped), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_report_agrees_with_what_the_generator_knows(report):
    facts = procedural.describe("biped")
    assert [joint["name"] for joint in report["joints"] if joint["name"] in facts.joints] == list(facts.joints)
    assert {clip["name"] for clip in report["clips"]} == set(facts.motions)
    assert {clip["name"] for clip in report["clips"] if clip["loop"]} >= {
        m.name for m in facts.motions.values() if m.loop
    }
    np.testing.assert_allclose(report["stance"]["forward"], [0, 0, 1], atol=1e-6)
    assert report["size"]["metres_per_unit"] == 1


def test_markers_add_up(report):
    assert sum(joint["markers"] for joint in report["joints"]) == report["markers"]
    assert sum(joint["markers"] > 0 for joint in report["joints"]) == report["drivers"]
    assert all(joint["deforms"] for joint in report["joints"] if joint["markers"])


def test_facing_can_be_overridden(biped, capsys):
    assert main(["inspect", str(biped), "--facing", "-x", "--json"]) == 0
    stance = json.loads(capsys.readouterr().out)["stance"]
    assert stance["source"] == "override"
    np.testing.assert_allclose(stance["forward"], [-1, 0, 0], atol=1e-9)


def test_people_see_every_joint_below_its_parent(biped, report, capsys):
    assert main(["inspect", str(biped)]) == 0
    shown = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(shown) if line.startswith("skeleton")) + 1
    tree = shown[start : start + len(report["joints"])]
    depth = {line.lstrip(" *·"): len(line) - len(line.lstrip(" *·")) for line in tree}
    assert set(depth) == {joint["name"] for joint in report["joints"]}
    for joint in report["joints"]:
        if joint["parent"] >= 0:
            assert depth[joint["name"]] == depth[report["joints"][joint["parent"]]["name"]] + 2


def test_axis_names_axes_only():
    assert axis([0.0, 0.0, -1.0]) == "-z"
    assert axis([0.6, 0.0, 0.8]) == "(0.60, 0.00, 0.80)"


def test_the_preview_shows_four_views_side_by_side_with_markers_on_the_body(biped, tmp_path):
    path = tmp_path / "rest.png"
    assert main(["inspect", str(biped), "--preview", str(path)]) == 0
    picture = cv2.imread(str(path)).astype(int)
    height, width, _ = picture.shape
    assert width == 4 * height
    colourful = picture.max(axis=-1) - picture.min(axis=-1) > 100
    assert all(view.any() for view in np.split(colourful, 4, axis=1))


def test_a_preview_is_a_png(biped, tmp_path, capsys):
    assert main(["inspect", str(biped), "--preview", str(tmp_path / "rest.mp4")]) == 2
    assert ".png" in capsys.readouterr().err

"""Retargeting against clips of the same name: a rig that is the same but for its skeleton's name gets back its own."""

import json

import pytest

pytest.importorskip("torch")

from animax_engine.evaluate.retargeting import compare, summary


def test_a_clip_of_the_same_body_comes_back_as_it_was(tmp_path, repository):
    for name in ("one", "two"):
        (tmp_path / f"{name}.glb").write_bytes((repository / "examples" / "chest.glb").read_bytes())
    entries = [
        {"id": name, "file": f"{name}.glb", "animation_library": "chests", "skeleton_id": name}
        for name in ("one", "two")
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"rigs": entries}))
    results = list(compare(tmp_path, most=2, seed=0))
    assert {(r.source, r.target) for r in results} == {("one", "two"), ("two", "one")}
    assert all(r.error < 1e-3 for r in results)
    assert max(r.rest for r in results) > 0.01
    assert summary(results).splitlines()[2].startswith("| chests | 2 |")

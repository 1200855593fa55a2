"""What holds for every generated file."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pygltflib
import pytest
from scipy.spatial import cKDTree

from animax.errors import OptionError
from animax.procedural import EXAMPLES, KINDS, captions, describe, generate
from animax.procedural.__main__ import main

SEEDS = (0, 1)
EVERY = [(kind, seed) for kind in KINDS for seed in SEEDS]
SIZES = {  # diagonal of the rest box, metres
    "biped": (0.8, 4.5), "quadruped": (0.3, 4.0), "bird": (0.15, 3.0), "spider": (0.3, 1.8), "beetle": (0.15, 1.2),
    "snake": (0.8, 3.5), "fish": (0.1, 4.0), "chest": (0.5, 1.8), "robot_arm": (0.5, 2.5),
}  # fmt: skip


def _document(data: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def test_same_seed_same_bytes_in_another_process(glb):
    program = (
        "import hashlib; from animax.procedural import KINDS, generate\n"
        "print(*(hashlib.sha256(generate(kind, 1)).hexdigest() for kind in KINDS))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [hashlib.sha256(glb(kind, 1)).hexdigest() for kind in KINDS]


def test_other_seed_other_rig(glb):
    for kind in KINDS:
        assert glb(kind, 0) != glb(kind, 1)


def test_seeds_vary_names_and_joint_counts():
    for kind in ("biped", "quadruped", "bird"):
        facts = [describe(kind, seed) for seed in range(6)]
        assert len({f.joints[1] for f in facts}) > 2
        assert len({len(f.joints) for f in facts}) > 1


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_joint_names_are_unique(kind, seed):
    joints = describe(kind, seed).joints
    assert len(set(joints)) == len(joints)


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_stands_on_the_ground_facing_z(rig, kind, seed):
    r = rig(kind, seed)
    low = r.rest_box[0]
    floor = 0.25 * r.size if kind == "fish" else 0.005 * r.size
    assert -0.01 * r.size < low[1] < floor
    assert r.stance.forward @ [0, 0, 1] > 0.99
    assert SIZES[kind][0] < r.size < SIZES[kind][1]
    assert r.warnings == ()


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_rest_pose_is_symmetric(rig, kind, seed):
    r = rig(kind, seed)
    flip = np.array([-1.0, 1.0, 1.0])
    heads = r.skeleton.rest_globals[:, :3, 3]
    assert cKDTree(heads).query(heads * flip)[0].max() < 1e-5 * r.size
    gaps = cKDTree(r.rest_vertices).query(r.rest_vertices * flip)[0]
    # polygons of a few parts (robot arms' drums) are not mirrored vertex by vertex
    assert np.quantile(gaps, 0.9) < 0.01 * r.size


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_surface_is_closed_and_faces_outwards(glb, rig, kind, seed):
    mesh = rig(kind, seed).mesh
    vertices = rig(kind, seed).rest_vertices
    a, b, c = (vertices[mesh.triangles[:, i]] for i in range(3))
    volume = np.sum(a * np.cross(b, c)) / 6
    assert volume > 0
    assert 1000 <= len(mesh.triangles) <= 6500
    # normals agree with the triangles' winding
    faces = np.cross(b - a, c - a)
    area = np.linalg.norm(faces, axis=-1)
    document, _ = _document(glb(kind, seed))
    assert all("NORMAL" in p["attributes"] for m in document["meshes"] for p in m["primitives"])
    if not document.get("skins"):
        return
    agree = np.sum(faces * mesh.normals[mesh.triangles[:, 0]], axis=-1) > 0
    assert area[agree].sum() > 0.99 * area.sum()


@pytest.mark.parametrize("kind", [k for k in KINDS if describe(k).skinned])
def test_joints_blend(rig, kind):
    """A skin is shared between neighbours, and no joint that should bend it is left out."""
    mesh = rig(kind, 0).mesh
    assert np.allclose(mesh.weights.sum(axis=-1), 1.0, atol=1e-4)
    blended = np.sum(mesh.weights.max(axis=-1) < 0.95)
    assert blended > 0.05 * len(mesh.weights)
    carried = mesh.joint_weights(len(rig(kind, 0).skeleton))
    assert np.sum(carried == 0) <= 2  # an armature node and a root bone at most


@pytest.mark.parametrize(("kind", "seed"), EVERY)
def test_bounds_and_alignment_are_those_of_the_data(glb, kind, seed):
    document, data = _document(glb(kind, seed))
    formats = {5126: ("<f4", 4), 5121: ("<u1", 1), 5122: ("<i2", 2), 5123: ("<u2", 2)}
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
    inputs = {s["input"] for a in document["animations"] for s in a["samplers"]}
    bounded = inputs | {p["attributes"]["POSITION"] for m in document["meshes"] for p in m["primitives"]}
    for i, accessor in enumerate(document["accessors"]):
        view = document["bufferViews"][accessor["bufferView"]]
        dtype, size = formats[accessor["componentType"]]
        start = view["byteOffset"] + accessor["byteOffset"]
        assert start % 4 == 0
        assert view.get("byteStride", 4) % 4 == 0
        count = accessor["count"] * widths[accessor["type"]]
        values = np.frombuffer(data, dtype, count, start).reshape(accessor["count"], -1)
        assert start + count * size <= len(data)
        assert np.isfinite(values).all()
        assert ("min" in accessor) == (i in bounded)
        if i in bounded:
            assert np.array_equal(np.float32(accessor["min"]), values.min(axis=0))
            assert np.array_equal(np.float32(accessor["max"]), values.max(axis=0))
        if i in inputs:
            assert values[0] == 0
            assert np.all(np.diff(values[:, 0]) > 0)


def test_another_library_reads_the_files(glb):
    for kind in KINDS:
        document = pygltflib.GLTF2().load_from_bytes(glb(kind, 0))
        assert {a.name for a in document.animations} == set(describe(kind).motions)
        assert bool(document.skins) == describe(kind).skinned


def test_without_motions():
    document, _ = _document(generate("fish", 0, motions=False))
    assert "animations" not in document


@pytest.mark.parametrize("kind", KINDS)
def test_captions_name_the_rig(kind):
    facts = describe(kind, 0)
    for motion in facts.motions:
        five = captions(kind, motion, 0)
        assert len(five) == 5
        assert five[1].startswith(facts.noun)
        assert facts.description in five[3]
        assert facts.noun in five[4] or facts.description in five[4]
        assert len(set(five)) == 5
        assert five == captions(kind, motion, 0)


def test_articles_agree():
    for kind in KINDS:
        for seed in range(6):
            for motion in describe(kind, seed).motions:
                for text in captions(kind, motion, seed):
                    words = text.split()
                    for article, word in pairwise(words):
                        if article in ("a", "an"):
                            assert (article == "an") == (word[0] in "aeiou"), text


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: generate("unicorn"), "kind"),
        (lambda: generate("fish", -1), "seed"),
        (lambda: captions("fish", "walk"), "motion"),
    ],
)
def test_refuses_by_name(call, name):
    with pytest.raises(OptionError, match=name):
        call()


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_fresh(repository: Path, kind):
    """The committed file is what the generator makes; a last bit may differ on another machine."""
    path = repository / "examples" / f"{kind}.glb"
    kept, made = path.read_bytes(), generate(kind, EXAMPLES[kind])
    assert len(kept) <= 300_000
    if kept == made:
        return
    (old, old_data), (new, new_data) = _document(kept), _document(made)
    assert [a["count"] for a in old["accessors"]] == [a["count"] for a in new["accessors"]]
    assert [n["name"] for n in old["nodes"]] == [n["name"] for n in new["nodes"]]
    different = np.frombuffer(old_data, np.uint8) != np.frombuffer(new_data, np.uint8)
    assert different.mean() < 0.02


def test_command_writes_files(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--kind", "chest"]) == 0
    assert (tmp_path / "chest.glb").read_bytes() == generate("chest", EXAMPLES["chest"])
    assert main(["--out", str(tmp_path), "--kind", "chest", "--seed", "-3"]) == 2
    assert "seed" in capsys.readouterr().err

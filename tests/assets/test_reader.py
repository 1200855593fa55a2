"""GLB → Rig against an oracle of another library, the manifest of real rigs, and files made to be awkward."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from animax.assets import Limits, load_rig, read_clips
from animax.errors import AssetError, OptionError, RigError, UnsupportedAssetError
from tests.assets.glb_builder import CUBE, CUBE_TRIANGLES, Glb, arm, pack, split
from tests.assets.oracle import Oracle
from tests.conftest import REPOSITORY

REAL = (
    "rigs/train/quadruped/qs_alpaca.glb",
    "rigs/train/prop/km_chest.glb",
    "rigs/val/humanoid/zombie_2018.glb",
    "rigs/val/bird/an_owl.glb",
    "rigs/train/humanoid/kaykit_knight.glb",
)


def test_a_messy_arm_stands_where_the_specification_says():
    content = arm().bytes()
    rig = load_rig(content, name="arm")
    oracle = Oracle(content)
    worlds = oracle.worlds()
    np.testing.assert_allclose(rig.skeleton.rest_globals, [worlds[n] for n in rig.joint_nodes], atol=1e-12)
    np.testing.assert_allclose(rig.rest_vertices, oracle.vertices(), atol=1e-6)
    # the skinned block is two units high although its own node is displaced and scaled
    np.testing.assert_allclose(rig.rest_vertices[8:].max(axis=0), [0.1, 2.0, 0.1], atol=1e-6)
    assert rig.name == "arm"
    assert rig.skeleton.names[:3] == ("Armature", "upper", "hand")
    assert rig.mesh.materials


@pytest.mark.parametrize("file", REAL)
def test_real_rigs_move_as_the_oracle_says(file, real_rigs):
    content = (real_rigs / file).read_bytes()
    rig, oracle = load_rig(content), Oracle(content)
    np.testing.assert_allclose(rig.rest_vertices, oracle.vertices(), atol=2e-6 * rig.size)
    clip = read_clips(rig, 30)[0]
    first = min(float(oracle.array(s.input)[0, 0]) for s in oracle.gltf.animations[0].samplers)
    last = max(float(oracle.array(s.input)[-1, 0]) for s in oracle.gltf.animations[0].samplers)
    grid = np.linspace(first, last, len(clip), endpoint=False) if clip.loop else first + clip.times
    for frame in (0, len(clip) // 3, len(clip) - 1):
        worlds = oracle.worlds(0, grid[frame])
        ours = rig.skeleton.globals(clip.pose[frame])
        np.testing.assert_allclose(ours, [worlds[n] for n in rig.joint_nodes], atol=2e-5 * rig.size)
    moved = rig.mesh.skin(rig.skeleton.globals(clip.pose[len(clip) // 3]))
    expected = oracle.vertices(0, grid[len(clip) // 3])
    np.testing.assert_allclose(moved, expected, atol=2e-5 * rig.size)


def test_every_real_rig_is_what_the_manifest_says(real_rigs):
    entries = json.loads((real_rigs / "manifest.json").read_text("utf-8"))["rigs"]
    started = time.process_time()
    clips = heights = 0
    for entry in entries:
        rig = load_rig(real_rigs / entry["file"])
        name = entry["id"]
        assert rig.sha256 == entry["sha256"], name
        assert len(rig.mesh.positions) == entry["vertex_count"], name
        assert len(rig.mesh.triangles) == entry["triangle_count"], name
        skins = rig.document.json.get("skins", [])
        assert len(skins) == entry["skin_count"], name
        joints = {joint for skin in skins for joint in skin["joints"]}
        assert len(joints) == entry["joint_count"], name
        assert joints <= set(rig.joint_nodes.tolist()), name
        weighted = np.flatnonzero(rig.mesh.joint_weights(len(rig.skeleton)) > 0)
        in_skins = [joint for joint in weighted if int(rig.joint_nodes[joint]) in joints]
        assert len(in_skins) >= entry["weighted_joint_count"], name
        # the manifest's box was taken over some of the vertices, so ours may be slightly larger, never smaller
        low, high = rig.rest_box
        assert np.all(low < np.array(entry["rest_bbox_min"]) + 1e-4 * rig.size), name
        assert np.all(high > np.array(entry["rest_bbox_max"]) - 1e-4 * rig.size), name
        assert np.abs(low - entry["rest_bbox_min"]).max() < 0.015 * rig.size, name
        assert np.abs(high - entry["rest_bbox_max"]).max() < 0.015 * rig.size, name
        heights += abs(high[1] - low[1] - entry["height_m"]) < 0.01 * rig.size
        assert not rig.warnings, (name, rig.warnings)
        clips += len(entry["clips"])
    assert heights >= 0.98 * len(entries)
    assert clips > 2000
    assert time.process_time() - started < 60


def test_node_animation_without_a_skin_is_a_rig():
    glb = Glb()
    base = glb.node(name="base", mesh=glb.mesh(CUBE, CUBE_TRIANGLES))
    hinge = glb.node(base, name="hinge", translation=[0, 1, -1])
    lid = glb.node(hinge, name="lid", mesh=glb.mesh(CUBE * 0.5, CUBE_TRIANGLES), translation=[0, 0.5, 1])
    glb.animation([(hinge, "rotation", [0, 1], [[0, 0, 0, 1], [-0.6, 0, 0, 0.8]], "LINEAR")])
    rig = load_rig(glb.bytes())
    assert rig.skeleton.names == ("base", "hinge", "lid")
    weights = rig.mesh.joint_weights(3)
    np.testing.assert_array_equal(weights, [8, 0, 8])
    np.testing.assert_allclose(rig.rest_vertices, Oracle(glb.bytes()).vertices(), atol=1e-7)
    assert lid in rig.joint_nodes


def test_one_static_mesh_is_no_rig():
    glb = Glb()
    glb.node(mesh=glb.mesh(CUBE, CUBE_TRIANGLES))
    with pytest.raises(RigError, match="no skin"):
        load_rig(glb.bytes())


def test_an_empty_file_is_no_rig():
    with pytest.raises(RigError):
        load_rig(pack({"asset": {"version": "2.0"}}, None))


def test_a_rig_without_extent_is_refused():
    glb = arm()
    for node in glb.json["nodes"]:
        node["scale"] = [0.0, 0.0, 0.0]
    with pytest.raises(RigError, match="extent"):
        load_rig(glb.bytes())


def test_missing_and_repeated_names_become_unique():
    glb = arm()
    for node in glb.json["nodes"]:
        node["name"] = "Bone"
    del glb.json["nodes"][0]["name"]
    glb.json["nodes"][1]["name"] = "Bone_2"
    rig = load_rig(glb.bytes())
    assert len(set(rig.skeleton.names)) == len(rig.skeleton)
    assert rig.skeleton.names[0] == "node_0"
    assert rig.skeleton.names[1] == "Bone_2"
    assert any("no name or one used before" in warning for warning in rig.warnings)


def test_lone_surrogates_in_names_cannot_break_an_encoder():
    glb = arm()
    glb.json["nodes"][1]["name"] = "bo\ud800ne"
    rig = load_rig(glb.bytes())
    for name in rig.skeleton.names:
        name.encode("utf-8")


def test_missing_inverse_binds_are_identities():
    glb = arm()
    del glb.json["skins"][0]["inverseBindMatrices"]
    rig, oracle = load_rig(glb.bytes()), Oracle(glb.bytes())
    np.testing.assert_allclose(rig.rest_vertices, oracle.vertices(), atol=1e-6)


def test_two_skins_may_share_joints():
    glb = arm()
    other = glb.skin([2, 1])
    joints = np.tile([1, 0, 0, 0], (8, 1))
    mesh = glb.mesh(CUBE, CUBE_TRIANGLES, joints=joints, weights=np.tile([0.5, 0.5, 0, 0], (8, 1)))
    glb.node(mesh=mesh, skin=other)
    rig, oracle = load_rig(glb.bytes()), Oracle(glb.bytes())
    np.testing.assert_allclose(rig.rest_vertices, oracle.vertices(), atol=1e-6)
    assert rig.skeleton.names == ("Armature", "upper", "hand", "ball")


def test_only_the_shown_scene_is_read():
    glb = arm()
    extra = glb.entry("nodes", name="elsewhere", mesh=glb.mesh(CUBE * 1000, CUBE_TRIANGLES))
    glb.json["scenes"].append({"nodes": [extra]})
    assert load_rig(glb.bytes()).size < 10
    glb.json["scene"] = 1
    with pytest.raises(RigError):
        load_rig(glb.bytes())


def test_several_roots_and_no_scene():
    glb = arm()
    del glb.json["scene"], glb.json["scenes"]
    rig = load_rig(glb.bytes())
    assert len(rig.mesh.positions) == 16


@pytest.mark.parametrize(
    "name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression", "ACME_magic"]
)
def test_required_extensions_that_are_not_read_are_refused_by_name(name):
    glb = arm()
    glb.json["extensionsUsed"] = glb.json["extensionsRequired"] = [name]
    with pytest.raises(UnsupportedAssetError, match=name):
        load_rig(glb.bytes())


def test_unknown_extensions_that_are_not_required_are_no_matter():
    glb = arm()
    glb.json["extensionsUsed"] = ["ACME_magic"]
    glb.json["nodes"][0]["extensions"] = {"ACME_magic": {"spell": [1, 2.5, None]}}
    load_rig(glb.bytes())


def test_draco_without_a_plain_copy_is_refused_even_if_not_required():
    glb = arm()
    primitive = glb.json["meshes"][0]["primitives"][0]
    primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}}
    load_rig(glb.bytes())
    del glb.json["accessors"][primitive["attributes"]["POSITION"]]["bufferView"]
    with pytest.raises(UnsupportedAssetError, match="KHR_draco_mesh_compression"):
        load_rig(glb.bytes())


def test_meshopt_without_a_plain_copy_is_refused_even_if_not_required():
    glb = arm()
    glb.json["buffers"] = [
        {"byteLength": len(glb.binary)},
        {"byteLength": 10_000, "extensions": {"EXT_meshopt_compression": {"fallback": True}}},
    ]
    for view in glb.json["bufferViews"]:
        view["extensions"] = {"EXT_meshopt_compression": {"buffer": 0}}
    load_rig(glb.bytes())
    for view in glb.json["bufferViews"]:
        view["buffer"] = 1
    with pytest.raises(UnsupportedAssetError, match="EXT_meshopt_compression"):
        load_rig(glb.bytes())


def test_quantised_meshes_are_the_floating_ones():
    plain = load_rig(arm().bytes())
    glb = arm()
    glb.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    # positions of the block as 16 bit fractions of two units; the dequantisation sits in the inverse binds
    attributes = glb.json["meshes"][0]["primitives"][0]["attributes"]
    exact = (CUBE * [0.1, 1.0, 0.1] + [0.0, 1.0, 0.0]) / 2
    attributes["POSITION"] = glb.accessor(np.round(exact * 32767), "i2", normalized=True)
    attributes["WEIGHTS_0"] = glb.accessor(np.round(plain.mesh.weights[8:] * 255), "u1", normalized=True)
    binds = glb.json["skins"][0]["inverseBindMatrices"]
    double = np.diag([2.0, 2.0, 2.0, 1.0])
    glb.json["skins"][0]["inverseBindMatrices"] = glb.accessor(
        np.stack([(m.reshape(4, 4).T @ double).T for m in Oracle(arm().bytes()).array(binds)]).reshape(-1, 16)
    )
    quantised = load_rig(glb.bytes())
    np.testing.assert_allclose(quantised.rest_vertices, plain.rest_vertices, atol=2e-4)
    np.testing.assert_allclose(quantised.mesh.weights.sum(axis=1), 1, atol=1e-12)


def test_more_than_a_hundred_joints():
    glb, joints = Glb(), []
    for i in range(300):
        joints.append(glb.node(joints[-1] if i % 100 else None, name=f"j{i}", translation=[0.0, 0.1, 0.01 * i]))
    mesh = glb.mesh(CUBE, CUBE_TRIANGLES)
    attributes = glb.json["meshes"][mesh]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = glb.accessor(np.arange(32).reshape(8, 4) + 260, "u2")
    attributes["WEIGHTS_0"] = glb.accessor(np.full((8, 4), 0.25))
    glb.node(mesh=mesh, skin=glb.skin(joints))
    rig, oracle = load_rig(glb.bytes()), Oracle(glb.bytes())
    assert len(rig.skeleton) == 300
    np.testing.assert_allclose(rig.rest_vertices, oracle.vertices(), atol=1e-9 * rig.size)


def test_morph_targets_are_left_out_with_a_warning():
    glb = arm()
    glb.json["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 0}]
    rig = load_rig(glb.bytes())
    assert any("morph" in warning for warning in rig.warnings)
    assert rig.document.json["meshes"][0]["primitives"][0]["targets"] == [{"POSITION": 0}]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(nodes=5),
        Limits(joints=3),
        Limits(vertices=15),
        Limits(triangles=23),
        Limits(accessors=3),
        Limits(components=20),
        Limits(node_depth=3),
        Limits(file_bytes=500),
        Limits(json_bytes=500),
        Limits(json_tokens=50),
        Limits(json_depth=3),
        Limits(coordinate=1.0),
    ],
    ids=lambda limits: next(k for k, v in vars(limits).items() if v != getattr(Limits(), k)),
)
def test_every_limit_holds(limits):
    content = arm().bytes()
    load_rig(content)
    with pytest.raises(AssetError, match="accepted"):
        load_rig(content, limits=limits)


def test_a_gltf_reads_files_beside_it_and_only_by_its_path(tmp_path):
    root, binary, _ = split(arm().bytes())
    root["buffers"][0]["uri"] = "data/arm%20data.bin"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "arm data.bin").write_bytes(binary)
    file = tmp_path / "arm.gltf"
    file.write_text(json.dumps(root))
    rig = load_rig(file)
    np.testing.assert_allclose(rig.rest_vertices, load_rig(arm().bytes()).rest_vertices)
    assert rig.name == "arm"
    with pytest.raises(AssetError, match="another file"):
        load_rig(file.read_bytes())
    # the identity covers the data beside it
    (tmp_path / "data" / "arm data.bin").write_bytes(binary[:-4] + b"\0\0\1\0")
    assert load_rig(file).sha256 != rig.sha256


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.bin",
        "/etc/passwd",
        "a/../../secret.bin",
        "file:///etc/passwd",
        "http://h/x.bin",
        "link/secret.bin",
        "..%2fsecret.bin",
        "C:\\x.bin",
        "missing.bin",
        "",
        "x\x00y",
        ".",
    ],
)
def test_a_gltf_never_reads_outside_its_folder(uri, tmp_path):
    root, binary, _ = split(arm().bytes())
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(binary)
    (folder / "link").symlink_to(tmp_path)
    root["buffers"][0]["uri"] = uri
    (folder / "arm.gltf").write_text(json.dumps(root))
    with pytest.raises(AssetError) as caught:
        load_rig(folder / "arm.gltf")
    assert str(tmp_path) not in str(caught.value)


def test_a_glb_never_reads_files(tmp_path):
    glb = arm()
    glb.json["buffers"] = [{"byteLength": len(glb.binary), "uri": "data.bin"}]
    (tmp_path / "data.bin").write_bytes(bytes(glb.binary))
    (tmp_path / "arm.glb").write_bytes(glb.bytes())
    with pytest.raises(AssetError, match="another file"):
        load_rig(tmp_path / "arm.glb")


def test_a_missing_path_is_an_asset_error(tmp_path):
    with pytest.raises(AssetError, match="not a file"):
        load_rig(tmp_path / "no.glb")
    with pytest.raises(AssetError, match=r"accepted|cannot be read"):
        load_rig(Path("/" + "a" * 5000))


def test_bad_facing_is_an_option_error():
    with pytest.raises(OptionError, match="facing"):
        load_rig(arm().bytes(), facing="north")


def test_hostile_files_are_refused_quickly_and_in_little_memory():
    """Some 500 files: known attacks, random values in random fields, random bytes; see ``hostile.py``."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.assets.hostile"], cwd=REPOSITORY, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert not report["wrong"]
    assert report["files"] > 450
    assert report["outcomes"]["AssetError"] > 200
    assert report["slowest"] < 2.0, report["name"]
    assert report["peak"] < 1e9

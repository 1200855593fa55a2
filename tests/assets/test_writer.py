"""The written GLB is the input plus one animation."""

from __future__ import annotations

import base64
import json

import numpy as np
import pygltflib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from animax.assets import load_rig, read_clips, write_glb
from animax.assets.rig import Rig
from animax.errors import RigError
from animax.motion.clip import Clip
from animax.rotations import make_continuous
from tests.assets.glb_builder import CUBE, CUBE_TRIANGLES, Glb, arm, pack, split
from tests.assets.oracle import Oracle


def random_clip(rig: Rig, frames: int = 9, seed: int = 0, fps: float = 30.0, loop: bool = False) -> Clip:
    random = np.random.default_rng(seed)
    joints = len(rig.skeleton)
    pose = rig.skeleton.posed(
        rotations=make_continuous(
            Rotation.random(frames * joints, random_state=seed).as_quat().reshape(frames, joints, 4)
        ),
        translations=rig.skeleton.rest.translations + random.normal(size=(frames, joints, 3)),
    )
    return Clip("wave", fps, pose, loop)


def assert_same(a: Clip, b: Clip) -> None:
    assert (a.fps, a.loop, len(a)) == (b.fps, b.loop, len(b))
    np.testing.assert_allclose(a.pose.translations, b.pose.translations, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(a.pose.scales, b.pose.scales, atol=1e-5)
    dots = np.abs(np.sum(a.pose.rotations * b.pose.rotations, axis=-1))
    np.testing.assert_allclose(dots, 1, atol=1e-6)


def untouched(before: bytes, after: bytes) -> tuple[dict, dict]:
    """Check that everything of ``before`` is still in ``after``; returns both JSONs."""
    (old, old_binary, old_chunks), (new, new_binary, new_chunks) = split(before), split(after)
    assert new_binary[: len(old_binary)] == old_binary
    assert old_chunks == new_chunks
    for key, value in old.items():
        if key in ("accessors", "bufferViews", "animations"):
            assert new[key][: len(value)] == value
        elif key == "buffers":
            assert [b.get("uri") for b in new[key]][: len(value)] == [b.get("uri") for b in value]
        else:
            assert json.dumps(new[key]) == json.dumps(value)
    assert list(new)[: len(old)] == list(old)
    return old, new


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000), st.sampled_from([12.0, 24.0, 29.97, 60.0]), st.booleans())
def test_what_is_written_is_read_back(frames, seed, fps, loop):
    rig = load_rig(arm().bytes())
    clip = random_clip(rig, frames + 2 * loop, seed, fps, loop)
    content = write_glb(rig, clip)
    again = load_rig(content)
    (back,) = read_clips(again, fps, names=["wave"])
    assert_same(clip, back)
    np.testing.assert_array_equal(again.rest_vertices, rig.rest_vertices)


def test_scales_are_written_too():
    rig = load_rig(arm().bytes())
    clip = random_clip(rig)
    clip.pose.scales[:] *= np.linspace(1, 2, len(clip))[:, None, None]
    (back,) = read_clips(load_rig(write_glb(rig, clip)), 30, names=["wave"])
    assert_same(clip, back)


def test_everything_else_is_untouched():
    glb = arm()
    glb.json["extensionsUsed"] = ["ACME_magic"]
    glb.json["extensions"] = {"ACME_magic": {"spell": [1, 2.5, None, "ü", 1e-17, 12345678901234567890, True]}}
    glb.json["nodes"][3]["extras"] = {"weight": 0.1, "nested": {"deep": []}}
    glb.json["nodes"][3]["unknown"] = "kept"
    before = pack({**glb.json, "buffers": [{"byteLength": len(glb.binary), "name": "all"}]}, bytes(glb.binary))
    before = pack(split(before)[0], bytes(glb.binary), ((0x11223344, b"chunk"), (0x55667788, b"")))
    rig = load_rig(before)
    old, new = untouched(before, write_glb(rig, random_clip(rig)))
    assert new["buffers"][0]["name"] == "all"
    assert len(new["animations"]) == len(old["animations"]) + 1


@pytest.mark.parametrize("file", ["rigs/train/quadruped/qs_alpaca.glb", "rigs/val/humanoid/zombie_2018.glb"])
def test_real_rigs_round_trip(file, real_rigs):
    before = (real_rigs / file).read_bytes()
    rig = load_rig(before)
    clips = read_clips(rig, 24)[:2]
    after = write_glb(rig, clips)
    untouched(before, after)
    again = load_rig(after)
    written = read_clips(again, 24)[-2:]
    for clip, back in zip(clips, written, strict=True):
        assert_same(clip, back)


def test_another_library_plays_it():
    rig = load_rig(arm().bytes())
    clip = random_clip(rig)
    oracle = Oracle(write_glb(rig, clip))
    assert oracle.gltf.animations[1].name == "wave"
    for frame in (0, 3, 8):
        worlds = oracle.worlds(1, clip.times[frame])
        expected = rig.skeleton.globals(clip.pose[frame])
        np.testing.assert_allclose([worlds[n] for n in rig.joint_nodes], expected, rtol=1e-5, atol=1e-5)
    gltf = oracle.gltf
    for sampler in gltf.animations[1].samplers:
        clock = gltf.accessors[sampler.input]
        assert (clock.min, clock.max) == ([0.0], pytest.approx([8 / 30]))
        assert gltf.accessors[sampler.output].count == clock.count
    for view in gltf.bufferViews:
        assert view.byteOffset % 4 == 0


def test_only_joints_that_move_get_channels():
    rig = load_rig(arm().bytes())
    pose = rig.skeleton.posed(rotations=np.tile(rig.skeleton.rest.rotations, (3, 1, 1)))
    pose.rotations[1:, 2] = [0, 0, 0.6, 0.8]
    content = write_glb(rig, Clip("nod", 30.0, pose), keep_existing=False)
    (animation,) = split(content)[0]["animations"]
    assert [c["target"] for c in animation["channels"]] == [{"node": 2, "path": "rotation"}]
    still = write_glb(rig, Clip("rest", 30.0, rig.skeleton.posed(rotations=pose.rotations[:1])))
    assert len(read_clips(load_rig(still), 30)) == 2


def test_names_that_are_taken_get_a_suffix():
    rig = load_rig(arm().bytes())
    content = write_glb(rig, [random_clip(rig), random_clip(rig)])
    assert [a["name"] for a in split(write_glb(load_rig(content), random_clip(rig)))[0]["animations"]] == [
        "swing",
        "wave",
        "wave_2",
        "wave_3",
    ]


def test_animated_matrix_nodes_become_trs():
    glb = arm()
    matrix = Oracle(arm().bytes()).locals()[1]
    glb.json["nodes"][1] = {"name": "upper", "matrix": matrix.T.ravel().tolist(), "children": [2], "extras": 1}
    del glb.json["animations"]
    rig = load_rig(glb.bytes())
    node = split(write_glb(rig, random_clip(rig)))[0]["nodes"][1]
    assert "matrix" not in node
    assert (node["name"], node["children"], node["extras"]) == ("upper", [2], 1)
    np.testing.assert_allclose(load_rig(write_glb(rig, random_clip(rig))).rest_vertices, rig.rest_vertices, atol=1e-9)


@pytest.mark.parametrize("with_chunk", [False, True])
def test_data_uris_stay_and_the_animation_gets_a_buffer_of_its_own(with_chunk):
    glb = arm()
    uri = "data:application/octet-stream;base64," + base64.b64encode(glb.binary).decode()
    glb.json["buffers"] = [{"byteLength": len(glb.binary), "uri": uri}]
    before = pack(glb.json, b"spare" if with_chunk else None)
    rig = load_rig(before)
    clip = random_clip(rig)
    after = write_glb(rig, clip)
    untouched(before, after)
    assert len(split(after)[0]["buffers"]) == 2
    assert_same(read_clips(load_rig(after), 30, names=["wave"])[0], clip)


def test_a_rig_without_any_buffer_gets_one():
    glb = Glb()
    glb.json["nodes"] = [{"name": "a", "children": [1]}, {"name": "b", "translation": [0, 1, 0]}]
    glb.json["scenes"][0]["nodes"] = [0]
    glb.json["skins"] = [{"joints": [0, 1]}]
    glb.json["meshes"] = [{"primitives": []}]
    glb.json["nodes"].append({"mesh": 0, "skin": 0})
    glb.json["scenes"][0]["nodes"].append(2)
    rig = load_rig(glb.bytes())
    clip = random_clip(rig)
    assert_same(read_clips(load_rig(write_glb(rig, clip)), 30)[0], clip)


def test_files_beside_a_gltf_come_into_the_glb(tmp_path):
    root, binary, _ = split(arm().bytes())
    root["buffers"][0]["uri"] = "arm.bin"
    extra = np.arange(4, dtype="<f4").tobytes()
    root["buffers"].append({"byteLength": 16, "uri": "more.bin"})
    root["images"] = [{"uri": "skin.png", "name": "skin"}]
    for name, content in (("arm.bin", binary), ("more.bin", extra), ("skin.png", b"\x89PNG\r\n\x1a\n")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "arm.gltf").write_text(json.dumps(root))
    rig = load_rig(tmp_path / "arm.gltf")
    clip = random_clip(rig)
    after = write_glb(rig, clip)
    new, new_binary, _ = split(after)
    assert new_binary.startswith(binary)
    assert "uri" not in new["buffers"][0]
    assert new["images"][0]["mimeType"] == "image/png"
    again = load_rig(after)
    assert bytes(again.document.buffers[1]) == extra
    assert_same(read_clips(again, 30, names=["wave"])[0], clip)
    np.testing.assert_array_equal(again.rest_vertices, rig.rest_vertices)


def test_the_input_is_not_changed_and_the_output_always_the_same():
    rig = load_rig(arm().bytes())
    before = json.dumps(rig.document.json)
    first, second = (write_glb(rig, random_clip(rig), keep_existing=False) for _ in range(2))
    assert first == second
    assert json.dumps(rig.document.json) == before


def test_lone_surrogates_survive():
    glb = arm()
    glb.json["nodes"][1]["extras"] = "\ud800"
    rig = load_rig(glb.bytes())
    assert split(write_glb(rig, random_clip(rig)))[0]["nodes"][1]["extras"] == "\ud800"


def test_clips_of_another_skeleton_are_refused():
    rig = load_rig(arm().bytes())
    glb = Glb()
    base = glb.node(mesh=glb.mesh(CUBE, CUBE_TRIANGLES))
    glb.node(base, mesh=glb.mesh(CUBE, CUBE_TRIANGLES))
    with pytest.raises(RigError, match="accepted"):
        write_glb(rig, random_clip(load_rig(glb.bytes())))
    clip = random_clip(rig)
    clip.pose.translations[0, 0, 0] = np.nan
    with pytest.raises(RigError, match="NaN"):
        write_glb(rig, clip)


def test_the_container_is_well_formed():
    rig = load_rig(arm().bytes())
    content = write_glb(rig, random_clip(rig))
    assert len(content) % 4 == 0
    gltf = pygltflib.GLTF2.load_from_bytes(content)
    assert gltf.buffers[0].byteLength <= len(gltf.binary_blob())

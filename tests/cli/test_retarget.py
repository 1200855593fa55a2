from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from animax.assets import load_rig, read_clips
from animax.cli import main
from animax.client import Client
from animax.procedural import generate
from animax.request import RetargetRequest
from animax.retargeting import choose_clip, retarget_clip
from animax.service.jobs.settings import in_folder
from tests.service.conftest import serving_in_thread


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("rigs")
    paths = folder / "from.glb", folder / "onto.glb"
    for path, seed in zip(paths, (0, 5), strict=True):
        path.write_bytes(generate("quadruped", seed=seed))
    return paths


def retarget(*arguments: object) -> int:
    return main(["retarget", *map(str, arguments)])


def test_the_written_glb_holds_the_target_and_the_clip(rigs, tmp_path, capsys):
    out = tmp_path / "walk.glb"
    assert retarget(*rigs, "--clip", "walk", "-o", out, "-o", tmp_path / "walk.bvh", "-o", tmp_path / "walk.npz") == 0
    source, target = map(load_rig, rigs)
    made = retarget_clip(choose_clip(source, "walk"), source, target, RetargetRequest()).clip
    back = load_rig(out)
    assert back.skeleton.names == target.skeleton.names
    clip = read_clips(back)[-1]
    assert clip.name.startswith("walk")
    np.testing.assert_allclose(
        back.skeleton.positions(clip.pose), target.skeleton.positions(made.pose), atol=1e-4 * target.size
    )
    assert (tmp_path / "walk.bvh").read_text().startswith("HIERARCHY")
    with np.load(tmp_path / "walk.npz") as arrays:
        np.testing.assert_allclose(arrays["rotations"], made.pose.rotations, atol=1e-6)
    assert f"{len(made)} frames" in capsys.readouterr().out


def test_a_map_goes_through_a_file_unchanged_and_corrected(rigs, tmp_path, capsys):
    plain, same, stiff = (tmp_path / f"{name}.npz" for name in ("plain", "same", "stiff"))
    saved = tmp_path / "map.json"
    assert retarget(*rigs, "--show-map", "--save-map", saved) == 0
    shown = capsys.readouterr().out
    data = json.loads(saved.read_text())
    assert [entry["found_by"] for entry in data["chains"]]
    assert all(name in shown for name in data["chains"][0]["target"])
    retarget(*rigs, "--clip", "walk", "-o", plain)
    retarget(*rigs, "--clip", "walk", "-o", same, "--map", saved)
    assert plain.read_bytes() == same.read_bytes()
    # what --json prints is a map, too
    capsys.readouterr()
    assert retarget(*rigs, "--show-map", "--json") == 0
    saved.write_text(capsys.readouterr().out)
    retarget(*rigs, "--clip", "walk", "-o", same, "--map", saved)
    assert plain.read_bytes() == same.read_bytes()
    limb = next(entry for entry in data["chains"] if len(entry["target"]) > 2)
    data["chains"].remove(limb)
    saved.write_text(json.dumps(data))
    retarget(*rigs, "--clip", "walk", "-o", stiff, "--map", saved)
    target = load_rig(rigs[1])
    joint = target.skeleton.names.index(limb["target"][1])
    with np.load(stiff) as arrays:
        np.testing.assert_allclose(
            arrays["rotations"][:, joint], np.tile(target.skeleton.rest.rotations[joint], (len(arrays["rotations"]), 1))
        )


def test_corrections_are_given_on_the_command_line(rigs, tmp_path, capsys):
    chains = json_of(capsys, *rigs, "--show-map")["chains"]
    limb = next(entry for entry in chains if len(entry["target"]) > 2)
    rest = json_of(capsys, *rigs, "--show-map", "--rest", *limb["target"])
    assert set(limb["target"]) <= set(rest["resting"])
    pair = f"{limb['source'][0]}={limb['target'][0]}"
    given = json_of(capsys, *rigs, "--show-map", "--bone", pair)["chains"][0]
    assert given == {
        "source": limb["source"][:1],
        "target": limb["target"][:1],
        "found_by": "given",
        "confidence": 1.0,
    }


def json_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    capsys.readouterr()
    assert retarget(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_all_clips_of_a_file(rigs, tmp_path, capsys):
    out = tmp_path / "moves.glb"
    report = json_of(capsys, *rigs, "--all", "-o", out, "--fps", "10")
    names = [clip.name for clip in read_clips(load_rig(rigs[0]))]
    assert [clip["name"] for clip in report["clips"]] == names
    assert {clip["fps"] for clip in report["clips"]} == {10}
    own = len(read_clips(load_rig(rigs[1])))
    assert len(read_clips(load_rig(out))) == own + len(names)


def test_a_preview(rigs, tmp_path):
    out = tmp_path / "walk.png"
    arguments = ["--clip-index", "1", "--preview", out, "-o", tmp_path / "walk.npz", "--root-scale", "0"]
    assert retarget(*rigs, *arguments) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--clip", "flies"], "'idle', 'walk'"),
        ([], "'idle', 'walk'"),
        (["--clip-index", "99"], "--clip-index"),
        (["--fps", "0.01"], "fps"),
        (["--root-scale", "99"], "--root-scale"),
        (["--bone", "x"], "bone"),
        (["--clip", "walk", "--bone", "nobody=root"], "nobody"),
        (["--clip", "walk", "--rest", "nobody"], "nobody"),
        (["-o", "a.fbx"], "output"),
        (["--all", "-o", "a.bvh"], "output"),
        (["--facing", "sideways"], "facing"),
        (["--source-facing", "sideways"], "facing"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(rigs, arguments, names, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert retarget(*rigs, *arguments) == 2
    told = capsys.readouterr().err.splitlines()
    assert names in told[-1]
    assert "accepted:" in told[-1]
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_read_are_not_written(rigs, capsys):
    for path in rigs:
        assert retarget(*rigs, "--clip", "walk", "-o", path) == 2
        assert "another file" in capsys.readouterr().err


def test_jobs_need_a_server_and_maps_need_to_be_maps(rigs, tmp_path, capsys):
    assert retarget("job:" + "a" * 32, rigs[1]) == 2
    assert "--server" in capsys.readouterr().err
    assert retarget(tmp_path / "none.glb", rigs[1]) == 2
    capsys.readouterr()
    wrong = tmp_path / "map.json"
    for text in ("{", '{"chains": 3}'):
        wrong.write_text(text)
        assert retarget(*rigs, "--clip", "walk", "--map", wrong) == 2
        assert "map" in capsys.readouterr().err
    wrong.write_text('{"chains": []}')
    assert retarget(*rigs, "--clip", "walk", "--map", wrong, "-o", tmp_path / "a.glb") == 1
    assert "at least one pair" in capsys.readouterr().err


def test_facing_along_a_negative_axis_is_an_argument(rigs, tmp_path):
    assert retarget(*rigs, "--clip", "walk", "--source-facing", "-z", "-o", tmp_path / "a.npz") == 0


def test_ctrl_c_writes_nothing(rigs, tmp_path, monkeypatch, capsys):
    def interrupted(*given, **options):
        signal.raise_signal(signal.SIGINT)
        return retarget_clip(*given, **options)

    monkeypatch.setattr("animax.retargeting.retarget_clip", interrupted)
    assert retarget(*rigs, "--clip", "walk", "-o", tmp_path / "a.glb") == 130
    assert list(tmp_path.iterdir()) == []


def test_a_server_does_the_same(rigs, tmp_path, capsys):
    here, there = tmp_path / "here.glb", tmp_path / "there.glb"
    assert retarget(*rigs, "--clip", "walk", "-o", here) == 0
    with serving_in_thread(writers=None, jobs=in_folder(tmp_path / "data", poll_seconds=0.05)) as running:
        server = ["--server", running.target]
        assert retarget(*rigs, "--clip", "walk", "-o", there, *server) == 0
        local, remote = (read_clips(load_rig(path))[-1].pose.rotations for path in (here, there))
        np.testing.assert_allclose(local, remote, atol=1e-5)
        shown = json_of(capsys, *rigs, "--show-map", *server)
        assert shown["chains"] == json_of(capsys, *rigs, "--show-map")["chains"]
        assert len(json_of(capsys, *rigs, "--all", "-o", tmp_path / "moves.glb", *server)["clips"]) > 5
        with Client(running.target) as client:
            job = client.create_job(client.upload(rigs[0]).rig_id, "waves", variants=2)
            for _ in client.watch_job(job.job_id):
                pass
        out = tmp_path / "job.npz"
        assert retarget(f"job:{job.job_id}/1", rigs[1], "-o", out, *server) == 0
        assert out.exists()
        assert retarget(f"job:{job.job_id}", rigs[1], "--clip", "x", *server) == 2
        assert retarget(f"job:{'b' * 32}", rigs[1], "-o", out, *server) == 1
        capsys.readouterr()
        assert retarget(*rigs, "--clip", "flies", *server) == 2
        assert "'walk'" in capsys.readouterr().err

from __future__ import annotations

import json
import signal
import sys

import numpy as np
import pytest

from animax.assets import load_rig, read_clips
from animax.cli import main
from animax.request import MAX_SEED, Request, RootMode
from animax.service.models import ServedModels
from tests.service.conftest import serving_in_thread
from tests.service.engine import FakeModel


def test_the_written_glb_holds_the_rig_and_the_clip(biped, pipeline, tmp_path, capsys):
    out = tmp_path / "wave.glb"
    assert main(["animate", str(biped), "waves  hello", "-o", str(out), "--seconds", "1", "--fps", "20"]) == 0
    rig = load_rig(biped)
    back = load_rig(out)
    assert back.skeleton.names == rig.skeleton.names
    (clip,) = [clip for clip in read_clips(back, fps=20.0) if clip.name == "waves hello"]
    expected = pipeline.clip(rig, Request("waves hello", seconds=1, fps=20))
    np.testing.assert_allclose(
        back.skeleton.positions(clip.pose), rig.skeleton.positions(expected.pose), atol=1e-5 * rig.size
    )
    told = capsys.readouterr()
    assert str(out) in told.out
    assert "warning: the tail moved oddly" in told.err


def test_all_formats_at_once(biped, pipeline, tmp_path):
    paths = [tmp_path / f"clip{suffix}" for suffix in (".glb", ".bvh", ".npz")]
    assert main(["animate", str(biped), "waves", *(part for path in paths for part in ("-o", str(path)))]) == 0
    assert len(pipeline.requests) == 1
    assert paths[0].read_bytes()[:4] == b"glTF"
    assert paths[1].read_text().startswith("HIERARCHY")
    with np.load(paths[2]) as arrays:
        assert arrays["rotations"].shape == (60, len(load_rig(biped).skeleton), 4)


def test_variants_have_seeds_one_apart_and_files_of_their_own(biped, pipeline, tmp_path, capsys):
    out = tmp_path / "roar.npz"
    assert main(["animate", str(biped), "roars", "-o", str(out), "--variants", "3", "--seed", "5", "--json"]) == 0
    assert [request.seed for request in pipeline.requests] == [5, 6, 7]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["roar-1.npz", "roar-2.npz", "roar-3.npz"]
    report = json.loads(capsys.readouterr().out)
    assert [clip["seed"] for clip in report["clips"]] == [5, 6, 7]
    assert report["rig_sha256"] == load_rig(biped).sha256
    assert report["model"] == {"name": "standin", "sha256": "0" * 64, "provider": "cpu"}
    first = report["clips"][0]
    assert (first["frames"], first["fps"], first["confidence"]) == (60, 30.0, 0.75)
    assert first["files"] == [str(tmp_path / "roar-1.npz")]
    assert set(first["timings"]) == {"template", "text", "denoise", "triangulate", "rotations", "clean"}


def test_options_reach_the_pipeline(biped, pipeline, tmp_path):
    arguments = ["--seconds", "3", "--root-mode", "fixed_base", "--steps", "9", "--loop", "--no-foot-cleanup"]
    assert main(["animate", str(biped), "opens", "-o", str(tmp_path / "a.npz"), *arguments]) == 0
    assert pipeline.requests == [
        Request("opens", seconds=3, root_mode=RootMode.FIXED_BASE, steps=9, loop=True, foot_cleanup=False)
    ]


def test_json_is_all_there_is_on_stdout(biped, pipeline, tmp_path, capsys):
    main(["animate", str(biped), "waves", "-o", str(tmp_path / "a.npz"), "--json"])
    json.loads(capsys.readouterr().out)


def test_debug_pictures_of_variants_lie_apart(biped, pipeline, tmp_path):
    folder = tmp_path / "debug"
    out = str(tmp_path / "a.npz")
    assert main(["animate", str(biped), "waves", "-o", out, "--debug", str(folder), "--variants", "2"]) == 0
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png")) == ["1/views.png", "2/views.png"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--seconds", "99"], "seconds"),
        (["-o", "a.fbx"], "output"),
        (["--facing", "sideways"], "facing"),
        (["--seed", str(MAX_SEED), "--variants", "2"], "seed"),
        (["--variants", "9"], "variants"),
        (["--server", "localhost:1", "--debug", "d"], "debug"),
        (["--server", "localhost:1", "--provider", "cpu"], "provider"),
        (["--server", "localhost:1", "--threads", "2"], "threads"),
    ],
)
def test_bad_options_are_status_2_before_any_work(biped, pipeline, arguments, names, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["animate", str(biped), "waves", *arguments]) == 2
    told = capsys.readouterr().err
    assert names in told
    assert "accepted:" in told
    assert pipeline.requests == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_between_stages_and_writes_nothing(biped, pipeline, tmp_path, monkeypatch, capsys):
    animate = pipeline.animate

    def interrupted(*given, **options):
        signal.raise_signal(signal.SIGINT)
        return animate(*given, **options)

    monkeypatch.setattr(sys.modules["animax.pipeline"], "animate", interrupted)
    assert main(["animate", str(biped), "waves", "-o", str(tmp_path / "a.glb")]) == 130
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.endswith("animax: interrupted\n")


def test_the_model_is_one_of_the_server_s(tmp_path, capsys):
    with serving_in_thread(models=ServedModels([FakeModel("first"), FakeModel("second")])) as running:
        (tmp_path / "rig.glb").write_bytes(running.glb)
        order = ["animate", str(tmp_path / "rig.glb"), "waves", "-o", str(tmp_path / "a.npz"), "--json"]
        order += ["--server", running.target]
        for given, used in (([], "first"), (["--model", "second"], "second")):
            assert main([*order, *given]) == 0
            assert json.loads(capsys.readouterr().out)["model"]["name"] == used
        assert main([*order, "--model", "third"]) == 2
    assert "'third'; accepted: first or second" in capsys.readouterr().err


def test_no_server_is_one_line(biped, tmp_path, capsys):
    out = tmp_path / "a.glb"
    assert main(["animate", str(biped), "waves", "-o", str(out), "--server", "127.0.0.1:1"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "animax: no server at 127.0.0.1:1 (connection refused); start one with `animax serve`"
    assert not out.exists()

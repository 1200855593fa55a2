from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.cli import outputs
from animax.errors import OptionError


def test_nothing_asked_gives_a_glb_named_after_rig_and_prompt():
    plan = outputs.plan(Path("some/Fox.glb"), "Runs, very fast!", (), (), 1)
    assert list(plan.paths(0)) == [(Path("Fox-runs-very-fast.glb"), False)]


def test_variants_are_numbered_and_a_single_one_is_not(tmp_path):
    many = outputs.plan(Path("fox.glb"), "runs", [tmp_path / "a.glb"], [tmp_path / "a.mp4"], 3)
    assert [path.name for path, _ in many.paths(2)] == ["a-3.glb", "a-3.mp4"]
    one = outputs.plan(Path("fox.glb"), "runs", [tmp_path / "a.glb"], [], 1)
    assert [path.name for path, _ in one.paths(0)] == ["a.glb"]


@pytest.mark.parametrize(
    ("clips", "previews", "option"),
    [(["a.fbx"], [], "output"), (["a"], [], "output"), (["nowhere/a.glb"], [], "output"), ([], ["a.webm"], "preview")],
)
def test_what_cannot_be_written_is_refused_by_name(clips, previews, option):
    with pytest.raises(OptionError) as refused:
        outputs.plan(Path("fox.glb"), "runs", map(Path, clips), map(Path, previews), 1)
    assert refused.value.name == option


def test_the_rig_s_own_file_is_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError):
        outputs.plan(Path("fox.glb"), "runs", [tmp_path / "fox.glb"], [], 1)
    with pytest.raises(OptionError):
        outputs.plan(tmp_path / "fox-2.glb", "runs", [Path("fox.glb")], [], 2)


def test_no_file_is_written_twice(tmp_path):
    for clips in (["a.glb", "a.glb"], ["a.glb", f"../{tmp_path.name}/a.glb"]):
        with pytest.raises(OptionError, match="each file once"):
            outputs.plan(Path("fox.glb"), "runs", [tmp_path / clip for clip in clips], [], 1)


def test_a_folder_that_takes_no_file_is_named(tmp_path, monkeypatch):
    def refuse(**place: Path) -> None:
        raise PermissionError(13, "Permission denied", str(place["dir"] / "tmpx7"))

    monkeypatch.setattr(outputs, "TemporaryFile", refuse)
    with pytest.raises(OptionError) as refused:
        outputs.plan(Path("fox.glb"), "runs", [tmp_path / "a.glb"], [], 1)
    accepted = f"a place in a folder that can be written; {tmp_path} cannot (Permission denied)"
    assert (refused.value.seen, refused.value.accepted) == (str(tmp_path / "a.glb"), accepted)


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    def fail(part: Path) -> None:
        raise PermissionError(13, "Permission denied", str(part))

    with pytest.raises(PermissionError) as failed:
        outputs.write_whole(tmp_path / "a.glb", fail)
    assert failed.value.filename == str(tmp_path / "a.glb")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.glb"
    path.write_bytes(b"old")

    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        outputs.write_whole(path, fail)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.glb", b"old")]
    outputs.write_whole(path, lambda part: part.write_bytes(b"new"))
    assert path.read_bytes() == b"new"


@given(st.text(max_size=500))
def test_slugs_are_short_plain_file_names(prompt):
    slug = outputs.slug(prompt)
    assert 1 <= len(slug) <= 40
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not slug.startswith("-")

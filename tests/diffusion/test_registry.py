import os
from pathlib import Path

import pytest

from animax.diffusion import registry
from animax.errors import ModelError


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Folders of $ANIMAX_MODELS (two of them) and of the user."""
    first, second, user = tmp_path / "first", tmp_path / "second", tmp_path / "user"
    monkeypatch.setenv("ANIMAX_MODELS", os.pathsep.join(map(str, (first, second))))
    monkeypatch.setattr(registry, "config_folder", lambda: user)
    return first, second, user / "models"


def test_the_package_s_models_are_found_and_its_text_encoder_is_none(places):
    assert registry.available_models() == ["embedded"]
    assert registry.model_folder("embedded") == registry.PACKAGE / "embedded"


def test_the_first_of_a_name_wins(places, write_folder):
    for place in reversed(places):
        folder = write_folder(place / "mine", name="creatures")
        assert registry.model_folder("creatures") == folder
    assert [(model.name, model.source) for model in registry.installed()] == [
        ("creatures", "ANIMAX_MODELS"),
        ("creatures", "ANIMAX_MODELS"),
        ("creatures", "config"),
        ("embedded", "package"),
    ]


def test_a_name_is_the_manifest_s_and_a_folder_may_be_anywhere(places, write_folder, tmp_path):
    folder = write_folder(tmp_path / "elsewhere", name="creatures")
    assert registry.model_folder(folder) == folder
    assert registry.model_folder(str(folder)) == folder
    with pytest.raises(ModelError, match="no model 'creatures'; accepted: embedded, or a folder"):
        registry.model_folder("creatures")


def test_a_folder_of_the_same_name_here_does_not_hide_an_installed_model(places, write_folder, tmp_path, monkeypatch):
    write_folder(tmp_path / "embedded")
    monkeypatch.chdir(tmp_path)
    assert registry.model_folder("embedded") == registry.PACKAGE / "embedded"
    assert registry.model_folder("./embedded") == Path("embedded")


def test_a_model_that_cannot_be_used_says_why_and_hides_no_other(places, write_folder):
    write_folder(places[0] / "old", format="animax-model-1")
    with pytest.raises(ModelError, match="has format 'animax-model-1'"):
        registry.model_folder("old")
    write_folder(places[1] / "old")
    assert registry.model_folder("old") == places[1] / "old"


def test_no_path_of_the_machine_in_errors(places, tmp_path):
    with pytest.raises(ModelError) as caught:
        registry.model_folder(tmp_path / "nowhere")
    assert str(tmp_path) not in str(caught.value)


def test_the_stamp_changes_with_the_files(places, write_folder):
    folder = write_folder(places[0] / "mine")
    before = registry.folder_stamp("mine")
    assert registry.folder_stamp("mine") == before
    (folder / "denoiser.onnx").write_bytes(b"other")
    assert registry.folder_stamp("mine") != before
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(ModelError):
        registry.folder_stamp("mine")


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_user_s_folder_follows_the_platform(monkeypatch, tmp_path, platform):
    monkeypatch.setattr(registry.sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path / "appdata"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    expected = {
        "linux": tmp_path / ".config",
        "darwin": tmp_path / "Library" / "Application Support",
        "win32": tmp_path / "appdata",
    }
    assert registry.config_folder() == expected[platform] / "animax"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    if platform == "linux":
        assert registry.config_folder() == tmp_path / "elsewhere" / "animax"

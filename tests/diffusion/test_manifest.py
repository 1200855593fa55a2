import hashlib
import json

import pytest

from animax.diffusion.manifest import MANIFEST, file_entry, read_manifest
from animax.diffusion.registry import PACKAGE
from animax.errors import ModelError


def test_the_shipped_manifest_describes_the_shipped_files():
    manifest = read_manifest(PACKAGE / "embedded")
    manifest.verify(PACKAGE / "embedded")
    digests = {name: hashlib.sha256((PACKAGE / "embedded" / name).read_bytes()).hexdigest() for name in manifest.files}
    listing = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    assert manifest.sha256 == hashlib.sha256(listing.encode()).hexdigest()
    assert manifest.files_of(manifest.file) == [manifest.file]  # a repertoire is no weights


def test_fields_of_later_versions_are_left_alone(write_folder, tmp_path):
    assert read_manifest(write_folder(tmp_path / "x", mood="sunny")).name == "x"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "animax-model-3"}, "format 'animax-model-3'; accepted: 'animax-model-4'"),
        ({"format": "animax-model-5"}, "format 'animax-model-5'; accepted: 'animax-model-4'"),
        ({"repertoire": 7}, "repertoire is 7; accepted: a file name"),
        ({"repertoire": "some.npz"}, "an entry for 'some.npz' alone"),
        ({"channels": "many"}, "channels is 'many'"),
        ({"channels": True}, "channels is True"),
        ({"frames": 32}, "frames is 32; accepted: 1 + a multiple of patch, 4"),
        ({"steps": 0}, "steps is 0; accepted: a number above zero"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"name": ""}, "name is ''"),
        ({"name": "../x"}, "name is '../x'; accepted: letters, digits"),
        ({"codec": "morse"}, "codec is 'morse'; accepted: splat or rgb"),
        ({"views": 6}, "views is 6; accepted: 4"),
        ({"spacing": "wide"}, "spacing is 'wide'; accepted: flow or log_snr"),
        ({"files": {}}, "an entry for 'denoiser.onnx'"),
        ({"files": {"denoiser.onnx": "x"}}, "accepted: sha256 and size"),
        (
            {"file": "../denoiser.onnx", "files": {"../denoiser.onnx": {"sha256": "", "size": 1}}},
            "accepted: a file name in the same folder",
        ),
    ],
)
def test_bad_manifests_are_named(write_folder, tmp_path, changes, message):
    with pytest.raises(ModelError) as caught:
        read_manifest(write_folder(tmp_path / "x", **changes))
    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "\x00", '{"format": 7}'])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match=r"is not JSON|has format"):
        read_manifest(tmp_path)


def test_a_folder_without_one_is_named(tmp_path):
    with pytest.raises(ModelError, match=f"has no {MANIFEST}"):
        read_manifest(tmp_path)


def test_missing_short_and_altered_files_are_named(write_folder, tmp_path):
    folder = write_folder(tmp_path / "x")
    manifest, network = read_manifest(folder), folder / "denoiser.onnx"
    data = network.read_bytes()
    manifest.verify(folder)
    network.write_bytes(data[:-1] + b"!")
    with pytest.raises(ModelError, match=r"denoiser\.onnx has SHA-256 .*; accepted: "):
        manifest.verify(folder)
    network.write_bytes(data[:-1])
    with pytest.raises(ModelError, match=rf"denoiser\.onnx has {len(data) - 1} bytes; accepted: {len(data)}"):
        manifest.verify(folder)
    network.unlink()
    with pytest.raises(ModelError, match=r"'x' lacks its file 'denoiser\.onnx'"):
        manifest.verify(folder)


def test_external_weights_belong_to_the_model(write_folder, tmp_path):
    folder = write_folder(tmp_path / "x")
    (folder / "weights.bin").write_bytes(b"1234")
    values = json.loads((folder / MANIFEST).read_text())
    one = read_manifest(folder).sha256
    entry = file_entry(folder / "weights.bin")
    values["files"]["weights.bin"] = {"sha256": entry.sha256, "size": entry.size}
    (folder / MANIFEST).write_text(json.dumps(values))
    manifest = read_manifest(folder)
    manifest.verify(folder)
    assert manifest.sha256 != one
    (folder / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin"):
        manifest.verify(folder)

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

WEIGHTS = b"no network, but bytes that have a digest"


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    """Writes a model folder whose manifest is right but for the changes."""

    def write(folder: Path, **changes: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "denoiser.onnx").write_bytes(WEIGHTS)
        values = {
            "format": "animax-model-4",
            "name": folder.name,
            "licence": "Apache-2.0",
            "file": "denoiser.onnx",
            "files": {"denoiser.onnx": {"sha256": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)}},
            "precision": "fp16",
            "codec": "splat",
            "channels": 64,
            "pose_size": 4,
            "rgb_size": 24,
            "views": 4,
            "room": 1.2,
            "frames": 33,
            "patch": 4,
            "fps": 16,
            "steps": 12,
            "guidance": 4.0,
            "shift": 3.0,
            "text_encoder": "0" * 64,
        }
        (folder / "manifest.json").write_text(json.dumps({**values, **changes}))
        return folder

    return write

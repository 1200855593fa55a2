"""``python -m animax_engine.text.export --run DIR --out DIR``: the trained student as ONNX, checked against torch."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from animax.diffusion.text import TOKENS, WIDTH
from animax.diffusion.wordpiece import Vocabulary
from animax_engine.text import teacher
from animax_engine.text.quantise import round_weights, store_integers
from animax_engine.text.student import StudentConfig, TextStudent

OPSET = 18
TOLERANCE = 2e-4
"""Largest difference of a last state (whose components are of order one) between ONNX Runtime and torch."""


def load_student(run: Path) -> tuple[TextStudent, Vocabulary, int]:
    """The student that ``distil`` left in ``run``, its vocabulary, and the steps it was trained for."""
    config = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["student"]
    student = TextStudent(StudentConfig(**{**config, "layers": tuple(config["layers"])}))
    saved = torch.load(run / "student.pt", weights_only=True, map_location="cpu")
    student.load_state_dict(saved["student"])
    return (
        student.eval(),
        Vocabulary(tuple((run / "vocabulary.txt").read_text(encoding="utf-8").splitlines())),
        saved["step"],
    )


def to_onnx(student: TextStudent) -> onnx.ModelProto:
    """``pieces (1, P) int64`` → ``states (1, P, 384) float32``; matrices stored as integers (see ``quantise``)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        example = torch.zeros((1, 7), dtype=torch.int64)
        shapes = {"pieces": {1: torch.export.Dim("P", min=2, max=student.config.positions)}}
        torch.onnx.export(
            student, (example,), path, input_names=["pieces"], output_names=["states"],
            dynamic_shapes=shapes, opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
        model = onnx.load(path)
    store_integers(model)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:]
    model.producer_name = "animax"
    onnx.checker.check_model(model, full_check=True)
    return model


def largest_difference(model: bytes, student: TextStudent, seed: int = 0) -> float:
    """Between ONNX Runtime's and torch's last states, over random texts of every length."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    worst = 0.0
    for length in range(2, student.config.positions + 1, 3):
        pieces = rng.integers(4, student.config.pieces, (1, length))
        (states,) = session.run(None, {"pieces": pieces})
        with torch.inference_mode():
            worst = max(worst, float(np.abs(states - student(torch.from_numpy(pieces)).numpy()).max()))
    return worst


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m animax_engine.text.export", description="Export the text encoder to ONNX and check it."
    )
    parser.add_argument("--run", type=Path, required=True, help="folder that distil wrote")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    arguments = parser.parse_args()
    student, vocabulary, step = load_student(arguments.run)
    round_weights(student)
    network = to_onnx(student).SerializeToString(deterministic=True)
    difference = largest_difference(network, student)
    if difference > TOLERANCE:
        raise SystemExit(f"ONNX and torch differ by {difference:.2e}; accepted: {TOLERANCE:.0e}")
    files = {"encoder.onnx": network, "vocabulary.txt": ("\n".join(vocabulary.pieces) + "\n").encode()}
    manifest = {
        "format": "animax-text-1",
        "width": WIDTH,
        "tokens": TOKENS,
        "positions": student.config.positions,
        "steps": step,
        "distilled_from": {"name": teacher.NAME, "licence": teacher.LICENCE},
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (arguments.out / name).write_bytes(data)
    (arguments.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"step {step}, {sum(map(len, files.values())) / 1e6:.2f} MB, largest difference to torch {difference:.1e}\n"
    )


if __name__ == "__main__":
    main()

"""``python -m animax_engine.text.evaluate --data DIR``: how close the shipped encoder is to its teacher."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.text import TextEncoder
from animax.diffusion.wordpiece import words_of
from animax_engine.text.corpus import read_manifest
from animax_engine.text.distil import misspelt
from animax_engine.text.teacher import Teacher


def paraphrases() -> list[str]:
    """Hand-written descriptions of motions that no grammar draws; never trained on."""
    return files("animax_engine.text").joinpath("paraphrases.txt").read_text(encoding="utf-8").splitlines()


def teacher_sentences(teacher: Teacher, texts: Sequence[str]) -> NDArray[np.float32]:
    """The teacher's unit embeddings (N, 384)."""
    return np.concatenate([teacher.encode(texts[at : at + 128])[0] for at in range(0, len(texts), 128)])


def figures(encoder: TextEncoder, teacher: Teacher, manifest: Path) -> dict[str, float]:
    """Cosines to the teacher, agreement of nearest actions, cost. The captions are held out: no train rig has them."""
    _, captions, actions = read_manifest(manifest)
    rng = random.Random(0)
    started = time.perf_counter()
    states = encoder.encode(captions)
    milliseconds = (time.perf_counter() - started) / len(captions) * 1e3
    found: dict[str, float] = {"captions": len(captions), "milliseconds a text": milliseconds}
    asked, answers = {"captions": states[:, 0]}, {"captions": teacher_sentences(teacher, captions)}
    for name, texts in {"paraphrases": paraphrases(), "actions": actions}.items():
        asked[name], answers[name] = encoder.encode(texts)[:, 0], teacher_sentences(teacher, texts)
    for name in asked:
        cosine = (asked[name] * answers[name]).sum(1)
        found[f"cosine, {name}"] = float(cosine.mean())
        found[f"cosine, {name}, worst of 20"] = float(np.quantile(cosine, 0.05))
    for name in ("captions", "paraphrases"):
        own, other = asked[name] @ asked["actions"].T, answers[name] @ answers["actions"].T
        found[f"nearest of {len(actions)} actions agrees, {name}"] = float((own.argmax(1) == other.argmax(1)).mean())
        kinds = np.array([label.split()[0] for label in actions])
        found[f"... their first words agree ({len(set(kinds))} kinds), {name}"] = float(
            (kinds[own.argmax(1)] == kinds[other.argmax(1)]).mean()
        )
        ranks = (own > np.take_along_axis(own, other.argmax(1)[:, None], 1)).sum(1)
        found[f"... the teacher's is among the student's first 3, {name}"] = float((ranks < 3).mean())
        first, second = np.sort(other, axis=1)[:, :-3:-1].T
        clear = first - second > 0.03
        found[f"... where the teacher's lead is over 0.03 ({clear.mean():.0%}), {name}"] = float(
            (own.argmax(1) == other.argmax(1))[clear].mean()
        )
        best = np.take_along_axis(other, own.argmax(1)[:, None], 1)[:, 0]
        found[f"teacher's loss of likeness by student's choice, {name}"] = float((other.max(1) - best).mean())
    wrong = [
        " ".join(misspelt(word, rng) if i == 1 + len(words) // 2 else word for i, word in enumerate(words))
        for words in map(words_of, captions)
    ]
    found["cosine, captions with a typo"] = float((encoder.encode(wrong)[:, 0] * answers["captions"]).sum(1).mean())
    found["cosine, captions with a typo, teacher"] = float(
        (teacher_sentences(teacher, wrong) * answers["captions"]).sum(1).mean()
    )
    short = [
        i for i, text in enumerate(captions) if len(words := words_of(text)) <= 15 and all(w.isalnum() for w in words)
    ]
    _, words = teacher.encode([captions[i] for i in short[:500]])
    likeness = [
        states[i, 1 : 1 + len(word)] @ (word / np.linalg.norm(word, axis=1, keepdims=True)).T
        for i, word in zip(short[:500], words, strict=True)
    ]
    found["cosine, words in captions"] = float(np.concatenate([np.diag(matrix) for matrix in likeness]).mean())
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m animax_engine.text.evaluate", description="Measure the text encoder against its teacher."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json, the rigs' captions")
    parser.add_argument("--model", type=Path, help="model folder; by default the one in the package")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = figures(TextEncoder(arguments.model), Teacher(), arguments.data / "manifest.json")
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{value:10.4f}  {name}\n" for name, value in found.items()))


if __name__ == "__main__":
    main()

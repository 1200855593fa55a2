"""``python -m animax_engine.text.distil --data DIR --out DIR``: from captions to a trained student. Resumable."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from animax.diffusion.wordpiece import Vocabulary, words_of
from animax_engine.text.corpus import Corpus, build_corpus
from animax_engine.text.student import StudentConfig, TextStudent, choose_pieces, from_teacher
from animax_engine.text.teacher import PieceBatch, Targets, Teacher, equal_lengths, targets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How the student is trained.

    Attributes:
        domain_share: share of prompts and captions in what is drawn; the rest is general English.
        typo_share: share of texts that are read with a spelling mistake, towards the answer for the clean text.
        pool: batches drawn at a time, then grouped by length.
        words_weight: weight of the word states' loss against the sentence's.
        likeness_weight: weight of the loss on the batch's matrix of similarities.
    """

    steps: int = 1000
    batch: int = 256
    rate: float = 4e-4
    warm_up: int = 200
    decay: float = 0.01
    domain_share: float = 0.6
    typo_share: float = 0.08
    pool: int = 24
    words_weight: float = 0.5
    likeness_weight: float = 4.0
    seed: int = 0
    keep_every: int = 200


def misspelt(word: str, rng: random.Random) -> str:
    """``word`` with one letter doubled, dropped, replaced or swapped with the next; words under four letters stay."""
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randrange(len(word) - 1)
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return rng.choice(
        [
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        ]
    )


class Lessons:
    """Texts as word lists, cut into pieces anew each time they are drawn, since a mistake may be put in."""

    def __init__(self, texts: Sequence[str], domain: int, vocabulary: Vocabulary, recipe: Recipe) -> None:
        self.words = [words_of(text) for text in texts]
        self.domain = domain
        self.vocabulary = vocabulary
        self.recipe = recipe

    def batches(self, pool: int) -> Iterator[tuple[np.ndarray, PieceBatch]]:
        """Batches of pool number ``pool``: indices of the texts, and their pieces."""
        recipe = self.recipe
        drawn = np.random.default_rng((recipe.seed, pool))
        rng = random.Random(recipe.seed * 1_000_003 + pool)
        size = recipe.pool * recipe.batch
        of_domain = drawn.random(size) < (recipe.domain_share if self.domain < len(self.words) else 1.1)
        chosen = np.where(of_domain, drawn.integers(0, self.domain, size), self.domain)
        chosen[~of_domain] = drawn.integers(self.domain, max(len(self.words), self.domain + 1), size)[~of_domain]
        split = [self._split(self.words[i], rng) for i in chosen]
        lengths = [sum(map(len, words)) for words in split]
        order = np.argsort(lengths, kind="stable")
        groups = [order[at : at + recipe.batch] for at in range(0, size, recipe.batch)]
        rng.shuffle(groups)
        for group in groups:
            yield chosen[group], PieceBatch.of([split[i] for i in group], self.vocabulary, longest=128)

    def _split(self, words: list[str], rng: random.Random) -> list[list[int]]:
        if rng.random() < self.recipe.typo_share and words:
            words = list(words)
            at = rng.randrange(len(words))
            words[at] = misspelt(words[at], rng)
        return [self.vocabulary.split(word) for word in words]


def losses(
    student: TextStudent, batch: PieceBatch, sentence: Tensor, words: Tensor, recipe: Recipe
) -> dict[str, Tensor]:
    """One minus mean cosine of sentences and of word states, and the mean squared error of the similarity matrices."""
    mask = None if batch.pieces.all() else torch.from_numpy(batch.pieces != 0)
    with torch.autocast("cpu", torch.bfloat16):
        states = student(torch.from_numpy(batch.pieces), mask)
    own, own_words = batch.pool(states.float())
    unlike = 1 - (own * sentence).sum(-1).mean()
    words_unlike = 1 - torch.nn.functional.cosine_similarity(own_words, words, dim=-1).mean()
    likeness = (own @ own.T - sentence @ sentence.T).square().mean()
    total = unlike + recipe.words_weight * words_unlike + recipe.likeness_weight * likeness
    return {"total": total, "sentence": unlike, "words": words_unlike, "likeness": likeness}


def measured(student: TextStudent, texts: Sequence[str], vocabulary: Vocabulary, answers: np.ndarray) -> float:
    """Mean cosine to ``answers`` (N, 384) in full precision."""
    split = [[vocabulary.split(word) for word in words_of(text)] for text in texts]
    cosines = np.zeros(len(texts))
    with torch.inference_mode():
        for chosen in equal_lengths([sum(map(len, words)) for words in split], 256):
            batch = PieceBatch.of([split[i] for i in chosen], vocabulary, longest=128)
            own = batch.pool(student(torch.from_numpy(batch.pieces)))[0].numpy()
            cosines[chosen] = (own * answers[chosen]).sum(1)
    return float(cosines.mean())


def train(
    student: TextStudent,
    vocabulary: Vocabulary,
    corpus: Corpus,
    answers: Targets,
    held_out: np.ndarray,
    recipe: Recipe,
    out: Path,
) -> None:
    """Trains in place; ``out`` receives ``student.pt`` (last state, resumed from when present) and ``log.csv``."""
    lessons = Lessons([*corpus.domain, *corpus.general], len(corpus.domain), vocabulary, recipe)
    decayed = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}],
        recipe.rate,
        (0.9, 0.98),
        fused=True,
    )
    done = 0
    kept = out / "student.pt"
    if kept.exists():
        saved = torch.load(kept, weights_only=True)
        student.load_state_dict(saved["student"])
        optimiser.load_state_dict(saved["optimiser"])
        done = saved["step"]
        log.info("resumed at step %d", done)
    started = time.monotonic()
    with (out / "log.csv").open("a", newline="") as file:
        rows = csv.writer(file)
        if not done:
            rows.writerow(["step", "total", "sentence", "words", "likeness", "held_out_cosine", "seconds"])
        while done < recipe.steps:
            for number, (chosen, batch) in enumerate(lessons.batches(done // recipe.pool)):
                if number < done % recipe.pool or done >= recipe.steps:
                    continue
                warm = min(1.0, (done + 1) / recipe.warm_up)
                for group in optimiser.param_groups:
                    group["lr"] = recipe.rate * warm * (0.5 + 0.5 * math.cos(math.pi * done / recipe.steps))
                sentence = torch.from_numpy(answers.sentence[chosen].astype(np.float32))
                words = np.concatenate([answers.words[answers.first[i] : answers.first[i + 1]] for i in chosen])
                loss = losses(student, batch, sentence, torch.from_numpy(words.astype(np.float32)), recipe)
                optimiser.zero_grad(set_to_none=True)
                loss["total"].backward()
                torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
                optimiser.step()
                done += 1
                if done % recipe.keep_every == 0 or done == recipe.steps:
                    cosine = measured(student, corpus.held_out, vocabulary, held_out)
                    rows.writerow(
                        [
                            done,
                            *(f"{loss[k].item():.5f}" for k in loss),
                            f"{cosine:.4f}",
                            f"{time.monotonic() - started:.0f}",
                        ]
                    )
                    file.flush()
                    log.info("step %d, held-out cosine %.4f, %.0f s", done, cosine, time.monotonic() - started)
                    _keep(kept, {"student": student.state_dict(), "optimiser": optimiser.state_dict(), "step": done})


def _keep(path: Path, state: dict[str, object]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m animax_engine.text.distil", description="Distil the text encoder from all-MiniLM-L6-v2."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json, the rigs' captions")
    parser.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="WordNet's data.* files (Debian: wordnet-base)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the cache, the log and the student")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(steps=arguments.steps, seed=arguments.seed)
    config = StudentConfig()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    corpus = build_corpus(arguments.data / "manifest.json", arguments.wordnet, recipe.seed)
    texts = [*corpus.domain, *corpus.general]
    log.info(
        "%d prompts and captions, %d general texts, %d held out",
        len(corpus.domain),
        len(corpus.general),
        len(corpus.held_out),
    )
    teacher = Teacher()
    answers = targets(texts, teacher, out / "teacher")
    held_out = np.concatenate(
        [teacher.encode(corpus.held_out[at : at + 128])[0] for at in range(0, len(corpus.held_out), 128)]
    )
    vocabulary, counts = choose_pieces(texts, teacher, config.pieces)
    student = from_teacher(config, vocabulary, counts, teacher)
    (out / "vocabulary.txt").write_text("\n".join(vocabulary.pieces) + "\n", encoding="utf-8")
    (out / "recipe.json").write_text(
        json.dumps({"student": asdict(config), "recipe": asdict(recipe)}, indent=1) + "\n", encoding="utf-8"
    )
    log.info(
        "student: %d parameters, held-out cosine before training %.4f",
        sum(p.numel() for p in student.parameters()),
        measured(student, corpus.held_out, vocabulary, held_out),
    )
    train(student, vocabulary, corpus, answers, held_out, recipe, out)


if __name__ == "__main__":
    main()

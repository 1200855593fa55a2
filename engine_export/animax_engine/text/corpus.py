"""Training text: captions of the rigs, drawn prompts, general English from WordNet's glosses, examples, lemmas."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from animax.diffusion.wordpiece import words_of
from animax_engine.text.grammar import PromptGrammar

LONGEST = 64
"""Words; longer texts are left out."""
PROMPTS = 90_000
COMPOUNDS = 4_000
"""Texts of several prompts in a row, so that long prompts are seen too."""
GENERAL = {"gloss": 35_000, "example": 35_000, "lemma": 30_000}
"""Most texts to take of each kind from WordNet."""

_WORDNET_FILES = ("data.verb", "data.adv", "data.adj", "data.noun")
_MARK = re.compile(r"\((a|p|ip)\)$")


@dataclass(frozen=True)
class Corpus:
    """Attributes:
    domain: prompts and captions of train rigs.
    general: other English.
    held_out: captions of val rigs that no train rig has; never trained on.
    """

    domain: list[str]
    general: list[str]
    held_out: list[str]


def read_manifest(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Captions of train rigs, captions of val rigs only, action labels as words (``idle_b`` → ``idle``); each once."""
    rigs = json.loads(path.read_text(encoding="utf-8"))["rigs"]
    captions: dict[str, set[str]] = {"train": set(), "val": set()}
    actions = set()
    for rig in rigs:
        for clip in rig["clips"]:
            captions[rig["split"]].update(clip["captions"])
            actions.add(_action_words(clip["action"]))
    return sorted(captions["train"]), sorted(captions["val"] - captions["train"]), sorted(actions)


def _action_words(label: str) -> str:
    words = re.sub(r"\d+h?$", "", label).split("_")
    return " ".join(word for word in words if len(word) > 1 and word != "rm")


def build_corpus(manifest: Path, wordnet: Path, seed: int) -> Corpus:
    """Reads ``manifest`` and WordNet's folder of ``data.*`` files; a folder without them gives no general text."""
    train, held_out, _ = read_manifest(manifest)
    hidden = {_key(text) for text in held_out}
    grammar = PromptGrammar(seed)
    compounds = [f"{grammar.prompt()}. {grammar.prompt()}. {grammar.prompt()}" for _ in range(COMPOUNDS)]
    drawn = sorted({grammar.prompt() for _ in range(PROMPTS)})
    rng = random.Random(seed)
    general: list[str] = []
    for kind, most in GENERAL.items():
        texts = sorted(set(_wordnet(wordnet, kind)))
        general += texts if len(texts) <= most else rng.sample(texts, most)
    domain = [text for text in [*train, *drawn, *compounds] if _key(text) not in hidden]
    return Corpus(
        domain, [text for text in general if 0 < len(words_of(text)) <= LONGEST and _key(text) not in hidden], held_out
    )


def _key(text: str) -> str:
    return " ".join(words_of(text))


def _wordnet(folder: Path, kind: str) -> Iterator[str]:
    for name in _WORDNET_FILES:
        if not (folder / name).exists():
            continue
        for line in (folder / name).read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):
                continue
            data, _, gloss = line.partition(" | ")
            if kind == "lemma":
                fields = data.split()
                yield from (
                    _MARK.sub("", word).replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                )
                continue
            parts = gloss.strip().split('"')
            if kind == "gloss":
                yield parts[0].strip(" ;:")
            else:
                yield from (part.strip() for part in parts[1::2] if part.strip(" ;"))

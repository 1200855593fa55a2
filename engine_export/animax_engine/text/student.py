"""The student: a shallower, narrower BERT with factorised embeddings over fewer pieces, begun from the teacher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animax.diffusion.wordpiece import SPECIAL, Vocabulary, words_of

if TYPE_CHECKING:
    from animax_engine.text.teacher import Teacher


@dataclass(frozen=True)
class StudentConfig:
    """Attributes:
    pieces: size of the vocabulary.
    factor: width of the embedding table; a matrix takes it to ``width``.
    layers: which of the teacher's layers are kept.
    feed_forward: hidden units kept in each of them.
    positions: longest text in pieces, START and END included.
    """

    pieces: int = 12_288
    factor: int = 128
    layers: tuple[int, ...] = (0, 2, 3, 5)
    feed_forward: int = 1280
    positions: int = 128
    width: int = 384
    heads: int = 12


class Layer(nn.Module):
    """Post-norm transformer layer, as BERT's."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.attention_norm = nn.LayerNorm(width, 1e-12)
        self.up = nn.Linear(width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, width)
        self.norm = nn.LayerNorm(width, 1e-12)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        B, P, D = x.shape
        q, k, v = (
            f(x).reshape(B, P, self.heads, D // self.heads).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        # Written out: at a dozen tokens the CPU's fused attention is several times slower, backwards above all.
        weights = (q @ k.transpose(2, 3)) * (D // self.heads) ** -0.5
        if mask is not None:
            weights = weights.masked_fill(~mask, -1e4)
        mixed = weights.softmax(-1) @ v
        x = self.attention_norm(x + self.out(mixed.transpose(1, 2).reshape(B, P, D)))
        return self.norm(x + self.down(F.gelu(self.up(x))))


class TextStudent(nn.Module):
    """Pieces (B, P) to last states (B, P, width)."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.pieces, config.factor)
        self.widen = nn.Linear(config.factor, config.width, bias=False)
        self.place = nn.Embedding(config.positions, config.width)
        self.norm = nn.LayerNorm(config.width, 1e-12)
        self.layers = nn.ModuleList(Layer(config) for _ in config.layers)

    def forward(self, pieces: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` (B, P), true where there is a piece; None where there is no padding."""
        places = torch.arange(pieces.shape[1], device=pieces.device)
        x = self.norm(self.widen(self.table(pieces)) + self.place(places))
        kept = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, kept)
        return x


def choose_pieces(texts: Iterable[str], teacher: Teacher, size: int) -> tuple[Vocabulary, np.ndarray]:
    """The teacher's ``size`` pieces that ``texts`` use most, and their counts; ASCII characters always belong."""
    counts: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(words_of(text))
    for word, count in seen.items():
        for piece in teacher.vocabulary.split(word):
            counts[piece] += count
    pieces = teacher.vocabulary.pieces
    always = [p for p in pieces if p in SPECIAL or (len(p.removeprefix("##")) == 1 and p.removeprefix("##").isascii())]
    ranked = [pieces[i] for i, _ in counts.most_common()]
    filler = [p for p in pieces if p.isascii() and p.removeprefix("##").isalnum()]
    chosen = list(dict.fromkeys([*SPECIAL, *always, *ranked, *filler]))[:size]
    count = {pieces[i]: n for i, n in counts.items()}
    return Vocabulary(tuple(chosen)), np.array([count.get(p, 0) for p in chosen], np.float64)


def from_teacher(config: StudentConfig, vocabulary: Vocabulary, counts: np.ndarray, teacher: Teacher) -> TextStudent:
    """A student whose every weight comes from the teacher.

    Embeddings: rank-``factor`` SVD of the table's rows weighted by frequency. Hidden units: those with the largest
    product of incoming and outgoing weight norm.
    """
    student = TextStudent(config)
    bert = teacher.model
    with torch.no_grad():
        rows = teacher.rows[[teacher.vocabulary.ids[p] for p in vocabulary.pieces]]
        table = bert.embeddings.word_embeddings.weight[rows].double()
        weight = torch.from_numpy((counts + 1.0) ** 0.25)[:, None]
        mean = table.mean(0)
        basis = torch.linalg.svd((table - mean) * weight, full_matrices=False)[2][: config.factor]
        scale = ((table - mean) @ basis.T).std()
        student.table.weight.copy_((table - mean) @ basis.T / scale * 0.1)
        student.widen.weight.copy_(basis.T * scale / 0.1)
        place = bert.embeddings.position_embeddings.weight[: config.positions]
        student.place.weight.copy_(place + bert.embeddings.token_type_embeddings.weight[0] + mean)
        student.norm.load_state_dict(bert.embeddings.LayerNorm.state_dict())
        for layer, index in zip(student.layers, config.layers, strict=True):
            old = bert.encoder.layer[index]
            for name in ("query", "key", "value"):
                getattr(layer, name).load_state_dict(getattr(old.attention.self, name).state_dict())
            layer.out.load_state_dict(old.attention.output.dense.state_dict())
            layer.attention_norm.load_state_dict(old.attention.output.LayerNorm.state_dict())
            up, down = old.intermediate.dense, old.output.dense
            best = (
                torch.topk(up.weight.norm(dim=1) * down.weight.norm(dim=0), config.feed_forward).indices.sort().values
            )
            layer.up.weight.copy_(up.weight[best])
            layer.up.bias.copy_(up.bias[best])
            layer.down.weight.copy_(down.weight[:, best])
            layer.down.bias.copy_(down.bias)
            layer.norm.load_state_dict(old.output.LayerNorm.state_dict())
    return student

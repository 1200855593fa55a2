"""The large model's text encoder: umT5 as an ONNX graph, and its tokenizer's own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.engine import OnnxGraph
from animax.errors import EngineError, ModelError


class PieceEncoder:
    """Encodes prompts; a ``PromptEncoder``. Safe to share between threads.

    Args:
        encoder: ``pieces`` and ``mask`` (B, T), 1 for pieces, to ``states`` (B, T, width), zero behind the prompt.
        tokenizer: its ``tokenizer.json``.

    Raises:
        EngineError: the package ``tokenizers`` is not installed.
        ModelError: the file is no tokenizer, or the graph another one.
    """

    def __init__(self, encoder: OnnxGraph, tokenizer: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise EngineError("tokenizers is not installed; accepted: an installation of animax[large]") from error
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the package raises nothing more special
            raise ModelError(f"{tokenizer.name} is no tokenizer; accepted: a file of the package tokenizers") from error
        shapes = encoder.inputs.get("pieces", ()), encoder.inputs.get("mask", ()), encoder.outputs.get("states", ())
        pieces, mask, states = shapes
        if len(states) != 3 or not pieces[1:] == mask[1:] == states[1:2] or not all(type(n) is int for n in states[1:]):
            raise ModelError(
                f"{encoder.name} has pieces {pieces}, mask {mask} and states {states}; accepted: (batch, T) twice and "
                "(batch, T, width)"
            )
        self._encoder = encoder
        self.tokens, self.width = int(states[1]), int(states[2])
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.tokens)

    @property
    def null(self) -> NDArray[np.float32]:
        """(T, width) zeros: no prompt."""
        return np.zeros((self.tokens, self.width), np.float32)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """States (B, T, width) of B texts, run one by one; what is longer than T pieces is cut off."""
        return np.stack([self._encode(text) for text in texts])

    def unknown_words(self, text: str) -> list[str]:  # noqa: ARG002
        """None: its pieces spell every script."""
        return []

    def _encode(self, text: str) -> NDArray[np.float32]:
        ids = self._tokenizer.encode(text).ids
        pieces, mask = np.zeros((2, 1, self.tokens), np.int32)
        pieces[0, : len(ids)] = ids
        mask[0, : len(ids)] = 1
        (states,) = self._encoder(pieces=pieces, mask=mask)
        first: NDArray[np.float32] = states[0]
        return first

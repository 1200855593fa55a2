"""Text encoder: prompts to the states that the network attends to. ONNX Runtime on the CPU, numpy, nothing else.

A small transformer distilled from all-MiniLM-L6-v2 (docs/text_encoder.md). English only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from animax.diffusion.wordpiece import END, START, Vocabulary, is_spoken, spans, windows, words_of
from animax.errors import EngineError, ModelError

WIDTH = 384
"""Components of a state."""
TOKENS = 16
"""States a text: the sentence's, then at most 15 of its words."""
MODEL_FOLDER = Path(__file__).resolve().parent.parent / "models" / "text"

_FORMAT = "animax-text-1"


class TextEncoder:
    """Encodes prompts. Safe to share between threads.

    Args:
        folder: holds ``manifest.json`` and the files that it names; None takes the model that comes with the package.
        threads: of ONNX Runtime, for one text.

    Raises:
        ModelError: the folder is incomplete, a file differs from its checksum, or the format is another version's.
        EngineError: ONNX Runtime cannot load the network.
    """

    WIDTH = WIDTH
    TOKENS = TOKENS

    def __init__(self, folder: Path | None = None, threads: int = 1) -> None:
        folder = MODEL_FOLDER if folder is None else Path(folder)
        manifest = _read_manifest(folder)
        network, pieces = (_checked(folder, manifest, name) for name in ("encoder.onnx", "vocabulary.txt"))
        self.vocabulary = Vocabulary(tuple(pieces.decode("utf-8").splitlines()))
        self.encoder_hash = hashlib.sha256(network + pieces).hexdigest()
        """SHA-256 of network and vocabulary: equal hashes give equal states."""
        self._positions = int(manifest["positions"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError("the text encoder's network cannot be loaded by ONNX Runtime") from error

    @cached_property
    def null(self) -> NDArray[np.float32]:
        """(16, 384) zeros: what the empty text is encoded as."""
        return np.zeros((TOKENS, WIDTH), np.float32)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """States (B, 16, 384) of B texts; each is either of unit length or zero.

        Slot 0 is the sentence's embedding. Slots 1 to 15 are the contextual states of the words in order, punctuation
        left out; texts of more than 15 words give 15 spans of words, each the mean of its own, and shorter ones end in
        zeros. A text without any word or mark is ``null``. Texts are run one by one, so a text's states do not
        depend, to the bit, on what it is batched with.
        """
        return np.stack([self._encode(text) for text in texts]) if texts else np.zeros((0, TOKENS, WIDTH), np.float32)

    def unknown_words(self, text: str) -> list[str]:
        """Words of ``text`` that the vocabulary cannot spell (other scripts, emoji): they tell the encoder little."""
        return self.vocabulary.unknown_words(text)

    def _encode(self, text: str) -> NDArray[np.float32]:
        encoded = self.null.copy()
        words = words_of(text)
        if not words:
            return encoded
        split = [self.vocabulary.split(word) for word in words]
        sentence = np.zeros(WIDTH)
        states: list[NDArray[np.float64]] = []
        for window in windows(split, self._positions - 2):
            last = self._states([piece for word in window for piece in word])
            sentence += last.sum(0)
            edges = np.cumsum([1, *map(len, window)])
            states += [last[a:b].mean(0) for a, b in pairwise(edges)]
        encoded[0] = _unit(sentence)
        spoken = [
            state
            for state, word in zip(states, _window_words(split, words, self._positions - 2), strict=True)
            if is_spoken(word)
        ]
        for slot, span in enumerate(spans(len(spoken), TOKENS - 1), start=1):
            encoded[slot] = _unit(np.mean([spoken[i] for i in span], axis=0))
        return encoded

    def _states(self, pieces: list[int]) -> NDArray[np.float64]:
        """Last states (P + 2, 384) of the pieces between START and END."""
        ids = self.vocabulary.ids
        row = np.array([[ids[START], *pieces, ids[END]]], np.int64)
        try:
            (states,) = self._session.run(None, {"pieces": row})
        except Exception as error:
            raise EngineError("the text encoder failed while running") from error
        return np.asarray(states[0], np.float64)


def _window_words(split: Sequence[Sequence[int]], words: Sequence[str], limit: int) -> list[str]:
    """The word that each entry of ``windows`` comes from: words too long for a window appear once for each part."""
    return [word for word, pieces in zip(words, split, strict=True) for _ in range(0, len(pieces), limit)]


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "the text encoder's manifest.json is missing or no JSON; accepted: the folder that the export writes"
        ) from error
    seen = {key: manifest.get(key) for key in ("format", "width", "tokens")} if isinstance(manifest, dict) else {}
    accepted = {"format": _FORMAT, "width": WIDTH, "tokens": TOKENS}
    if seen != accepted or not isinstance(manifest.get("positions"), int):
        raise ModelError(f"the text encoder's manifest.json says {seen}; accepted: {accepted} and its positions")
    return dict(manifest)


def _checked(folder: Path, manifest: dict[str, Any], name: str) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"the text encoder's {name} is missing") from error
    seen, accepted = hashlib.sha256(data).hexdigest(), manifest.get("sha256", {}).get(name)
    if seen != accepted:
        raise ModelError(
            f"the text encoder's {name} has SHA-256 {seen}; accepted: {accepted}, which its manifest.json names"
        )
    return data

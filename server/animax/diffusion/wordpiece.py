"""WordPiece: a prompt's words and the vocabulary pieces they are made of. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, START, END)
CONTINUES = "##"
"""Prefix of a piece that does not begin its word."""

_TYPOGRAPHY = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "−": "-",
        "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
    }
)  # fmt: skip
_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")


def words_of(text: str) -> list[str]:
    """Words and punctuation marks of ``text``: lower case, accents and invisible characters removed."""
    lowered = unicodedata.normalize("NFKC", text).casefold().translate(_TYPOGRAPHY)
    decomposed = unicodedata.normalize("NFKD", lowered)
    visible = "".join(
        " " if c.isspace() else c for c in decomposed if unicodedata.category(c) not in _DROPPED or c.isspace()
    )
    return _WORD.findall(visible)


_DROPPED = frozenset({"Mn", "Mc", "Me", "Cc", "Cf", "Cs", "Co", "Cn"})


def is_spoken(word: str) -> bool:
    """Whether ``word`` (of ``words_of``) is more than a punctuation mark or symbol."""
    return word[0].isalnum()


@dataclass(frozen=True)
class Vocabulary:
    """Pieces in the order of their ids; the first four are ``SPECIAL``.

    Attributes:
        pieces: every ASCII letter and digit is a piece with and without ``CONTINUES``, so no Latin word is unknown.
    """

    pieces: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.pieces[: len(SPECIAL)] != SPECIAL or len(set(self.pieces)) != len(self.pieces):
            raise ValueError(f"a vocabulary begins with {', '.join(SPECIAL)} and names each piece once")

    @cached_property
    def ids(self) -> dict[str, int]:
        """Piece → id."""
        return {piece: i for i, piece in enumerate(self.pieces)}

    @cached_property
    def _longest(self) -> int:
        return max(len(piece) for piece in self.pieces)

    def split(self, word: str) -> list[int]:
        """Ids of the pieces of one word, longest match first; characters without a piece give one ``UNKNOWN`` a run."""
        unknown = self.ids[UNKNOWN]
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = CONTINUES if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = self.ids.get(prefix + word[start:end])
                if piece is not None:
                    found.append(piece)
                    start = end
                    break
            else:
                if not found or found[-1] != unknown:
                    found.append(unknown)
                start += 1
        return found

    def unknown_words(self, text: str) -> list[str]:
        """Words of ``text`` that hold a character without a piece (other scripts, emoji), in order."""
        unknown = self.ids[UNKNOWN]
        return [word for word in words_of(text) if unknown in self.split(word)]


def spans(count: int, limit: int) -> list[range]:
    """``count`` items in order as at most ``limit`` runs whose lengths differ by at most one."""
    runs = min(count, limit)
    edges = [i * count // runs for i in range(runs + 1)] if runs else [0]
    return [range(a, b) for a, b in pairwise(edges)]


def windows(split_words: Sequence[Sequence[int]], limit: int) -> list[list[Sequence[int]]]:
    """Consecutive words grouped so that no group has more than ``limit`` pieces; a longer word is broken."""
    groups: list[list[Sequence[int]]] = [[]]
    room = limit
    for word in _broken(split_words, limit):
        if len(word) > room:
            groups.append([])
            room = limit
        groups[-1].append(word)
        room -= len(word)
    return groups


def _broken(split_words: Iterable[Sequence[int]], limit: int) -> Iterable[Sequence[int]]:
    for word in split_words:
        for start in range(0, len(word), limit):
            yield word[start : start + limit]

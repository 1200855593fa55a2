from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.diffusion.text import MODEL_FOLDER
from animax.diffusion.wordpiece import CONTINUES, UNKNOWN, Vocabulary, is_spoken, spans, windows, words_of

ENGLISH = st.text(string.ascii_letters + string.digits + string.punctuation + " \t\né", max_size=80)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(tuple((MODEL_FOLDER / "vocabulary.txt").read_text(encoding="utf-8").splitlines()))


@given(ENGLISH)
def test_words_are_those_of_berts_tokenizer(text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle is the tokenizers package (extra: distil)")
    normal = tokenizers.normalizers.BertNormalizer(lowercase=True).normalize_str(text)
    assert words_of(text) == [word for word, _ in tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normal)]


@given(st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=40))
def test_pieces_are_those_of_the_wordpiece_model(vocabulary: Vocabulary, word: str) -> None:
    models = pytest.importorskip("tokenizers", reason="the oracle is the tokenizers package (extra: distil)").models
    oracle = models.WordPiece(dict(vocabulary.ids), unk_token=UNKNOWN, max_input_chars_per_word=100)
    assert vocabulary.split(word) == [token.id for token in oracle.tokenize(word)]


@given(st.text(string.ascii_letters + string.digits + string.punctuation, min_size=1, max_size=60))
def test_any_ascii_text_can_be_spelt_and_read_back(vocabulary: Vocabulary, text: str) -> None:
    for word in words_of(text):
        pieces = [vocabulary.pieces[i] for i in vocabulary.split(word)]
        assert "".join(piece.removeprefix(CONTINUES) for piece in pieces) == word
    assert vocabulary.unknown_words(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The HORSE trots", ["the", "horse", "trots"]),
        ("Café naïve Ångström", ["cafe", "naive", "angstrom"]),
        ("don’t “stop” — ever…", ["don", "'", "t", '"', "stop", '"', "-", "ever", ".", ".", "."]),
        ("t‑rex", ["t", "‐", "rex"]),
        ("wa\u200blk\u00a0slow\u00adly", ["walk", "slowly"]),
        ("ﬂy full\uff57idth", ["fly", "fullwidth"]),
        ("æther Øre Łódź straße", ["aether", "ore", "lodz", "strasse"]),
        (" \t\n", []),
        ("\u0301\u200b", []),
    ],
)
def test_words_of_odd_text(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_other_scripts_are_reported_and_give_one_unknown_a_run(vocabulary: Vocabulary) -> None:
    assert vocabulary.unknown_words("the 🐎🐎 horse 𐍈𐍈𐍈 runs") == ["🐎", "🐎", "𐍈𐍈𐍈"]
    assert vocabulary.split("𐍈𐍈𐍈") == [vocabulary.ids[UNKNOWN]]


@pytest.mark.parametrize("pieces", [("a", "b"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a")])
def test_a_vocabulary_that_breaks_its_rules_is_refused(pieces: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(pieces)


def test_marks_are_not_spoken() -> None:
    assert [is_spoken(word) for word in words_of("a-1 !")] == [True, False, True, False]


@given(st.integers(0, 200), st.integers(1, 20))
def test_spans_cover_everything_once_and_evenly(count: int, limit: int) -> None:
    found = spans(count, limit)
    assert [i for span in found for i in span] == list(range(count))
    assert len(found) == min(count, limit)
    assert not found or max(map(len, found)) - min(map(len, found)) <= 1


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 12))
def test_windows_keep_every_piece_in_order_and_within_the_limit(lengths: list[int], limit: int) -> None:
    numbers = iter(range(10_000))
    words = [[next(numbers) for _ in range(n)] for n in lengths]
    found = windows(words, limit)
    assert all(sum(map(len, window)) <= limit for window in found)
    assert [piece for window in found for word in window for piece in word] == [
        piece for word in words for piece in word
    ]

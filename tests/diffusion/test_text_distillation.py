"""The making of the text encoder: grammar, batches, rounding, export. No teacher is needed."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

torch = pytest.importorskip("torch", reason="training needs torch (extra: train)")
pytest.importorskip("onnxscript", reason="the export needs onnxscript (extra: train)")

from animax.diffusion.wordpiece import Vocabulary, words_of  # noqa: E402
from animax_engine.text import export  # noqa: E402
from animax_engine.text.corpus import build_corpus, read_manifest  # noqa: E402
from animax_engine.text.distil import Lessons, Recipe, losses, misspelt, train  # noqa: E402
from animax_engine.text.evaluate import paraphrases  # noqa: E402
from animax_engine.text.grammar import PromptGrammar, participle, third_person  # noqa: E402
from animax_engine.text.quantise import round_weights, rounded  # noqa: E402
from animax_engine.text.student import StudentConfig, TextStudent  # noqa: E402
from animax_engine.text.teacher import PieceBatch, Targets, equal_lengths  # noqa: E402

MANIFEST = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "manifest.json"
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = Vocabulary(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{c}" for c in LETTERS)))
TINY = StudentConfig(len(VOCABULARY.pieces), 128, (0, 1), 128, 40, 384, 12)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Matrices this small only lose time to threads that wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def student() -> TextStudent:
    torch.manual_seed(0)
    return TextStudent(TINY).eval()


@pytest.mark.parametrize(
    ("verb", "does", "doing"),
    [
        ("walk", "walks", "walking"),
        ("run", "runs", "running"),
        ("crouch", "crouches", "crouching"),
        ("carry", "carries", "carrying"),
        ("play", "plays", "playing"),
        ("die", "dies", "dying"),
        ("glide", "glides", "gliding"),
        ("tiptoe", "tiptoes", "tiptoeing"),
        ("flee", "flees", "fleeing"),
        ("do", "does", "doing"),
    ],
)
def test_verbs_are_inflected(verb: str, does: str, doing: str) -> None:
    assert (third_person(verb), participle(verb)) == (does, doing)


def test_the_grammar_is_reproducible_and_rich() -> None:
    drawn = [PromptGrammar(7).prompt() for _ in range(1)]
    grammar = PromptGrammar(7)
    prompts = [grammar.prompt() for _ in range(4000)]
    assert prompts[0] == drawn[0]
    assert len(set(prompts)) > 3600
    assert len({word for prompt in prompts for word in words_of(prompt)}) > 700


@given(st.text("abcdefghij", min_size=1, max_size=12), st.integers())
def test_a_misspelling_changes_little(word: str, seed: int) -> None:
    wrong = misspelt(word, random.Random(seed))
    assert abs(len(wrong) - len(word)) <= 1
    assert sum(a != b for a, b in zip(wrong, word, strict=False)) <= len(word)
    assert len(word) >= 4 or wrong == word


@given(arrays.arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)), st.integers(0, 1))
def test_rounded_weights_are_within_half_a_step_and_rounding_again_changes_nothing(
    weight: np.ndarray, axis: int
) -> None:
    integers, scale = rounded(weight, axis)
    assert scale.shape[axis] == weight.shape[axis]
    assert scale.size == weight.shape[axis]
    assert np.all(np.abs(integers * scale - weight) <= scale * 0.5001 + 1e-30)
    again, _ = rounded(integers * scale, axis)
    np.testing.assert_array_equal(again, integers)


def test_the_exported_network_is_the_student(student: TextStudent) -> None:
    round_weights(student)
    model = export.to_onnx(student)
    assert {entry.domain for entry in model.opset_import} == {""}
    network = model.SerializeToString()
    assert export.largest_difference(network, student) < 1e-4
    matrices = sum(p.numel() for p in student.parameters() if p.ndim == 2)
    assert len(network) < 1.6 * matrices
    with torch.no_grad():
        student.layers[0].up.weight.mul_(1.05)
    assert export.largest_difference(network, student) > 1e-3


def test_export_writes_a_folder_that_the_encoder_reads(
    student: TextStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from animax.diffusion.text import TextEncoder

    run = tmp_path / "run"
    run.mkdir()
    torch.save({"student": student.state_dict(), "step": 3}, run / "student.pt")
    (run / "vocabulary.txt").write_text("\n".join(VOCABULARY.pieces) + "\n")
    (run / "recipe.json").write_text(json.dumps({"student": dataclasses.asdict(TINY)}))
    monkeypatch.setattr("sys.argv", ["export", "--run", str(run), "--out", str(tmp_path / "model")])
    export.main()
    states = TextEncoder(tmp_path / "model").encode(["a bc"])[0]
    split = [VOCABULARY.split(word) for word in ("a", "bc")]
    batch = PieceBatch.of([split], VOCABULARY)
    round_weights(student)
    with torch.no_grad():
        sentence, words = batch.pool(student(torch.from_numpy(batch.pieces)))
    np.testing.assert_allclose(states[0], sentence[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(states[1:3], torch.nn.functional.normalize(words, dim=-1).numpy(), atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=5), min_size=2, max_size=5))
def test_padding_does_not_change_what_a_text_gives(texts: list[list[str]]) -> None:
    torch.manual_seed(0)
    student = TextStudent(TINY).eval()
    split = [[VOCABULARY.split(word) for word in words] for words in texts]
    batch = PieceBatch.of(split, VOCABULARY)
    with torch.no_grad():
        together, words = batch.pool(student(torch.from_numpy(batch.pieces), torch.from_numpy(batch.pieces != 0)))
        first = 0
        for i, one in enumerate(split):
            alone = PieceBatch.of([one], VOCABULARY)
            sentence, own = alone.pool(student(torch.from_numpy(alone.pieces)))
            torch.testing.assert_close(together[i], sentence[0], atol=1e-4, rtol=0)
            torch.testing.assert_close(words[first : first + len(one)], own, atol=1e-4, rtol=1e-4)
            first += len(one)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.integers(1, 7))
def test_equal_lengths_are_batched_together_and_none_is_lost(lengths: list[int], batch: int) -> None:
    batches = equal_lengths(lengths, batch)
    assert sorted(int(i) for chosen in batches for i in chosen) == list(range(len(lengths)))
    assert all(len(chosen) <= batch and len({lengths[i] for i in chosen}) == 1 for chosen in batches)


def _lesson(recipe: Recipe) -> tuple[list[str], Lessons, Targets]:
    rng = np.random.default_rng(0)
    texts = ["a walk", "run", "sit down now", "jump", "fly high", "die"]
    first = np.concatenate([[0], np.cumsum([len(text.split()) for text in texts])])
    sentence = rng.normal(size=(len(texts), 384))
    sentence /= np.linalg.norm(sentence, axis=1, keepdims=True)
    words = rng.normal(size=(first[-1], 384))
    return (
        texts,
        Lessons(texts, 4, VOCABULARY, recipe),
        Targets(sentence.astype(np.float16), words.astype(np.float16), first),
    )


def test_batches_are_the_same_again_so_that_training_can_resume() -> None:
    recipe = Recipe(batch=8, pool=3, typo_share=0.5)
    _, lessons, _ = _lesson(recipe)
    for (one, a), (other, b) in zip(lessons.batches(5), lessons.batches(5), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(a.pieces, b.pieces)
    shares = np.concatenate(
        [chosen for chosen, _ in Lessons(["a"] * 100, 50, VOCABULARY, Recipe(batch=64, pool=40)).batches(0)]
    )
    assert np.mean(shares < 50) == pytest.approx(Recipe.domain_share, abs=0.05)


def test_training_learns_logs_and_resumes(student: TextStudent, tmp_path: Path) -> None:
    from animax_engine.text.corpus import Corpus

    recipe = Recipe(steps=30, batch=16, rate=1e-3, warm_up=5, pool=3, keep_every=15, typo_share=0.0)
    texts, lessons, answers = _lesson(recipe)
    corpus = Corpus(texts[:4], texts[4:], texts[:2])
    held_out = answers.sentence[:2].astype(np.float32)

    def loss() -> float:
        chosen, batch = next(lessons.batches(0))
        words = np.concatenate([answers.words[answers.first[i] : answers.first[i + 1]] for i in chosen])
        sentence = torch.from_numpy(answers.sentence[chosen].astype(np.float32))
        return losses(student, batch, sentence, torch.from_numpy(words.astype(np.float32)), recipe)["total"].item()

    before = loss()
    train(student, VOCABULARY, corpus, answers, held_out, dataclasses.replace(recipe, steps=15), tmp_path)
    train(student, VOCABULARY, corpus, answers, held_out, recipe, tmp_path)
    assert loss() < 0.5 * before
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()] == ["step", "15", "30"]


@pytest.mark.skipif(not MANIFEST.exists(), reason="the rigs' manifest.json is not beside the repository")
def test_nothing_that_is_measured_on_was_trained_on(tmp_path: Path) -> None:
    corpus = build_corpus(MANIFEST, tmp_path, seed=0)
    trained = {" ".join(words_of(text)) for text in [*corpus.domain, *corpus.general]}
    assert len(trained) > 50_000
    assert len(corpus.held_out) > 1000
    for text in [*corpus.held_out, *paraphrases()]:
        assert " ".join(words_of(text)) not in trained
    train_captions, held_out, actions = read_manifest(MANIFEST)
    assert not set(train_captions) & set(held_out)
    assert {"walk", "idle", "death"} <= set(actions)

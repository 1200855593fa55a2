"""The frame parser against anything at all."""

from __future__ import annotations

import base64
import struct
from itertools import pairwise

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.service.web.frames import Base64Reader, FrameReader, Refused, message_frame, trailers_frame
from animax.wire.failure import MalformedMessage
from tests.service.web_client import Answer, parse

LIMIT = 200
messages = st.lists(st.binary(max_size=LIMIT), max_size=6)
cuts = st.lists(st.integers(0, 400), max_size=12)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def read(parts: list[bytes]) -> list[bytes]:
    frames, found = FrameReader(LIMIT), []
    for part in parts:
        frames.feed(part)
        while (message := frames.next()) is not None:
            found.append(message)
    frames.end()
    return found


@given(messages, cuts)
def test_messages_survive_however_the_body_is_cut(sent: list[bytes], at: list[int]) -> None:
    assert read(pieces(b"".join(map(message_frame, sent)), at)) == sent


@given(messages, cuts, st.booleans())
def test_base64_survives_however_it_is_cut_and_padded(sent: list[bytes], at: list[int], apart: bool) -> None:
    frames = [message_frame(message) for message in sent]
    text = b"".join(map(base64.b64encode, frames)) if apart else base64.b64encode(b"".join(frames))
    reader = Base64Reader()
    assert read([reader.feed(part) for part in pieces(text, at)]) == sent
    reader.end()


@given(st.binary(max_size=600) | messages.map(lambda sent: b"".join(map(message_frame, sent)) + b"\x00"), cuts)
def test_any_bytes_are_messages_or_an_error_and_never_the_same_twice(data: bytes, at: list[int]) -> None:
    def outcome(parts: list[bytes]) -> object:
        try:
            return read(parts)
        except (MalformedMessage, Refused) as error:
            return type(error), str(error)

    assert outcome(pieces(data, at)) == outcome([data])


@given(st.binary(max_size=300), cuts)
def test_any_characters_are_base64_or_an_error(text: bytes, at: list[int]) -> None:
    reader = Base64Reader()
    try:
        found = b"".join(reader.feed(part) for part in pieces(text, at))
        reader.end()
    except MalformedMessage:
        return
    again = b"".join(base64.b64decode(text[i : i + 4], validate=True) for i in range(0, len(text), 4))
    assert found == again


@given(st.integers(1, 255), st.integers(0, 2**32 - 1))
def test_no_flag_and_no_length_over_the_limit_is_waited_for(flags: int, length: int) -> None:
    frames = FrameReader(LIMIT)
    frames.feed(struct.pack(">BI", flags, length))
    with pytest.raises((MalformedMessage, Refused)):
        frames.next()
    frames = FrameReader(LIMIT)
    frames.feed(struct.pack(">BI", 0, length))
    if length > LIMIT:
        with pytest.raises(Refused) as caught:
            frames.next()
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    else:
        assert (frames.next() is None) == (length > 0)


@given(st.sampled_from(grpc.StatusCode), st.text(max_size=80), st.binary(max_size=80))
def test_trailers_say_what_they_were_told(code: grpc.StatusCode, text: str, details: bytes) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        text = ""
    answer = Answer(200, {}, b"")
    parse(answer, trailers_frame(code, text, [("Grpc-Status-Details-Bin", details)]))
    assert (answer.code, answer.details) == (code.value[0], text)
    found = answer.trailers["grpc-status-details-bin"]
    assert base64.b64decode(found + "=" * (-len(found) % 4)) == details

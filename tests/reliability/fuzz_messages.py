"""Messages of every method of the contract, whatever is in them: strategies that are made from the descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from animax.v1 import animation_service_pb2, asset_service_pb2, job_service_pb2, retarget_service_pb2

MODULES = (animation_service_pb2, asset_service_pb2, job_service_pb2, retarget_service_pb2)
DEEPEST = 3
TEXTS = ("", "x", "../../etc/passwd", "/etc/passwd", "\0" * 64, "a" * 64, "0" * 32, "%00", "ü" * 300, "x" * 5000, "😀")
TYPES = FieldDescriptor
WHOLE = {
    TYPES.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    TYPES.CPPTYPE_UINT32: (0, 2**32 - 1),
    TYPES.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    TYPES.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@dataclass(frozen=True)
class Method:
    """A method of the contract: its path, whether its caller streams, and what it is called with."""

    path: str
    streams: bool
    message: Descriptor


def methods() -> Iterator[Method]:
    """All of them."""
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield Method(f"/{service.full_name}/{method.name}", method.client_streaming, method.input_type)


def messages(of: Descriptor, known: tuple[str, ...], deep: int = 0) -> st.SearchStrategy[Message]:
    """Messages with any of their fields set to anything.

    Args:
        of: their type.
        known: texts that mean something to the server, such as ids of what it has.
        deep: messages around it.
    """
    kind = GetMessageClass(of)
    fields = {
        field.name: values(field, known, deep)
        for field in of.fields
        if deep < DEEPEST or field.cpp_type != TYPES.CPPTYPE_MESSAGE
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: built(kind, given))


def built(kind: type[Any], given: dict[str, Any]) -> Message:
    """The message; of fields that exclude each other the last one stays."""
    message: Message = kind()
    for name, value in given.items():
        message.MergeFrom(kind(**{name: value}))
    return message


def values(field: FieldDescriptor, known: tuple[str, ...], deep: int) -> st.SearchStrategy[Any]:
    """Values of a field."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(one(key, known, deep), one(value, known, deep), max_size=3)
    if field.is_repeated:
        return st.lists(one(field, known, deep), max_size=5)
    return one(field, known, deep)


def one(field: FieldDescriptor, known: tuple[str, ...], deep: int) -> st.SearchStrategy[Any]:
    """One value."""
    kind = field.cpp_type
    if kind == TYPES.CPPTYPE_MESSAGE:
        return messages(field.message_type, known, deep + 1)
    if kind == TYPES.CPPTYPE_STRING:
        if field.type == TYPES.TYPE_BYTES:
            return st.binary(max_size=200) | st.just(b"glTF")
        return st.sampled_from((*known, *TEXTS)) | st.text(max_size=20)
    if kind == TYPES.CPPTYPE_ENUM:
        return st.integers(-2, 9)
    if kind == TYPES.CPPTYPE_BOOL:
        return st.booleans()
    if kind == TYPES.CPPTYPE_FLOAT:
        return st.floats(width=32) | st.sampled_from([0.0, 1.0, 30.0])
    if kind == TYPES.CPPTYPE_DOUBLE:
        return st.floats() | st.sampled_from([0.0, 1.0, 30.0, 1e308])
    return st.integers(*WHOLE[kind]) | st.integers(0, 4)


def harmed(data: bytes, edits: list[tuple[int, int]], cut: int | None) -> bytes:
    """Bytes with some of them changed, and an end missing."""
    changed = bytearray(data)
    for at, value in edits:
        if changed:
            changed[at % len(changed)] = value
    return bytes(changed if cut is None else changed[: cut % (len(changed) + 1)])


def bodies(method: Method, known: tuple[str, ...]) -> st.SearchStrategy[list[bytes]]:
    """What a method is called with: messages as they are, harmed ones, and bytes that never were one."""
    whole = messages(method.message, known).map(lambda message: message.SerializeToString())
    edits = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4)
    body = st.one_of(whole, whole, st.builds(harmed, whole, edits, st.none() | st.integers(0, 10_000)), st.binary())
    return st.lists(body, max_size=4) if method.streams else body.map(lambda data: [data])

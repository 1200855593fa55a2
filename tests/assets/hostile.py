"""Files made to do harm, and a program that feeds them to the reader and reports what they cost.

``python -m tests.assets.hostile`` prints one JSON line: how many files, outcomes by error, what was raised that
should not have been, the slowest file and its seconds, and the peak memory of the process in bytes.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from animax.assets import load_rig, read_clips
from animax.errors import AssetError, RigError
from tests.assets.glb_builder import CUBE, CUBE_TRIANGLES, Glb, arm, pack, split

NASTY: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    7,
    2**31,
    2**63,
    10**400,
    1e308,
    -1e308,
    0.5,
    "",
    "x" * 1000,
    "\ud800",
    [],
    {},
]
NASTY += [[[]], [-1], [1e308] * 16, [2**40], [{}], {"a": {"a": {}}}]


def changed_fields(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """A random value in place of a random field, anywhere in the document."""
    dice = random.Random(seed)
    source = arm().bytes()
    for i in range(count):
        root, binary, _ = split(source)
        for _ in range(dice.choice([1, 1, 2, 4])):
            target: Any = root
            while True:
                key = dice.choice(list(target) if isinstance(target, dict) else range(len(target)))
                inner = target[key]
                if isinstance(inner, (dict, list)) and inner and dice.random() < 0.85:
                    target = inner
                    continue
                target[key] = copy.deepcopy(dice.choice(NASTY))
                break
        yield f"field {i}", pack(root, binary)


def changed_bytes(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Flipped, cut and repeated bytes, in the JSON and in the binary chunk."""
    dice = random.Random(seed)
    source = arm().bytes()
    for i in range(count):
        content = bytearray(source)
        for _ in range(dice.choice([1, 3, 10, 50])):
            content[dice.randrange(len(content))] = dice.randrange(256)
        if dice.random() < 0.3:
            del content[dice.randrange(len(content)) :]
        yield f"bytes {i}", bytes(content)


def edited(change: Callable[[Glb], None]) -> bytes:
    glb = arm()
    change(glb)
    return glb.bytes()


STILL = {"sampler": 0, "target": {"node": 1, "path": "rotation"}}


def without_bytes(glb: Glb, accessor: int, **fields: Any) -> None:
    glb.json["accessors"][accessor].update(fields)
    del glb.json["accessors"][accessor]["bufferView"]


def repeated_primitive(glb: Glb) -> None:
    glb.json["meshes"][0]["primitives"] *= 200_000


def repeated_instances(glb: Glb) -> None:
    big = glb.mesh(np.tile(CUBE, (1000, 1)), CUBE_TRIANGLES)
    for _ in range(40_000):
        glb.node(mesh=big)


def large_textures(glb: Glb) -> None:
    import zlib

    row = zlib.compress(bytes(1 + 8192 * 3) * 8192, 1)
    header = struct.pack(">IIBBBBB", 8192, 8192, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", row), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    view = glb.view(png)
    for _ in range(900):
        texture = glb.entry("textures", source=glb.entry("images", bufferView=view))
        glb.entry("materials", pbrMetallicRoughness={"baseColorTexture": {"index": texture}})


def many_channels(glb: Glb) -> None:
    times = glb.accessor(np.linspace(0, 3000, 100_000))
    values = glb.accessor(np.tile([0.0, 0.0, 0.0, 1.0], (100_000, 1)))
    samplers = [{"input": times, "output": values}] * 5000
    channels = [{"sampler": i, "target": {"node": i % 4, "path": "rotation"}} for i in range(5000)]
    glb.json["animations"] = [{"name": str(i), "samplers": samplers, "channels": channels} for i in range(20)]


def handmade() -> Iterator[tuple[str, bytes]]:
    """Known ways to crash, stall or bloat a reader."""
    chain = [{"children": [i + 1]} for i in range(49_999)] + [{}]
    yield "50,000 deep", pack({"asset": {"version": "2.0"}, "nodes": chain}, None)
    yield "ring", pack({"asset": {"version": "2.0"}, "nodes": [*chain[:-1], {"children": [0]}]}, None)
    yield "deep json", pack(b'{"asset":' + b"[" * 5_000_000 + b"]" * 5_000_000 + b"}", None)
    yield "deep json in strings", pack(b'{"asset":"' + b'[\\"' * 3_000_000 + b'"}', None)
    yield "many tokens", pack(b'{"asset":[' + b"{}," * 10_000_000 + b"{}]}", None)
    yield "tokens at the limit", pack(b'{"a":[' + b'{"a":0},' * 1_400_000 + b"{}]}", None)
    yield "floats at the limit", pack(b'{"a":[' + b"0.5," * 2_900_000 + b"0]}", None)
    yield "backslashes", pack(b'{"a":"' + b"\\\\" * 30_000_000 + b'"}', None)
    yield "quotes", pack(b'{"a":' + b'"' * 60_000_000 + b"}", None)
    yield "long number", pack(b'{"a":' + b"9" * 10_000_000 + b"}", None)
    yield "100 MB of nothing", b"glTF" + struct.pack("<II", 2, 100_000_000) + bytes(99_999_988)
    yield "200 MB", bytes(200_000_000)
    yield (
        "long base64",
        pack(
            {
                "asset": {"version": "2.0"},
                "buffers": [{"byteLength": 9, "uri": "data:;base64," + "A" * 60_000_000 + "!"}],
            },
            None,
        ),
    )
    for number in range(6):
        yield f"huge accessor {number}", edited(lambda g, n=number: without_bytes(g, n, count=2**32))  # type: ignore[misc]
        yield f"large zeros {number}", edited(lambda g, n=number: without_bytes(g, n, count=1_999_999))  # type: ignore[misc]
    for key in ("materials", "skins", "meshes", "animations", "textures", "bufferViews", "accessors", "scenes"):
        yield f"million {key}", edited(lambda g, k=key: g.json[k].extend([{}] * 1_000_000) if k in g.json else None)  # type: ignore[misc]
    yield "million materials", edited(lambda g: g.json.update(materials=[{}] * 1_000_000))
    yield "million warnings", edited(lambda g: g.json["nodes"].extend([{"rotation": [0, 0, 0, 3]}] * 49_000))
    yield "400,000 channels", edited(lambda g: g.json["animations"][0].update(channels=[STILL] * 400_000))
    yield "49,000 channels", edited(lambda g: g.json["animations"][0].update(channels=[STILL] * 49_000))
    yield "long names", edited(lambda g: [n.update(name="aB" * 5_000_000) for n in g.json["nodes"]] and None)
    yield "huge byteLength", edited(lambda g: g.json.update(buffers=[{"byteLength": 2**62}]))
    yield "primitive 200,000 times", edited(repeated_primitive)
    yield "mesh 40,000 times", edited(repeated_instances)
    yield "900 large textures", edited(large_textures)
    yield "100,000 channels of 100,000 keys", edited(many_channels)
    yield (
        "long animation",
        edited(lambda g: g.json["animations"][0]["samplers"][0].update(input=g.accessor([0.0, 1.0, 1e37]))),
    )
    yield (
        "joints 3000",
        edited(lambda g: g.json["skins"].append({"joints": [g.node(name=str(i)) for i in range(3000)]})),
    )
    yield (
        "skins 1000 × 1000",
        edited(
            lambda g: (nodes := [g.node() for _ in range(1000)]) and g.json["skins"].extend([{"joints": nodes}] * 1000)
        ),
    )
    for value in (1e300, -1e300, 1e308, 5e-324, 1e200):
        for field in ("translation", "scale"):
            yield f"{field} {value}", edited(lambda g, f=field, v=value: g.json["nodes"][1].update({f: [v, v, v]}))  # type: ignore[misc]
    for value in (np.nan, np.inf, 3e38):
        yield (
            f"positions {value}",
            edited(
                lambda g, v=value: g.json["meshes"][0]["primitives"][0]["attributes"].update(  # type: ignore[misc]
                    POSITION=g.accessor(np.full((8, 3), v))
                )
            ),
        )
        yield (
            f"inverse binds {value}",
            edited(
                lambda g, v=value: g.json["skins"][0].update(inverseBindMatrices=g.accessor(np.full((2, 16), v)))  # type: ignore[misc]
            ),
        )
        yield (
            f"weights {value}",
            edited(
                lambda g, v=value: g.json["meshes"][0]["primitives"][0]["attributes"].update(  # type: ignore[misc]
                    WEIGHTS_0=g.accessor(np.full((8, 4), v))
                )
            ),
        )
    for path in ([], {}, [["rotation"]]):
        yield (
            f"path {path}",
            edited(lambda g, p=path: g.json["animations"][0]["channels"][0]["target"].update(path=p)),  # type: ignore[misc]
        )
    yield "no attributes under a skin", edited(lambda g: g.json["meshes"][0].update(primitives=[{}]))
    picture = base64.b64encode(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 200_000).decode()
    yield (
        "jpeg of markers",
        edited(
            lambda g: g.json.update(
                images=[{"uri": "data:image/jpeg;base64," + picture}],
                textures=[{"source": 0}],
                materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
            )
        ),
    )


def main() -> None:
    """See the module's docstring."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest, name_of_slowest, files = 0.0, "", 0
    for cases in (handmade(), changed_fields(1, 260), changed_bytes(2, 160)):
        for name, content in cases:
            started = time.process_time()
            try:
                rig = load_rig(content)
                read_clips(rig, 30)
                outcomes["read"] += 1
            except (AssetError, RigError) as error:
                outcomes[type(error).__name__] += 1
                if len(str(error)) > 500:
                    wrong.append(f"{name}: message of {len(str(error))} characters")
            except BaseException as error:  # whatever it is, it is what the test looks for
                wrong.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
            seconds = time.process_time() - started
            if seconds > slowest:
                slowest, name_of_slowest = seconds, name
            files += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    report = {
        "files": files,
        "outcomes": outcomes,
        "wrong": wrong,
        "slowest": slowest,
        "name": name_of_slowest,
        "peak": peak,
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()

"""Training on two processes: with copies of the network, and with the network sharded (FSDP)."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import webdataset  # noqa: E402

from animax_engine.wan.train import read_network  # noqa: E402
from tests.wan.small import SMALL  # noqa: E402

ROOT = Path(__file__).parents[2]
KINDS = {"ddp": "DistributedType.MULTI_CPU", "fsdp": "DistributedType.FSDP"}


def start(kind, cache, out):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "tests.wan.processes", kind, str(cache), str(out)]
    out.mkdir()
    return [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**shared, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of each kind of run, which trained both stages."""
    folder = tmp_path_factory.mktemp("processes")
    cache = folder / "cache"
    cache.mkdir()
    (cache / "cache.json").write_text(json.dumps({"size": 32, "tokens": 5}))
    generator = torch.Generator().manual_seed(0)
    for number in range(2):  # a shard for each process
        with webdataset.TarWriter(str(cache / f"shard-{number:05d}.tar")) as shard:
            for sample in range(4):
                shapes = {"rgb": (4, 3, 4, 4, 4), "pose": (4, 3, 4, 4, 4), "text": (3, 12), "rays": (4, 6, 4, 4)}
                arrays = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
                shard.write({"__key__": str(sample), **{f"{k}.npy": v.half().numpy() for k, v in arrays.items()}})
    for process in [process for kind in KINDS for process in start(kind, cache, folder / kind)]:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said[-2000:]
    return folder


def results(folder, kind):
    first, second = (json.loads((folder / kind / f"losses-{rank}.json").read_text()) for rank in range(2))
    assert first[0] == second[0] == KINDS[kind]
    return first[1:], second[1:]


def test_each_process_learns_from_samples_of_its_own(runs):
    first, second = results(runs, "ddp")
    assert len(first) == len(second) == 8  # two stages of four steps, none taken twice
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_a_sharded_network_learns_what_copies_of_it_learn(runs):
    """The losses of every step, and the merged network of each stage, also where the run was broken off between."""
    for copies, shards in zip(results(runs, "ddp"), results(runs, "fsdp"), strict=True):
        assert shards == pytest.approx(copies, rel=1e-5)
    for stage in "12":
        copies, shards = (read_network(runs / kind / stage, SMALL).state_dict() for kind in KINDS)
        for name, tensor in copies.items():
            torch.testing.assert_close(shards[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    fresh, trained = (read_network(runs / "fsdp" / stage, SMALL).state_dict() for stage in "12")
    changed = {name for name in fresh if not torch.equal(fresh[name], trained[name])}
    assert changed
    assert all("view_attn" in name or "ray_embedding" in name for name in changed)

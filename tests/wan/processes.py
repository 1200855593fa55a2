"""One of two processes of a training run: ``python -m tests.wan.processes ddp|fsdp CACHE OUT``, told by torchrun's
variables.

Both stages, each broken off after two steps and taken up again; the second goes on from the first's network.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from animax_engine.network import VideoPoseTransformer
from animax_engine.wan.train import read_network, train
from tests.wan.small import RECIPE, SMALL


def accelerator(kind: str) -> Accelerator:
    """Of two processes; accelerate offers FSDP where it believes to see GPUs, torch on CPUs as well."""
    if kind == "ddp":
        return Accelerator(cpu=True, mixed_precision="no")
    PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    return Accelerator(cpu=True, mixed_precision="no", fsdp_plugin=plugin)


def main(kind: str, cache: Path, out: Path) -> None:
    torch.set_num_threads(1)
    used = accelerator(kind)
    assert used.num_processes == 2
    losses = []
    for stage in (1, 2):
        folder = out / str(stage)
        for steps in (2, 4):
            torch.manual_seed(0)
            network = VideoPoseTransformer(SMALL) if stage == 1 else read_network(out / "1", SMALL)
            made = train(network, cache, folder, replace(RECIPE, stage=stage), steps=steps, batch=2, accelerator=used)
            losses += made
            used.free_memory()
    (out / f"losses-{used.process_index}.json").write_text(json.dumps([str(used.distributed_type), *losses]))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))

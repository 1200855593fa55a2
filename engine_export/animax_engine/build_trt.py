"""TensorRT engines of a model, built before a server needs them: ``animax serve --provider tensorrt`` takes these."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from animax.diffusion.engine import LARGE_BATCH, MAX_BATCH, USUAL_BATCH, build_engines, engine_precision, largest_batch
from animax.diffusion.manifest import read_manifest
from animax.diffusion.registry import model_folder
from animax.diffusion.tensorrt_cache import PRECISIONS, VARIABLE, EngineCache, EngineKey, this_device


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: ``animax-engine build-trt MODEL``."""
    parser = argparse.ArgumentParser(prog="animax-engine build-trt", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="name or folder of a model")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the denoiser (default: that of its stored weights)")
    parser.add_argument(
        "--min-batch", type=int, default=1, metavar="N", help="samples in a call (default: %(default)s)"
    )
    parser.add_argument(
        "--opt-batch", type=int, metavar="N", help=f"that it is fastest for (default: {USUAL_BATCH}, or the largest)"
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        metavar="N",
        help=f"at most (default: {MAX_BATCH['tensorrt']}; of a network behind a VAE {LARGE_BATCH})",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help=f"(default: ${VARIABLE}, or the user's caches)")
    parser.add_argument("--anew", action="store_true", help="build also what is there already")
    args = parser.parse_args(argv)
    folder = model_folder(args.model)
    manifest = read_manifest(folder)
    manifest.verify(folder)
    device, cache = this_device(), EngineCache(args.cache)
    most = args.max_batch
    if most is None:
        most = largest_batch("tensorrt", large=manifest.video is not None)
    usual = min(USUAL_BATCH, most) if args.opt_batch is None else args.opt_batch
    for graph in manifest.graphs:
        precision = engine_precision(manifest.precision_of(graph))
        batch = (1, 1, 1)  # of a VAE and a prompt's encoder, as the server calls them
        if graph == manifest.file:
            precision, batch = args.precision or precision, (args.min_batch, usual, most)
        key = EngineKey(manifest.digest(graph), device, precision, batch)
        told = f"{manifest.name}, {graph} for {device.gpu}, TensorRT {device.tensorrt}, {precision}, batch {batch}"
        print(f"{told}: this may take minutes", flush=True)
        began = time.monotonic()
        built = build_engines(folder / graph, key, cache, anew=args.anew)
        print(f"built in {time.monotonic() - began:.0f} s" if built else "there already", flush=True)
    return 0

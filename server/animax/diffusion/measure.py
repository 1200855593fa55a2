"""What a denoising step costs on this CPU, by engine settings and batch: ``python -m animax.diffusion.measure``."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from animax.diffusion.batching import StepBatcher
from animax.diffusion.engine import OnnxDenoiser, OnnxGraph, default_threads, input_shapes
from animax.diffusion.model import load_model
from animax.diffusion.registry import model_folder
from animax.diffusion.sampler import Denoiser, Latents

BATCHES = (1, 2, 4, 8)


def example(network: Path, batch: int, seed: int = 0) -> list[Latents]:
    """Random inputs of a network, in its order, which is that of a ``Denoiser``'s arguments."""
    random = np.random.default_rng(seed)
    fixed = [[size for size in shape if isinstance(size, int)] for shape in input_shapes(network).values()]
    return [random.random((batch, *shape), np.float32) for shape in fixed]


def settings(path: Path, threads: int) -> dict[str, Denoiser]:
    """Ways to run one guided step, which is two samples."""
    ways: dict[str, Denoiser] = {
        "one call of 2, all cores": OnnxDenoiser(OnnxGraph(path, threads=threads)),
        "one call of 2, all cores, spinning": OnnxDenoiser(OnnxGraph(path, threads=threads, spinning=True)),
        "one call of 2, one core": OnnxDenoiser(OnnxGraph(path, threads=1)),
    }
    if threads > 1:
        ways["2 lanes of 1, cores shared out"] = StepBatcher(OnnxDenoiser(OnnxGraph(path, threads=threads - 1)), 1, 2)
        ways["2 lanes of 1, all cores for both"] = StepBatcher(OnnxDenoiser(OnnxGraph(path, threads=threads)), 1, 2)
        ways["2 lanes of 1, all cores, spinning"] = StepBatcher(
            OnnxDenoiser(OnnxGraph(path, threads=threads, spinning=True)), 1, 2
        )
    return ways


def timed(calls: dict[str, Callable[[], object]], repeat: int) -> dict[str, tuple[float, float]]:
    """Median wall and processor milliseconds of each, taken in turns so that a busy moment meets all."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeat + 1):
        for name, call in calls.items():
            began, used = time.perf_counter(), time.process_time()
            call()
            if turn:  # the first one warms up
                wall[name].append(1e3 * (time.perf_counter() - began))
                processor[name].append(1e3 * (time.process_time() - used))
    return {name: (statistics.median(wall[name]), statistics.median(processor[name])) for name in calls}


@contextmanager
def neighbour() -> Iterator[None]:
    """Another process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m animax.diffusion.measure", description=__doc__)
    parser.add_argument("--model", default="embedded", metavar="NAME")
    parser.add_argument("--repeat", type=int, default=15, metavar="N")
    options = parser.parse_args(arguments)
    model, threads = load_model(options.model, provider="cpu"), default_threads()
    network = model_folder(options.model) / model.manifest.file
    values = example(network, max(BATCHES))

    ways = settings(network, threads)
    pair = [array[:2] for array in values]
    calls: dict[str, Callable[[], object]] = {name: lambda way=way: way(*pair) for name, way in ways.items()}  # type: ignore[misc]
    quiet = timed(calls, options.repeat)
    with neighbour():
        busy = timed(calls, options.repeat)
    say(f"model {model.name}, {threads} cores; milliseconds, median of {options.repeat}")
    say("\nguided step                          alone: wall  processor   beside a busy process: wall  processor")
    for name in ways:
        say(f"{name:<36} {quiet[name][0]:>11.1f} {quiet[name][1]:>10.1f} {busy[name][0]:>29.1f} {busy[name][1]:>10.1f}")

    one = OnnxDenoiser(OnnxGraph(network, threads=1))
    sizes = timed({str(b): lambda b=b: one(*(a[:b] for a in values)) for b in BATCHES}, options.repeat)  # type: ignore[misc]
    singles = [one(*(array[i : i + 1] for array in values)) for i in range(max(BATCHES))]
    say("\nbatch   processor per sample   largest difference from running alone")
    for batch in BATCHES:
        together = one(*(array[:batch] for array in values))
        off = max(float(np.abs(together[k][i] - singles[i][k][0]).max()) for i in range(batch) for k in (0, 1))
        say(f"{batch:>5} {sizes[str(batch)][1] / batch:>22.1f} {off:>39.1e}")

    with ThreadPoolExecutor(2) as pool:
        apart = timed(
            {"": lambda: list(pool.map(lambda i: one(*(a[i : i + 1] for a in values)), (0, 1)))}, options.repeat
        )
    say(f"\ntwo samples on two cores at once take {apart[''][0] / sizes['1'][0]:.2f} of one sample's time")


def say(line: str) -> None:
    """Print."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

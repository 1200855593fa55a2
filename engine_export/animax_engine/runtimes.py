"""``animax-engine runtimes``: what one call of a model's network costs on this CPU, by runtime, precision and threads.

All ways are timed in turns, in one process, so that a busy moment meets all of them; what counts is the ratio. OpenVINO
takes part where it is installed (`pip install openvino`).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from animax.cli.options import positive
from animax.diffusion.engine import default_threads
from animax_engine.export import example_inputs, in_precision, inputs_of, read_network, save_graph, to_onnx

Values = dict[str, NDArray[np.float32]]
Call = Callable[[Values], list[NDArray[np.float32]]]
LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""Graph optimisation of ONNX Runtime."""
REFERENCE = "ONNX Runtime fp32, 1 thread"


def onnx_call(path: Path, threads: int, level: str = "all") -> Call:
    """By ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda values: session.run(None, values)


def openvino_call(path: Path, threads: int, precision: str) -> Call:
    """By OpenVINO, computing in ``precision`` (f32, or bf16 where the processor has it)."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(path, "CPU", settings)
    return lambda values: [compiled(values)[output] for output in compiled.outputs]


def ways(folder: Path, graph: object, threads: int) -> Iterator[tuple[str, Call]]:
    """Every way to run ``graph`` here, by name; files go to ``folder``."""
    counts = sorted({1, threads})
    for precision in ("fp32", "fp16", "int8"):
        path = folder / f"{precision}.onnx"
        save_graph(in_precision(graph, precision), path)  # type: ignore[arg-type]
        for count in counts:
            yield f"ONNX Runtime {precision}, {told(count)}", onnx_call(path, count)
    for level in ("off", "basic"):
        yield f"ONNX Runtime fp32, 1 thread, optimisation {level}", onnx_call(folder / "fp32.onnx", 1, level)
    try:
        import openvino
    except ImportError:
        return
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for kind, capability in (("f32", "FP32"), ("bf16", "BF16")):
        for count in counts if capability in able else ():
            yield f"OpenVINO {kind}, {told(count)}", openvino_call(folder / "fp32.onnx", count, kind)


def told(threads: int) -> str:
    """``2 threads``."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def compare(source: Path, repeat: int, threads: int) -> list[str]:
    """The table in Markdown: milliseconds, ratio to ``REFERENCE``, largest relative difference from it."""
    network, frames = read_network(source)
    values: Values = example_inputs(network.config, frames, batch=1, seed=1)
    values = {name: values[name] for name in inputs_of(network.config)}
    with tempfile.TemporaryDirectory() as scratch:
        calls = dict(ways(Path(scratch), to_onnx(network, frames), threads))
        times: dict[str, list[float]] = {name: [] for name in calls}
        made = {name: call(values) for name, call in calls.items()}  # warms up too
        for _ in range(repeat):
            for name, call in calls.items():
                began = time.perf_counter()
                call(values)
                times[name].append(1e3 * (time.perf_counter() - began))
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    rows = ["| way | ms a sample | of the first | difference |", "|---|---|---|---|"]
    for name in calls:
        pairs = zip(made[name], made[REFERENCE], strict=True)
        off = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
        rows.append(f"| {name} | {middle[name]:.1f} | {middle[name] / middle[REFERENCE]:.2f} | {off:.0e} |")
    return rows


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine runtimes MODEL``."""
    parser = argparse.ArgumentParser(prog="animax-engine runtimes", description=__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model's name or folder, or a checkpoint")
    parser.add_argument("--repeat", type=positive, default=15, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--threads", type=positive, default=default_threads(), metavar="N", help="beside 1 (default: all)"
    )
    args = parser.parse_args(argv)
    print("\n".join(compare(args.model, args.repeat, args.threads)))

"""``animax bench``: what a clip costs on this machine, in this process and over gRPC."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animax.cli.options import add_engine, add_request, engine_of, existing_file, new_command, positive, request_of
from animax.cli.progress import ProgressDisplay
from animax.cli.status import DONE
from animax.errors import EngineError, UnavailableError

if TYPE_CHECKING:
    from animax.client import Client
    from animax.request import Request

EXAMPLES = """\
  animax bench
  animax bench hero.glb --concurrency 1 8 --seconds 4
  animax bench --batching --repeat 5
  animax bench --json > bench.json
"""
START_SECONDS = 300.0
"""What a server gets to become ready: an engine may have to be built."""


@dataclass(frozen=True)
class Call:
    """One request over gRPC, in seconds from its start."""

    first_frame: float
    end: float


def timed_call(client: Client, rig_id: str, request: Request) -> Call:
    """Make one request and read it to its end."""
    began, first_frame = time.perf_counter(), 0.0
    with client.animate(rig_id, request) as stream:
        for event in stream:
            if not first_frame and type(event).__name__ == "Frames":
                first_frame = time.perf_counter() - began
    return Call(first_frame, time.perf_counter() - began)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "bench", "measure what a clip costs on this machine", EXAMPLES)
    parser.add_argument(
        "rig", metavar="RIG", nargs="?", type=existing_file, help="a rigged .glb (default: a made-up quadruped)"
    )
    parser.add_argument("--prompt", default="walks forward", help="what the rig shall do (default: %(default)r)")
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=positive,
        nargs="+",
        help="requests at a time over gRPC (default: 1 2 4)",
    )
    parser.add_argument(
        "--repeat", metavar="N", type=positive, default=3, help="warm clips per measurement (default: %(default)d)"
    )
    parser.add_argument(
        "--batching",
        action="store_true",
        help="compare servers that share denoising steps with servers that do not, at 1 2 4 8 16 requests at a time "
        "(or those of --concurrency)",
    )
    parser.add_argument("--json", action="store_true", help="report as JSON on stdout")
    add_request(parser)
    add_engine(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, report."""
    request = request_of(options, options.prompt)
    if options.batching:
        from animax.cli import bench_batching

        return bench_batching.run(options, request)
    with ProgressDisplay() as display:
        alone = in_process(options, request, display)
        served = []
        for concurrency in options.concurrency or (1, 2, 4):
            display.show(f"over gRPC, {concurrency} at a time")
            served.append(over_grpc(options, request, concurrency))
    report = {**alone, "server": served}
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))
    return DONE


def in_process(options: argparse.Namespace, request: Request, display: ProgressDisplay) -> dict[str, Any]:
    """Cold start, first clip and warm clips in this very process."""
    timings: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        display.show(name.replace("_", " "))
        began = time.perf_counter()
        yield
        timings[name] = time.perf_counter() - began

    with timed("import"):
        from animax.assets import load_rig
        from animax.diffusion.model import load_model
        from animax.pipeline import animate
    with timed("read_rig"):
        rig = load_rig(rig_bytes(options.rig), name=options.rig.stem if options.rig else "quadruped")
    with timed("load_model"):
        model = load_model(**engine_of(options))
    with timed("warm_up"):
        model.warm_up()
    with timed("first_clip"):
        animate(rig, request, model)
    warm = []
    for repeat in range(options.repeat):
        with timed("warm_clip"):
            made = animate(rig, replace(request, seed=request.seed + 1 + repeat), model)
        warm.append((timings.pop("warm_clip"), made.timings))
    timings["warm_clip"] = statistics.median(seconds for seconds, _ in warm)
    return {
        "rig": rig.name,
        "joints": len(rig.skeleton),
        "vertices": len(rig.mesh.positions),
        "request": {**request.as_dict(), "root_mode": request.root_mode.value},
        "model": {"name": model.name, "sha256": model.sha256, "provider": model.provider},
        "cores": os.cpu_count(),
        "seconds": timings,
        "stages": {stage: statistics.median(stages[stage] for _, stages in warm) for stage in warm[0][1]},
        "peak_mib": peak_mib(os.getpid()),
    }


def over_grpc(options: argparse.Namespace, request: Request, concurrency: int) -> dict[str, Any]:
    """A server process of its own, asked by ``concurrency`` clients at once, ``repeat`` times each."""
    from animax.client import Client

    data = rig_bytes(options.rig)
    slots = ("--slots", str(concurrency))
    with server(options, *slots) as started, Client(started.address) as client:
        rig_id = client.upload(data).rig_id

        def call(seed: int) -> Call:
            return timed_call(client, rig_id, replace(request, seed=seed))

        calls: list[Call] = []
        began = time.perf_counter()
        with ThreadPoolExecutor(concurrency) as threads:
            for round_ in range(options.repeat):
                calls += threads.map(call, range(round_ * concurrency, (round_ + 1) * concurrency))
        took = time.perf_counter() - began
        peak = peak_mib(started.process.pid)
    return {
        "concurrency": concurrency,
        "ready_seconds": started.ready_seconds,
        "first_frame_seconds": statistics.median(call.first_frame for call in calls),
        "first_frame_worst_seconds": max(call.first_frame for call in calls),
        "clip_seconds": statistics.median(call.end for call in calls),
        "clips_per_minute": 60 * len(calls) / took,
        "peak_mib": peak,
    }


@dataclass(frozen=True)
class Started:
    """A warm server.

    Attributes:
        address: of its gRPC port.
        process: of its own.
        ready_seconds: until it was ready.
        url: of its status page; empty without one.
    """

    address: str
    process: subprocess.Popen[str]
    ready_seconds: float
    url: str = ""


@contextmanager
def server(options: argparse.Namespace, *more: str) -> Iterator[Started]:
    """A warm server on a free port.

    Args:
        options: of this command.
        more: options of ``animax serve``.
    """
    from animax.client import Client

    command = [sys.executable, "-m", "animax", "serve", "--port", "0", "--no-jobs", "--log-level", "error"]
    for name in ("model", "provider", "threads"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name}", str(value)]
    command += more
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("listening on").strip()
        if not address:
            raise EngineError(f"the server ended with status {process.wait()} before it listened")
        url = process.stdout.readline().removeprefix("status on").strip() if "--metrics-port" in more else ""
        with Client(address) as client:
            while not client.capabilities().ready:
                if time.perf_counter() - began > START_SECONDS:
                    raise UnavailableError(f"the server was not ready after {START_SECONDS:g} s", reason="NOT_READY")
                time.sleep(0.02)
        yield Started(address, process, time.perf_counter() - began, url)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def rig_bytes(path: Path | None) -> bytes:
    """The rig to measure with."""
    if path is not None:
        return path.read_bytes()
    from animax.procedural import generate

    return generate("quadruped", motions=False)


def peak_mib(process: int) -> float | None:
    """Peak resident memory of a process in MiB; None where the system does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text("utf-8")
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), None)


def lines(report: dict[str, Any]) -> list[str]:
    """A report for people."""
    request, model, seconds = report["request"], report["model"], report["seconds"]
    speed = request["seconds"] / seconds["warm_clip"]
    out = [
        f"{report['rig']}: {report['joints']} joints, {report['vertices']} vertices; {request['seconds']:g} s at "
        f"{request['fps']:g} fps; model {model['name']} on {model['provider']}, {report['cores']} cores",
        "",
        "in process                    seconds",
    ]
    out += [f"  {name.replace('_', ' '):<24} {taken:>10.3f}" for name, taken in seconds.items() if name != "warm_clip"]
    out.append(f"  {'warm clip':<24} {seconds['warm_clip']:>10.3f}   {speed:.1f} × real time")
    out += [f"    {stage:<22} {taken:>10.3f}" for stage, taken in report["stages"].items()]
    out.append(f"  peak memory              {mib(report['peak_mib']):>10} MiB")
    if report["server"]:
        out += ["", "over gRPC   ready   first frame   worst    clip   clips/min   peak MiB"]
        out += [
            f"{row['concurrency']:>9} {row['ready_seconds']:>7.2f} {row['first_frame_seconds']:>13.3f} "
            f"{row['first_frame_worst_seconds']:>7.3f} {row['clip_seconds']:>7.3f} {row['clips_per_minute']:>11.1f} "
            f"{mib(row['peak_mib']):>10}"
            for row in report["server"]
        ]
    return out


def mib(value: float | None) -> str:
    """A size, or that it is not known."""
    return "unknown" if value is None else f"{value:.0f}"

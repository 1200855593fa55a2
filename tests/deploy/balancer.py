"""nginx with the configuration of deploy/, before two servers on one store; everything on loopback.

    python -m tests.deploy.balancer [--streams 200]

spreads streams and jobs over both, ends one of the two under load, and prints what came of it.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from animax.client import Client
from animax.errors import Cancelled, UnavailableError
from animax.wire.jobs import state_name
from tests.deploy.files import DEPLOY
from tests.service.chain_glb import chain_glb
from tests.service.jobs.process import Process, process
from tests.service.scrape import fetch

SOURCE = "Debian and Ubuntu: apt install nginx-light"
ANIMATE = "animax.v1.AnimationService/Animate"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Replica:
    """One server behind the balancer."""

    process: Process
    metrics_port: int
    web_port: int

    def count(self, name: str, **labels: str) -> float:
        """A counter of its own."""
        text = fetch(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@dataclass
class Farm:
    """Two replicas and the balancer's ports."""

    port: int
    web_port: int
    replicas: list[Replica] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


def configuration(folder: Path, farm: Farm, web_and_grpc: list[tuple[str, str]]) -> Path:
    """deploy/nginx.conf with this machine's ports, and its files in ``folder``."""
    text = (DEPLOY / "nginx.conf").read_text()
    for name, (grpc, web) in zip(("server-a", "server-b"), web_and_grpc, strict=True):
        assert text.count(f"server {name}:50051") == text.count(f"server {name}:8080") == 1
        text = text.replace(f"server {name}:50051", f"server 127.0.0.1:{grpc}")
        text = text.replace(f"server {name}:8080", f"server 127.0.0.1:{web}")
    text = text.replace("listen 50051", f"listen 127.0.0.1:{farm.port}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{farm.web_port}")
    path = folder / "nginx.conf"
    path.write_text(text.replace("/tmp/", f"{folder}/"))
    return path


@contextmanager
def farm(folder: Path, nginx: str, database: str | None = None, *options: str) -> Iterator[Farm]:
    """Replicas and balancer, gone with the context."""
    places = ["--database", database or f"sqlite:///{folder / 'jobs.db'}", "--blobs", f"file://{folder / 'blobs'}"]
    with ExitStack() as stack:
        made = Farm(free_port(), free_port())
        for _ in range(2):
            ports = free_port(), free_port()
            own = ["--metrics-port", str(ports[0]), "--web-port", str(ports[1])]
            made.replicas.append(Replica(stack.enter_context(process(*places, *own, *options)), *ports))
        addresses = [(replica.process.port, str(replica.web_port)) for replica in made.replicas]
        path = configuration(folder, made, addresses)
        command = [nginx, "-c", str(path), "-e", "stderr", "-g", "daemon off;"]
        with (folder / "nginx.log").open("w") as log:
            balancer = subprocess.Popen(command, stderr=log)
        stack.callback(balancer.wait)
        stack.callback(balancer.terminate)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", made.port)) == 0:
                    break
            assert balancer.poll() is None, (folder / "nginx.log").read_text()
            time.sleep(0.05)
        yield made


@dataclass
class Outcome:
    """What a load saw."""

    finished: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    longest_wait: float = 0.0


def load(target: str, rig_id: str, streams: int, clients: int, stop: threading.Event | None = None) -> Outcome:
    """Streams from several clients at a time. Whoever is refused with RetryInfo waits as it says and tries again."""
    outcome, lock = Outcome(), threading.Lock()
    left = iter(range(streams))

    def one() -> None:
        with Client(target) as client:
            while not (stop is not None and stop.is_set()):
                with lock:
                    if next(left, None) is None:
                        return
                began = time.monotonic()
                while True:
                    try:
                        client.animate(rig_id, "walks").collect()
                    except (UnavailableError, Cancelled) as error:
                        # CANCELLED that nobody asked for: gRPC's answer to a call that comes in the moment in which the
                        # port closes; no handler has seen it
                        reason = error.reason or "balancer" if isinstance(error, UnavailableError) else "CANCELLED"
                        with lock:
                            outcome.refused[reason] += 1
                        time.sleep((isinstance(error, UnavailableError) and error.retry_after) or 0.2)
                        if time.monotonic() - began < 60:
                            continue
                    except Exception as error:
                        with lock:
                            outcome.lost[f"{type(error).__name__}: {error}"[:120]] += 1
                    else:
                        with lock:
                            outcome.finished += 1
                            outcome.longest_wait = max(outcome.longest_wait, time.monotonic() - began)
                    break

    with ThreadPoolExecutor(clients) as threads:
        for task in [threads.submit(one) for _ in range(clients)]:
            task.result()
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    given = parser.parse_args()
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        sys.exit(f"nginx is not installed ({SOURCE})")
    with tempfile.TemporaryDirectory() as name, farm(Path(name), nginx, None, "--drain", "1", "--slots", "4") as made:
        with Client(made.target) as client:
            rig_id = client.upload(chain_glb()).rig_id
        began = time.monotonic()
        calm = load(made.target, rig_id, given.streams, 4)
        took = time.monotonic() - began
        shares = [replica.count("animax_requests_total", method=ANIMATE, code="OK") for replica in made.replicas]
        print(f"streams                {calm.finished} in {took:.1f} s, lost {sum(calm.lost.values())}")
        print(f"by server              {shares[0]:.0f} and {shares[1]:.0f}")
        with Client(made.target) as client:
            orders = [client.create_job(rig_id, f"{i}").job_id for i in range(20)]
            states = Counter(state_name(list(client.watch_job(order))[-1]) for order in orders)
            print(f"jobs                   {dict(states)}")
        for word, end in (("SIGTERM to one", "terminate"), ("SIGKILL to it", "kill")):
            first = made.replicas[0]
            ending = threading.Timer(1.0, getattr(first.process, end))
            ending.start()
            outcome = load(made.target, rig_id, given.streams, 4)
            ending.join()
            print(
                f"{word:<22} {outcome.finished} of {given.streams} finished, lost {dict(outcome.lost)}, "
                f"refused {dict(outcome.refused)}, longest {outcome.longest_wait:.1f} s"
            )
            made.replicas.reverse()
            if end == "terminate":
                own = ["--metrics-port", str(first.metrics_port), "--web-port", str(first.web_port)]
                places = ["--database", f"sqlite:///{name}/jobs.db", "--blobs", f"file://{name}/blobs"]
                first.process = Process(*places, *own, "--slots", "4", "--port", first.process.port)
                time.sleep(6)  # nginx takes it in again
        for replica in made.replicas:
            if replica.process._process.poll() is None:
                replica.process.kill()


if __name__ == "__main__":
    main()

"""``animax batch``: all clips of a manifest, in this process or on a server; may be killed and begun again."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from animax.cli.interruption import Interruption
from animax.cli.journal import Journal
from animax.cli.manifest import Row, read_manifest
from animax.cli.options import add_engine, engine_of, existing_file, new_command, positive
from animax.cli.outputs import clip_content
from animax.cli.progress import ProgressDisplay
from animax.cli.server_options import add_server, check_local, connection_of, in_words
from animax.cli.status import DONE, FAILED, MISUSED
from animax.errors import (
    AnimaxError,
    BusyError,
    Cancelled,
    ResultExpiredError,
    ServiceError,
    StreamError,
    UnavailableError,
    UnknownRigError,
)

if TYPE_CHECKING:
    from animax.client import Client
    from animax.wire.stream import Result

EXAMPLES = """\
  animax batch clips.csv                             in this process, one after the other
  animax batch clips.jsonl --server farm:50051       on a server that keeps jobs, many at a time
  animax batch clips.csv --dry-run                   only say what would be made

clips.csv:
  rig,prompt,output,seconds,loop
  hero.glb,waves hello,out/wave.glb,2,
  fox.glb,runs fast,out/run.glb;out/run.bvh,1.5,true

columns: rig, prompt, output (several: a;b, in JSON a list), seconds, fps, seed, loop, root_mode, guidance, steps,
foot_cleanup, facing. Paths are relative to the manifest. What was made is kept in MANIFEST.journal: begun again, a
batch goes on where it was, and tries what failed once more.
"""
T = TypeVar("T")
FIRST_PAUSE, LAST_PAUSE = 0.5, 15.0
"""Seconds between attempts to reach a server."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "batch", "make all clips of a manifest", EXAMPLES)
    parser.add_argument("manifest", metavar="MANIFEST", type=existing_file, help="a .csv or .jsonl file")
    add_server(parser, default=None, help="let a server do it")
    parser.add_argument(
        "--parallel", metavar="N", type=positive, default=16, help="jobs on the server at a time (default: 16)"
    )
    parser.add_argument(
        "--patience",
        metavar="S",
        type=float,
        default=600.0,
        help="seconds to wait for a server that is away or full (default: %(default)g)",
    )
    parser.add_argument(
        "--journal", metavar="FILE", type=Path, help="keeps what was made, to go on from (default: MANIFEST.journal)"
    )
    parser.add_argument("--dry-run", action="store_true", help="check the manifest and say what would be made")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first clip that cannot be made")
    add_engine(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make what is missing, report."""
    check_local(options)
    rows, problems = read_manifest(options.manifest)
    for problem in problems:
        print(f"animax: {options.manifest.name} {problem}", file=sys.stderr)
    if problems:
        return MISUSED
    path = options.journal or options.manifest.with_name(options.manifest.name + ".journal")
    if options.dry_run:
        return plan(rows, path)
    with Journal(path) as journal:
        missing = [row for row in rows if not journal.is_done(row)]
        failed = make(options, journal, missing, len(rows))
    made = len(missing) - failed
    print(f"{made} made, {failed} failed, {len(rows) - len(missing)} were there already")
    return FAILED if failed else DONE


def plan(rows: Sequence[Row], path: Path) -> int:
    """Say what would be made."""
    done = set()
    if path.exists():
        with Journal(path) as journal:
            done = {row.line for row in rows if journal.is_done(row)}
    for row in rows:
        files = ", ".join(str(output) for output in row.outputs)
        state = "there  " if row.line in done else "to make"
        print(f"{state}  {files}: {row.rig.name}, {row.request.prompt!r}, {row.request.seconds:g} s")
    seconds = sum(row.request.seconds for row in rows if row.line not in done)
    print(f"{len(rows) - len(done)} of {len(rows)} to make, {seconds:g} s of motion, {len({r.rig for r in rows})} rigs")
    return DONE


def make(options: argparse.Namespace, journal: Journal, rows: Sequence[Row], total: int) -> int:
    """Make rows; returns how many failed."""
    failed = 0
    began = time.monotonic()
    with ProgressDisplay() as display, Interruption() as interruption:

        def show(done: int) -> None:
            took = time.monotonic() - began
            made = done - failed
            rate = f", {60 * made / took:.1f} a minute" if made and took > 1 else ""
            display.show(
                f"{total - len(rows) + made}/{total} made{f', {failed} failed' if failed else ''}{rate}",
                (total - len(rows) + done) / max(total, 1),
            )

        show(0)
        outcomes = on_server if options.server else in_process
        for done, (row, error) in enumerate(outcomes(options, journal, rows, interruption), 1):
            if error is not None:
                failed += 1
                if not isinstance(error, ServiceError):  # then nobody knows, and the order must keep its id
                    journal.failed(row, str(error))
                display.clear()
                print(f"animax: {options.manifest.name} line {row.line}: {error}", file=sys.stderr)
                if options.fail_fast:
                    break
            show(done)
        if interruption():
            raise Cancelled("interrupted")
    return failed


Outcomes = Iterator[tuple[Row, AnimaxError | None]]


def in_process(
    options: argparse.Namespace, journal: Journal, rows: Sequence[Row], interruption: Interruption
) -> Outcomes:
    """Rows as they are done, one after the other."""
    from animax.assets import load_rig
    from animax.diffusion.model import load_model
    from animax.pipeline import animate

    model = load_model(**engine_of(options))
    rig_of = lru_cache(maxsize=4)(load_rig)
    for row in rows:
        try:
            rig = rig_of(row.rig, facing=row.facing or None)
            made = animate(rig, row.request, model, should_stop=interruption)
            journal.deliver(row, {path: clip_content(path, rig, made.clip) for path in row.outputs})
            yield row, None
        except Cancelled:
            return
        except AnimaxError as error:
            yield row, error


def on_server(
    options: argparse.Namespace, journal: Journal, rows: Sequence[Row], interruption: Interruption
) -> Outcomes:
    """Rows as they are done, many at a time. Jobs go on when this is interrupted; begun again, it fetches them."""
    from animax.client import Client

    stopping = threading.Event()
    with ExitStack() as stack:
        # left in the other order: a closed connection ends the calls that threads wait in
        threads = stack.enter_context(ThreadPoolExecutor(options.parallel))
        client = stack.enter_context(Client(options.server, **connection_of(options)))
        farm = Farm(client, journal, options.model or "", options.patience, lambda: stopping.is_set() or interruption())
        stack.callback(stopping.set)
        waiting = list(reversed(rows))
        running: dict[Future[None], Row] = {}
        while waiting or running:
            while waiting and len(running) < options.parallel:
                row = waiting.pop()
                running[threads.submit(farm.make, row)] = row
            for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                row, error = running.pop(future), future.exception()
                if isinstance(error, Cancelled) and interruption():
                    continue
                if error is not None and not isinstance(error, AnimaxError):
                    raise error
                yield row, in_words(error, options) if isinstance(error, UnavailableError) else error
            if interruption():
                return


class Farm:
    """Rows on a server. An order is repeated under one request id until it is known to have arrived, so that whatever
    dies in between, it is made once."""

    def __init__(
        self, client: Client, journal: Journal, model: str, patience: float, should_stop: Callable[[], bool]
    ) -> None:
        self._client = client
        self._journal = journal
        self._model = model
        self._patience = patience
        self._should_stop = should_stop

    def make(self, row: Row) -> None:
        """Order, wait, fetch, write.

        Raises:
            AnimaxError: it cannot be made.
            Cancelled: asked to stop; the job goes on.
        """
        from animax.assets import write_npz

        files = sorted({path.suffix[1:].lower() for path in row.outputs} & {"glb", "bvh"})
        job_id = self._insist(lambda: self._order(row))
        self._insist(lambda: self._wait(job_id))
        result = self._insist(lambda: self._fetch(row, job_id, files))
        contents = {}
        for path in row.outputs:
            suffix = path.suffix[1:].lower()
            made = write_npz(result.skeleton, result.clip) if suffix == "npz" else result.files[0][suffix]
            contents[path] = made
        self._journal.deliver(row, contents)

    def _order(self, row: Row) -> str:
        labels = {"batch": self._journal.batch, "line": str(row.line)}
        request_id = self._journal.request_id(row)
        facing = row.facing or None
        try:
            return self._client.create_job(
                row.rig_sha256, row.request, request_id=request_id, facing=facing, labels=labels, model=self._model
            ).job_id
        except UnknownRigError:
            self._client.upload(row.rig)
            return self._order(row)

    def _wait(self, job_id: str) -> None:
        from animax.wire.jobs import job_error, state_name

        for _ in self._client.watch_job(job_id):
            if self._should_stop():
                raise Cancelled("interrupted")
        job = self._client.get_job(job_id)
        error = job_error(job)
        if error is not None:
            # as a failure of the row: a server that is busy now is another matter
            raise AnimaxError(str(error))
        if state_name(job) == "cancelled":
            raise AnimaxError(f"job {job_id} was cancelled")

    def _fetch(self, row: Row, job_id: str, files: Sequence[str]) -> Result:
        try:
            return self._client.job_result(job_id, files=files)
        except UnknownRigError:  # the rig made room for others while the job's clip stayed
            self._client.upload(row.rig)
            return self._client.job_result(job_id, files=files)
        except ResultExpiredError as error:
            raise AnimaxError(str(error)) from error

    def _insist(self, call: Callable[[], T]) -> T:
        """What ``call`` returns; tried again while the server is away or full, for as long as the patience lasts."""
        until = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                return call()
            except (UnavailableError, BusyError, StreamError) as error:
                if time.monotonic() > until:
                    raise
                self._sleep(max(pause, min(error.retry_after or 0.0, LAST_PAUSE)))
                pause = min(2 * pause, LAST_PAUSE)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._should_stop():
                raise Cancelled("interrupted")
            time.sleep(0.1)

"""``animax jobs``: look at the jobs of a server, cancel them, fetch what they made."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from animax.cli.options import new_command, positive
from animax.cli.outputs import CLIP_SUFFIXES, check_output, numbered, write_whole
from animax.cli.server_options import add_server, connection_of
from animax.cli.status import DONE, FAILED, MISUSED
from animax.errors import AnimaxError, OptionError

if TYPE_CHECKING:
    from animax.client import Client
    from animax.v1 import job_service_pb2 as job_pb

EXAMPLES = """\
  animax jobs list --server farm:50051 --state queued --state running
  animax jobs list --server farm:50051 --label batch=7f3c --json
  animax jobs show --server farm:50051 JOB --follow
  animax jobs cancel --server farm:50051 JOB JOB
  animax jobs result --server farm:50051 JOB -o wave.glb -o wave.bvh
"""
STATES = ("queued", "running", "succeeded", "failed", "cancelled")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "jobs", "look at the jobs of a server, cancel them, fetch what they made", EXAMPLES)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, summary: str, act: Callable[[Client, argparse.Namespace], int]) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        add_server(action)
        action.set_defaults(run=run, act=act)
        return action

    listing = add("list", "list jobs, the latest first", list_jobs)
    listing.add_argument("--state", action="append", default=[], choices=STATES, help="only these; may be repeated")
    listing.add_argument("--rig", metavar="ID", default="", help="only of this rig")
    listing.add_argument("--label", metavar="NAME=VALUE", action="append", default=[], help="only with all of these")
    listing.add_argument("--limit", metavar="N", type=positive, default=50, help="at most (default: %(default)d)")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    showing = add("show", "show all that is known of a job", show_job)
    showing.add_argument("job", metavar="JOB")
    showing.add_argument("--follow", action="store_true", help="tell each change until the job has ended")
    cancelling = add("cancel", "cancel jobs that have not ended", cancel_jobs)
    cancelling.add_argument("job", metavar="JOB", nargs="+")
    fetching = add("result", "fetch what a job made", fetch_result)
    fetching.add_argument("job", metavar="JOB")
    fetching.add_argument(
        "-o", "--output", metavar="FILE", type=Path, action="append", required=True, help=".glb, .bvh or .npz"
    )


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    from animax.client import Client

    with Client(options.server, **connection_of(options)) as client:
        status: int = options.act(client, options)
        return status


def list_jobs(client: Client, options: argparse.Namespace) -> int:
    """``animax jobs list``."""
    labels = dict(label_of(text) for text in options.label)
    found = client.list_jobs(states=options.state, rig_id=options.rig, labels=labels, page_size=min(options.limit, 200))
    for _, job in zip(range(options.limit), found, strict=False):
        print(json.dumps(plain(job)) if options.json else line(job), flush=True)
    return DONE


def show_job(client: Client, options: argparse.Namespace) -> int:
    """``animax jobs show``."""
    if options.follow:
        for job in client.watch_job(options.job):
            print(line(job), flush=True)
    print(json.dumps(plain(client.get_job(options.job)), indent=2))
    return DONE


def cancel_jobs(client: Client, options: argparse.Namespace) -> int:
    """``animax jobs cancel``."""
    from animax.wire.jobs import FINAL, state_name

    status = DONE
    for job_id in options.job:
        try:
            before, job = client.get_job(job_id), client.cancel_job(job_id)
            ended = state_name(before) in FINAL or state_name(job) != "cancelled"
            print(f"{line(job)}{'  (had ended already)' if ended else ''}")
        except AnimaxError as error:
            print(f"animax: {error}", file=sys.stderr)
            status = max(status, MISUSED if isinstance(error, OptionError) else FAILED)
    return status


def fetch_result(client: Client, options: argparse.Namespace) -> int:
    """``animax jobs result``."""
    from animax.assets import write_npz

    for path in options.output:
        check_output(path, CLIP_SUFFIXES, "output")
    suffixes = {path.suffix[1:].lower() for path in options.output}
    result = client.job_result(options.job, files=sorted(suffixes & {"glb", "bvh"}))
    for variant, clip in enumerate(result.clips):
        for path in options.output:
            suffix = path.suffix[1:].lower()
            data = write_npz(result.skeleton, clip) if suffix == "npz" else result.files[variant][suffix]
            target = numbered(path, variant) if len(result.clips) > 1 else path
            write_whole(target, lambda part, data=data: part.write_bytes(data))  # type: ignore[misc]
            print(f"{target}: {len(clip)} frames at {clip.fps:g} fps", flush=True)
    return DONE


def label_of(text: str) -> tuple[str, str]:
    """``name=value`` as a pair.

    Raises:
        OptionError: there is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError("label", text, "NAME=VALUE")
    return name, value


def line(job: job_pb.Job) -> str:
    """A job for people."""
    from animax.wire.jobs import state_name

    state = state_name(job)
    if state == "running":
        what = f"{100 * job.progress.fraction:3.0f} %"
    elif state == "queued" and job.progress.queue_position:
        what = f"{job.progress.queue_position} before it"
    elif state == "failed":
        what = job.error.reason
    else:
        what = ""
    when = job.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
    return f"{job.job_id}  {when}  {state:<9}  {what:<12}  {job.animation.prompt}".rstrip()


def plain(job: job_pb.Job) -> dict[str, object]:
    """A job as plain values."""
    from google.protobuf.json_format import MessageToDict

    values: dict[str, object] = MessageToDict(job, preserving_proto_field_name=True)
    return values

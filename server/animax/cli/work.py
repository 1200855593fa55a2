"""``animax work``: a worker for the jobs of a shared store, without a port."""

from __future__ import annotations

import argparse
import asyncio

from animax.cli.config import add_config
from animax.cli.options import add_provider, new_command, positive
from animax.cli.status import DONE
from animax.cli.store_options import add_store, store_of
from animax.cli.watch_options import add_watching, start_log, watching
from animax.errors import OptionError

EXAMPLES = """\
  animax work --database postgresql://animax@db/animax --blobs s3://studio/animax --slots 4
  animax work --data /srv/animax                  beside an `animax serve --data /srv/animax`
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "work", "work on the jobs of a shared store until Ctrl-C or SIGTERM", EXAMPLES)
    add_config(parser)
    add_store(parser)
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="NAME",
        help="as of `animax serve`; only its jobs are taken up",
    )
    add_provider(engine)
    engine.add_argument(
        "--slots", type=positive, metavar="N", help="jobs that generate at the same time (default: the provider's own)"
    )
    parser.add_argument(
        "--grace", dest="grace_seconds", type=float, metavar="S", help="for jobs at work at shutdown (default: 30)"
    )
    add_watching(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Work until told to stop."""
    given = {name: getattr(options, name) for name in ("models", "provider", "threads", "slots", "grace_seconds")}
    given = {name: value for name, value in given.items() if value is not None}
    from animax.service.configuration.load import in_force

    config = in_force(options.config, {**given, **store_of(options), **watching(options)}).config
    if config.jobs is None:
        raise OptionError("jobs.enabled", False, "true, for a worker: it works on jobs alone")
    start_log(config)
    from animax.pipeline import animate
    from animax.service.jobs.work import work
    from animax.service.models import ServedModels
    from animax.service.server import asset_writers, model_source, rig_parser

    models = ServedModels.load([model_source(name, config) for name in config.models])
    started = lambda: print("working", flush=True)  # noqa: E731
    asyncio.run(work(config, models, animate, rig_parser(config), asset_writers(), started))
    return DONE

"""``animax work``: a worker for the jobs of a shared store, without a port."""

from __future__ import annotations

import argparse
import asyncio

from animax.cli.options import add_provider, new_command, positive
from animax.cli.status import DONE
from animax.cli.store_options import add_store, settings_of
from animax.cli.watch_options import add_watching, start_log, watching

EXAMPLES = """\
  animax work --database postgresql://animax@db/animax --blobs s3://studio/animax --slots 4
  animax work --data /srv/animax                  beside an `animax serve --data /srv/animax`
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "work", "work on the jobs of a shared store until Ctrl-C or SIGTERM", EXAMPLES)
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
        "--grace", type=float, metavar="S", default=30.0, help="for jobs at work at shutdown (default: 30)"
    )
    add_watching(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Work until told to stop."""
    start_log(options)
    from animax.pipeline import animate
    from animax.service.config import ServerConfig
    from animax.service.jobs.work import work
    from animax.service.models import ServedModels
    from animax.service.server import asset_writers, model_source, rig_parser

    config = ServerConfig(
        models=tuple(options.models or ("embedded",)),
        provider=options.provider,
        threads=options.threads,
        slots=options.slots,
        grace_seconds=options.grace,
        jobs=settings_of(options),
        **watching(options),
    )
    models = ServedModels.load([model_source(name, config) for name in config.models])
    started = lambda: print("working", flush=True)  # noqa: E731
    asyncio.run(work(config, models, animate, rig_parser(config), asset_writers(), started))
    return DONE

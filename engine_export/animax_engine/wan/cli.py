"""``animax-engine wan``: the large model."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "report": "sizes, coverage of Wan's weights, memory and work, without weights",
    "cache": "render and encode training samples into shards",
    "train": "train a stage of the paper's recipe",
    "export": "a trained network with VAE and text encoder as a model folder",
}


def main(argv: list[str]) -> int:
    """Run one of ``COMMANDS`` with the rest of the arguments."""
    asked = bool(argv) and argv[0] in ("-h", "--help")
    if not argv or argv[0] not in COMMANDS:
        lines = ["usage: animax-engine wan COMMAND ...\n", *(f"  {name:8s} {text}" for name, text in COMMANDS.items())]
        print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return int(import_module(f"animax_engine.wan.{argv[0]}").main(argv[1:]) or 0)

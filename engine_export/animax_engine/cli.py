"""``animax-engine``: what needs torch or a data set."""

from __future__ import annotations

import sys
from importlib import import_module

from animax.cli.outcome import outcome
from animax.errors import EngineError

COMMANDS = {
    "bank": ("animax_engine.dataset.bank", "read rigs and clips into a bank of poses and renders"),
    "borrow": ("animax_engine.dataset.borrow", "give the rigs of a bank clips of one another, retargeted"),
    "procedural": ("animax_engine.dataset.procedural", "write a folder of procedural rigs to train on"),
    "train": ("animax_engine.train", "train the network on a bank"),
    "evaluate": ("animax_engine.evaluate", "measure the motion chain (--oracle) or generated motion (--generation)"),
    "gallery": ("animax_engine.gallery", "draw strips of what a model makes"),
    "export": ("animax_engine.export", "write a checkpoint as an ONNX model folder"),
    "runtimes": ("animax_engine.runtimes", "time a model's network on this CPU by runtime, precision and threads"),
    "build-trt": ("animax_engine.build_trt", "build a model's TensorRT engines for this GPU"),
    "wan": ("animax_engine.wan.cli", "the large model: report, cache, train, export"),
    "distil-text": ("animax_engine.text.distil", "train the text encoder on its teacher"),
}


EXTRAS = {"wan": "wan", "distil-text": "distil"}
"""What a command needs beside ``animax[train]``."""


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand with the rest of the arguments. Errors become one line on stderr, never a traceback.

    Returns:
        The exit status: that of the subcommand; 1 where it failed, 2 for a wrong call, 130 where it was interrupted.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: animax-engine COMMAND ...   (animax-engine COMMAND --help for its options)\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:12s} {text}")
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(f"unknown command {arguments[0]!r}; accepted: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return outcome(f"animax-engine {arguments[0]}", lambda: run(arguments[0], arguments[1:]))


def run(command: str, arguments: list[str]) -> int:
    """One of ``COMMANDS``.

    Raises:
        EngineError: a package that it needs is not installed, or the GPU's memory does not suffice.
    """
    try:
        return int(import_module(COMMANDS[command][0]).main(arguments) or 0)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "animax", "animax_engine"):
            raise
        extra = missing if missing == "ray" else EXTRAS.get(command, "train")
        raise EngineError(
            f"package {missing!r} is not installed; accepted: an installation of animax[{extra}]"
        ) from error
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; some commands need no torch
            raise
        raise EngineError(str(error).partition("\n")[0]) from error


if __name__ == "__main__":
    sys.exit(main())

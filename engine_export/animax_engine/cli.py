"""``animax-engine``: what needs torch or a data set."""

from __future__ import annotations

import sys
from importlib import import_module

from animax.errors import AnimaxError

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
    "wan": ("animax_engine.wan.cli", "the large model: report, cache, train"),
    "distil-text": ("animax_engine.text.distil", "train the text encoder on its teacher"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand with the rest of the arguments; exit status as the subcommand's, 1 for bad input, 2
    for a wrong call."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: animax-engine COMMAND ...   (animax-engine COMMAND --help for its options)\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:12s} {text}")
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(f"unknown command {arguments[0]!r}; accepted: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = import_module(COMMANDS[arguments[0]][0])
    try:
        return int(module.main(arguments[1:]) or 0)
    except AnimaxError as error:
        print(f"animax-engine {arguments[0]}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

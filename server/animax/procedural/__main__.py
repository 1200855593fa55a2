"""``python -m animax.procedural``: write generated rigs as GLB files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from animax.errors import AnimaxError
from animax.procedural import EXAMPLES, KINDS, generate


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file for each kind (or for ``--kind`` alone) and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m animax.procedural", description="Generate animated rigs as GLB files."
    )
    parser.add_argument("--out", type=Path, default=Path("examples"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind; may be repeated (default: all)")
    parser.add_argument("--seed", type=int, help="seed of every file (default: each kind's example seed)")
    parser.add_argument("--still", action="store_true", help="without animations")
    options = parser.parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for kind in options.kind or KINDS:
            seed = EXAMPLES[kind] if options.seed is None else options.seed
            path = options.out / (f"{kind}.glb" if options.seed is None else f"{kind}_{seed}.glb")
            path.write_bytes(generate(kind, seed, motions=not options.still))
            sys.stdout.write(f"{path}\n")
    except (AnimaxError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

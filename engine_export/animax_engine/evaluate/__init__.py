"""How good the chain and the network are, measured on real rigs and clips."""

from __future__ import annotations

import sys
from importlib import import_module

SUITES = {
    "--oracle": "oracle",
    "--generation": "generation",
    "--plans": "plans",
    "--denoising": "denoising",
    "--retargeting": "retargeting",
    "--duration": "duration",
}


def main(argv: list[str]) -> int:
    """Command line: ``animax-engine evaluate`` with one of ``SUITES`` and the options of that suite."""
    chosen = [flag for flag in SUITES if flag in argv]
    if len(chosen) != 1:
        asked = bool({"-h", "--help"} & set(argv))
        print(
            f"usage: animax-engine evaluate ({' | '.join(SUITES)}) ...\n"
            "  --oracle      true poses through draw, decode, triangulation and rotations\n"
            "  --generation  clips made from the captions of real ones\n"
            "  --plans       what clips are planned to be, before any network\n"
            "  --denoising   what one call of the network explains at each noise level\n"
            "  --retargeting clips of one rig on another against its author's own\n"
            "  --duration    whether the end of a long clip is like its beginning",
            file=sys.stdout if asked else sys.stderr,
        )
        return 0 if asked else 2
    suite = import_module(f"animax_engine.evaluate.{SUITES[chosen[0]]}")
    return int(suite.main([argument for argument in argv if argument != chosen[0]]) or 0)

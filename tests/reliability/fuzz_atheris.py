"""One fuzz target with Atheris, which looks for inputs that reach further into the code.

    python -m tests.reliability.fuzz_atheris glb --cases 20000

Ends with status 0 when nothing was found; else prints what was raised and the input that raised it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

WATCHED = {
    "glb": ["animax.assets"],
    "web_frames": ["animax.service.web.frames"],
    "stream": ["animax.wire.stream", "animax.wire.rig", "animax.wire.clip"],
    "orders": ["animax.wire", "animax.service.jobs.messages"],
}
"""Modules that each target should reach far into; to watch others costs time at the start."""
with atheris.instrument_imports(include=WATCHED.get(sys.argv[1] if len(sys.argv) > 1 else "", [])):
    from tests.reliability.fuzz_targets import TARGETS, seeds

MAX_BYTES = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="animax-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, content in enumerate(seeds(options.target)):
            (corpus / str(number)).write_bytes(content)
        arguments = [sys.argv[0], f"-runs={options.cases}", f"-seed={options.seed}", f"-max_len={MAX_BYTES}"]
        arguments += ["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={folder}/"]
        target = TARGETS[options.target]
        atheris.Setup([*arguments, str(corpus)], lambda data: target(data) and None)
        sys.stdout.flush()
        os.environ.setdefault("PYTHONHASHSEED", "0")
        atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The configuration as texts: an example file, and the tables of docs/configuration.md."""

from __future__ import annotations

import textwrap

from animax.service.configuration.keys import Key, every_key, tables
from animax.service.configuration.load import GUARDS, written

WIDTH = 100


def example() -> str:
    """A TOML file with every key at its default, commented out."""
    parts = [
        "# Settings of `animax serve` and `animax work`: --config FILE, or $ANIMAX_CONFIG.",
        "# Variables of the environment override this file, the command line overrides both.",
    ]
    keys = every_key().values()
    for table, about in tables().items():
        header = f"#[{table}]" if table in GUARDS else f"[{table}]"  # an empty one is refused
        parts += ["", f"# {about}"] + ([header] if table else [])
        for key in keys:
            if key.table == table:
                told = f"{key.meaning.rstrip('.')}. Accepted: {key.accepted.rstrip('.')}. ${key.variable}"
                parts += ["", *(f"# {line}" for line in textwrap.wrap(told, WIDTH)), f"#{_line(key)}"]
    return "\n".join(parts) + "\n"


def key_tables() -> str:
    """Markdown."""
    parts: list[str] = []
    keys = every_key().values()
    for table, about in tables().items():
        parts += [f"### {f'`[{table}]`' if table else 'At the top'}", "", about, ""]
        parts += ["| key | variable | default | accepted | meaning |", "|---|---|---|---|---|"]
        for key in keys:
            if key.table == table:
                name = key.name.rpartition(".")[2]
                cells = (f"`{name}`", f"`{key.variable}`", _default(key), key.accepted, key.meaning)
                parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _line(key: Key) -> str:
    name = key.name.rpartition(".")[2]
    return f"{name} =" if key.default is None else f"{name} = {written(key.default)}"


def _default(key: Key) -> str:
    return "unset" if key.default is None else f"`{written(key.default)}`"

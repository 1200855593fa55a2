"""The status page: one HTML document that needs nothing else and loads itself anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from animax.service.observe.snapshot import Snapshot

REFRESH_SECONDS = 2

_STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #8889; --good: #2a8a4a; --bad: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 2rem 0 .4rem; } h1 small { font-weight: normal; opacity: .7; }
.state { color: #fff; border-radius: 1rem; padding: .15rem .7rem; font-size: .9rem; background: var(--bad); }
.state.ready { background: var(--good); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; }
.tiles div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem; }
.tiles b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; } .tiles span { opacity: .7; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: normal; opacity: .7; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .6rem .25rem 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
footer { margin-top: 2rem; opacity: .7; font-size: .9rem; }
"""


def status_page(snapshot: Snapshot) -> str:
    """The document."""
    state = "ready" if snapshot.ready else snapshot.state
    tiles = [
        ("generating", f"{snapshot.generating} / {snapshot.slots}", "slots in use"),
        ("queue", f"{snapshot.queued}", "requests waiting"),
        ("calls", f"{sum(snapshot.calls.values())}", "in progress"),
        ("rigs", f"{snapshot.rigs}", f"in memory, {mebibytes(snapshot.rig_bytes)}"),
        ("rig cache", share(snapshot.rig_hits, snapshot.rig_misses), "found in memory"),
        ("memory", "–" if snapshot.memory_bytes is None else mebibytes(snapshot.memory_bytes), "of the process"),
    ]
    boxes = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(what)}</span></div>"
        for name, value, what in tiles
    )
    models = [(model.name, model.provider, model.sha256[:12]) for model in snapshot.models]
    latencies = [(name.rpartition("/")[2], *columns(values)) for name, values in snapshot.latencies.items()]
    if snapshot.first_frame.get("count"):
        latencies.append(("first frame", *columns(snapshot.first_frame)))
    batches = [(f"{size}", f"{calls}") for size, calls in sorted(snapshot.batch_sizes.items())]
    parts = [
        f'<h1>animax <small>{escape(snapshot.version)}</small> <span class="state{" ready" if snapshot.ready else ""}">'
        f"{escape(state)}</span></h1>",
        f'<section class="tiles">{boxes}</section>',
        _table("Models", ("model", "runs on", "SHA-256"), models),
        _table("Jobs of the store", ("state", "jobs"), job_rows(snapshot), numbers=1)
        if snapshot.store is not None
        else "",
        _table("Last five minutes: seconds", ("", "calls", "p50", "p95", "longest"), latencies, numbers=4),
        _table("Last five minutes: errors", ("reason", "calls"), snapshot.errors.items(), numbers=1),
        _table("Network calls", ("samples in a call", "calls"), batches, numbers=1) if batches else "",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        '<meta name="viewport" content="width=device-width"><title>animax: '
        f"{escape(state)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}"
        f"<footer>up for {duration(snapshot.uptime_seconds)} · the same as JSON: /status.json · for Prometheus: "
        "/metrics</footer></body></html>"
    )


def job_rows(snapshot: Snapshot) -> list[tuple[str, object]]:
    """Jobs by state, with the states that have none."""
    if snapshot.jobs is None:
        return [("the store does not answer", "–")]
    states = ("queued", "running", "succeeded", "failed", "cancelled")
    return [(state, snapshot.jobs.get(state, 0)) for state in states]


def columns(latency: dict[str, float]) -> tuple[str, ...]:
    """Count and percentiles for people."""
    return (f"{latency['count']:.0f}", *(f"{latency[name]:.3f}" for name in ("p50", "p95", "max")))


def mebibytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**20:,.0f} MiB"


def share(hits: int, misses: int) -> str:
    """How many were hits."""
    return f"{hits / (hits + misses):.0%}" if hits + misses else "–"


def duration(seconds: float) -> str:
    """A length of time for people."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d}:{minutes:02d}:{seconds:02d}" if days else f"{hours:02d}:{minutes:02d}:{seconds:02d}"


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> str:
    """A table whose last ``numbers`` columns are numbers."""
    first = len(heads) - numbers

    def cells(row: Sequence[object], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if i >= first else ''}>{escape(str(cell))}</{tag}>" for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    body = body or f'<tr><td colspan="{len(heads)}">none</td></tr>'
    return f"<h2>{escape(title)}</h2><table><tr>{cells(heads, 'th')}</tr>{body}</table>"

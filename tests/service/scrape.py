"""Reading a server's status port as Prometheus, a probe or a person would."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.service.conftest import Running


class Page(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def fetch(url: str, method: str = "GET", **headers: str) -> Page:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with opener.open(request, timeout=10) as answer:
            return Page(answer.status, dict(answer.headers), answer.read().decode())
    except urllib.error.HTTPError as error:
        return Page(error.code, dict(error.headers), error.read().decode())


async def page(running: Running, path: str, method: str = "GET", **headers: str) -> Page:
    monitor = running.server.monitor
    assert monitor is not None
    return await asyncio.to_thread(fetch, f"http://127.0.0.1:{monitor.port}{path}", method, **headers)


class Samples(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name and labels."""

    def of(self, name: str, **labels: str) -> float:
        return self.get((name, frozenset(labels.items())), 0.0)

    def by(self, name: str, *labels: str) -> dict[Any, float]:
        """Values of a metric by some of its labels, without zeros."""
        found: dict[Any, float] = {}
        for (known, given), value in self.items():
            if known == name and value:
                values = tuple(dict(given)[label] for label in labels)
                key = values[0] if len(values) == 1 else values
                found[key] = found.get(key, 0.0) + value
        return found


async def scrape(running: Running) -> Samples:
    answer = await page(running, "/metrics")
    assert answer.status == 200
    families = text_string_to_metric_families(answer.text)
    return Samples({(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples})


async def status(running: Running) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await page(running, "/status.json")).text)
    return found

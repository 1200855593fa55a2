"""The models that a server offers: chosen by name, and replaced while requests run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from animax.errors import ModelError, OptionError
from animax.service.generation import Model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where a model comes from. Both functions are called in threads and may raise errors of ``animax.errors``.

    Attributes:
        load: the model as it is now, not yet warm.
        stamp: changes when ``load`` would give another model.
    """

    load: Callable[[], Model]
    stamp: Callable[[], Hashable]


@dataclass(eq=False)
class _Place:
    model: Model
    source: Source | None
    stamp: Hashable = None
    """Of the model in service, or of the one that was refused last."""


class ServedModels:
    """One or more models; the first is the default. Belongs to one event loop.

    Whoever asks for a model keeps it for as long as it likes: a request that runs while its model is replaced ends on
    the old one, whose memory is free after the last of them. While a model is replaced, both are in memory.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._places = [_Place(model, None) for model in models]
        self._reloading = asyncio.Lock()
        check_names([model.name for model in models])

    @classmethod
    def load(cls, sources: Sequence[Source]) -> ServedModels:
        """Load every model.

        Raises:
            ModelError, EngineError: one of them cannot be loaded, or two have one name.
        """
        # the stamp first: what changes while it is loaded shall be noticed
        stamps = [source.stamp() for source in sources]
        served = cls([source.load() for source in sources])
        for place, source, stamp in zip(served._places, sources, stamps, strict=True):
            place.source, place.stamp = source, stamp
        return served

    @property
    def default(self) -> Model:
        """For requests that name none."""
        return self._places[0].model

    def __iter__(self) -> Iterator[Model]:
        return iter([place.model for place in self._places])

    def get(self, name: str) -> Model:
        """A model by name; "" is the default.

        Raises:
            OptionError: there is none of that name.
        """
        if not name:
            return self.default
        for place in self._places:
            if place.model.name == name:
                return place.model
        raise OptionError("model", name, " or ".join(place.model.name for place in self._places))

    def warm_up(self) -> None:
        """Warm up every model; raises what theirs raise."""
        for place in self._places:
            place.model.warm_up()

    async def reload(self) -> int:
        """Replace every model that has changed where it came from, once the new one is warm; returns how many.

        A model that cannot be loaded leaves the one in service as it is, and is told to the log.
        """
        async with self._reloading:
            return sum([await self._renew(place) for place in self._places])

    async def watch(self, seconds: float) -> None:
        """``reload`` every so often, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.reload()

    async def _renew(self, place: _Place) -> bool:
        if place.source is None:
            return False
        name = place.model.name
        try:
            stamp = await asyncio.to_thread(place.source.stamp)
            if stamp == place.stamp:
                return False
            place.stamp = stamp
            model = await asyncio.to_thread(partial(_load_warm, place.source))
            check_names([model.name, *(other.model.name for other in self._places if other is not place)])
        except Exception as error:
            log.error("model %s stays as it is: %s", name, error)
            return False
        place.model = model
        log.info("model %s is now %s, %s", name, model.name, model.sha256[:12])
        return True


def _load_warm(source: Source) -> Model:
    model = source.load()
    model.warm_up()
    return model


def check_names(names: Sequence[str]) -> None:
    """Refuse two models of one name.

    Raises:
        ModelError: there are.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"two models are named {twice[0]!r}; accepted: a different name for each model of a server")

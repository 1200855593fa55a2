"""Several models, and models that are replaced while requests run."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import pytest

from animax.client import AsyncClient
from animax.errors import ModelError, OptionError
from animax.service.models import ServedModels, Source

from .conftest import serving, until
from .engine import FakeEngine, FakeModel


class Shelf:
    """A place where models lie; ``put`` puts the next version there."""

    def __init__(self) -> None:
        self.versions: list[FakeModel | Exception] = []

    def put(self, model: FakeModel | Exception) -> None:
        self.versions.append(model)

    def load(self) -> FakeModel:
        latest = self.versions[-1]
        if isinstance(latest, Exception):
            raise latest
        return latest

    def source(self) -> Source:
        return Source(self.load, lambda: len(self.versions))


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    shelf.put(FakeModel("one", sha256="11" * 32))
    return shelf


def test_models_are_found_by_name_and_the_first_is_the_default():
    models = [FakeModel("one"), FakeModel("two")]
    served = ServedModels(models)
    assert served.default is served.get("") is served.get("one") is models[0]
    assert served.get("two") is models[1]
    with pytest.raises(OptionError, match="model is 'three'; accepted: one or two"):
        served.get("three")


def test_two_models_of_one_name_are_refused():
    with pytest.raises(ModelError, match="two models are named 'one'"):
        ServedModels([FakeModel("one"), FakeModel("one")])


async def test_a_changed_model_is_replaced_once_it_is_warm(shelf):
    served = ServedModels.load([shelf.source()])
    assert await served.reload() == 0
    newer = FakeModel("one", sha256="22" * 32)
    shelf.put(newer)
    assert await served.reload() == 1
    assert served.default is newer
    assert newer.warmed == 1
    assert await served.reload() == 0


async def test_a_model_that_cannot_be_loaded_leaves_the_old_one(shelf, caplog):
    served = ServedModels.load([shelf.source()])
    old = served.default
    shelf.put(ModelError("model 'one': denoiser.onnx has SHA-256 00; accepted: 11"))
    with caplog.at_level(logging.ERROR):
        assert await served.reload() == 0
        assert await served.reload() == 0
    assert served.default is old
    assert [record.message for record in caplog.records] == [
        "model one stays as it is: model 'one': denoiser.onnx has SHA-256 00; accepted: 11"
    ]
    shelf.put(FakeModel("one", failures=1))  # loads, but does not run
    assert await served.reload() == 0
    assert served.default is old
    shelf.put(FakeModel("one"))
    assert await served.reload() == 1


async def test_a_new_version_may_not_take_another_model_s_name(shelf):
    other = Shelf()
    other.put(FakeModel("two"))
    served = ServedModels.load([shelf.source(), other.source()])
    other.put(FakeModel("one"))
    assert await served.reload() == 0
    assert [model.name for model in served] == ["one", "two"]


async def test_the_old_model_is_free_when_nobody_uses_it(shelf):
    served = ServedModels.load([shelf.source()])
    user, old = served.default, weakref.ref(served.default)
    shelf.versions[0] = FakeModel("forgotten")
    shelf.put(FakeModel("one", sha256="22" * 32))
    await served.reload()
    gc.collect()
    assert old() is user
    del user
    gc.collect()
    assert old() is None


async def test_a_request_names_its_model_and_others_are_refused_by_field():
    engine = FakeEngine()
    used: list[str] = []

    def animate(rig, request, model, /, **more):
        used.append(model.name)
        return FakeEngine.animate(engine, rig, request, model, **more)

    engine.animate = animate  # type: ignore[method-assign]
    models = ServedModels([FakeModel("one"), FakeModel("two", sha256="cd" * 32)])
    async with serving(engine, models=models) as running, AsyncClient(running.target) as client:
        capabilities = await client.capabilities()
        assert [model.name for model in capabilities.models] == ["one", "two"]
        assert capabilities.model == capabilities.models[0]
        rig_id = (await client.upload(running.glb)).rig_id
        for name in ("", "two", "one"):
            result = await client.animate(rig_id, "walks", model=name).collect()
            assert result.header.model.name == (name or "one")
        assert used == ["one", "two", "one"]
        with pytest.raises(OptionError) as caught:
            await client.animate(rig_id, "walks", model="three").collect()
        assert caught.value.name == "model"
        assert "one or two" in str(caught.value)


async def test_a_running_request_ends_on_the_model_that_it_began_with(shelf):
    engine = FakeEngine(steps=3)
    models = ServedModels.load([shelf.source()])
    async with (
        serving(engine, models=models, slots=2, watch_seconds=0.02) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        engine.gate.clear()
        begun = asyncio.create_task(client.animate(rig_id, "walks", variants=2).collect())
        await until(lambda: engine.running == 1)
        shelf.put(FakeModel("one", sha256="22" * 32))
        await until(lambda: models.default.sha256 == "22" * 32)
        assert (await client.capabilities()).model.sha256 == "22" * 32
        engine.gate.set()
        assert (await begun).header.model.sha256 == "11" * 32
        assert (await client.animate(rig_id, "walks").collect()).header.model.sha256 == "22" * 32
        assert running.server.readiness.state.value == "ready"


SCRIPT = """
    import asyncio
    from animax.service import Server, ServerConfig
    from animax.service.generation import Writers
    from animax.service.models import ServedModels, Source
    from animax.service.server import run
    from tests.service.engine import FakeEngine, FakeModel

    versions = iter(range(1, 9))
    loads = Source(lambda: FakeModel("one", sha256=f"{next(versions)}" * 64), lambda: object())
    writers = Writers(lambda r, c: b"", lambda s, c: "")

    async def main():
        config, models = ServerConfig(port=0, watch_seconds=0), ServedModels.load([loads])
        server = Server(config, models, FakeEngine().animate, writers=writers)
        await run(server, lambda started: print(started.port, flush=True))

    asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_sighup_looks_for_changed_models(repository: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], cwd=repository, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            assert (await client.capabilities()).model.sha256 == "1" * 64
            process.send_signal(signal.SIGHUP)
            for _ in range(200):
                if (await client.capabilities()).model.sha256 == "2" * 64:
                    break
                await asyncio.sleep(0.02)
            assert (await client.capabilities()).model.sha256 == "2" * 64
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
    finally:
        process.kill()
        process.wait()

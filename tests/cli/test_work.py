from __future__ import annotations

import pytest

from animax.cli import main
from animax.service.config import ServerConfig
from animax.service.jobs.settings import in_folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    configs: list[ServerConfig] = []

    async def work(config, models, animate, parse, writers, on_started):
        on_started()
        configs.append(config)

    monkeypatch.setattr("animax.service.jobs.work.work", work)
    monkeypatch.setattr("animax.service.models.ServedModels.load", lambda sources: sources)
    return configs


def test_every_option_arrives(started, tmp_path, capsys):
    options = ["--data", str(tmp_path), "--slots", "3", "--lanes", "2", "--grace", "5", "--provider", "cpu"]
    assert main(["work", *options, "--model", "embedded", "--model", "creatures"]) == 0
    jobs = in_folder(tmp_path, lanes=2)
    models = ("embedded", "creatures")
    assert started == [ServerConfig(models=models, provider="cpu", slots=3, grace_seconds=5, jobs=jobs)]
    assert capsys.readouterr().out == "working\n"


@pytest.mark.parametrize("options", [["--grace", "nan"], ["--slots", "65"]])
def test_what_a_worker_cannot_do_is_status_2(started, tmp_path, options, capsys):
    assert main(["work", "--data", str(tmp_path), *options]) == 2
    assert "accepted:" in capsys.readouterr().err
    assert started == []

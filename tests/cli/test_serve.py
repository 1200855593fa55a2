from __future__ import annotations

import pytest

from animax.cli import main
from animax.service import ServerConfig
from animax.service.config import MIB, Tls, TlsFiles
from animax.service.jobs.settings import in_folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    configs: list[ServerConfig] = []
    monkeypatch.setattr("animax.service.serve", lambda config, *, on_started: configs.append(config))
    return configs


def test_without_options_the_defaults_are_the_service_s_own(started, tmp_path, monkeypatch):
    assert main(["serve", "--no-jobs"]) == 0
    monkeypatch.setenv("ANIMAX_DATA", str(tmp_path))
    assert main(["serve"]) == 0
    assert started == [ServerConfig(), ServerConfig(jobs=in_folder(tmp_path))]


def test_every_option_arrives(started):
    arguments = "--host 0.0.0.0 --port 0 --slots 3 --queue 5 --max-asset-mib 10 --max-seconds 60 --grace 5 --drain 1"
    arguments += " --metrics-port 9464 --metrics-host 0.0.0.0 --traces --log-prompts --log-format json"
    assert main(["serve", *arguments.split(), "--provider", "cpu", "--threads", "2", "--reflection", "--no-jobs"]) == 0
    assert started == [
        ServerConfig(
            host="0.0.0.0",
            port=0,
            slots=3,
            max_queued=5,
            max_asset_bytes=10 * MIB,
            max_request_seconds=60,
            grace_seconds=5,
            drain_seconds=1,
            provider="cpu",
            threads=2,
            reflection=True,
            metrics_port=9464,
            metrics_host="0.0.0.0",
            traces=True,
            log_prompts=True,
            log_format="json",
        )
    ]


def test_a_second_port_is_there_only_when_asked_for(started):
    origins = ["--web-origin", "https://studio.example", "--web-origin", "http://localhost:3000"]
    assert main(["serve", "--no-jobs", "--web-port", "8080", *origins]) == 0
    assert started == [ServerConfig(web_port=8080, web_origins=("https://studio.example", "http://localhost:3000"))]
    assert ServerConfig().web_port is None


def test_certificates_are_read(started, tmp_path):
    for name in ("certificate", "key", "clients"):
        (tmp_path / name).write_text(name)
    options = [part for name in ("certificate", "key", "clients") for part in (f"--tls-{name}", str(tmp_path / name))]
    assert main(["serve", "--no-jobs", *options]) == 0
    tls = TlsFiles(tmp_path / "certificate", tmp_path / "key", tmp_path / "clients")
    assert started[0].tls == tls
    assert tls.read() == Tls(b"certificate", b"key", b"clients")


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "99999"],
        ["--metrics-port", "-1"],
        ["--queue", "-1"],
        ["--tls-key", __file__],
        ["--grace", "nan"],
        ["--web-port", "-1"],
        ["--web-port", "0", "--web-origin", "studio.example/"],
        ["--web-origin", "https://studio.example"],
    ],
)
def test_what_a_server_cannot_do_is_status_2(started, options, capsys):
    assert main(["serve", *options]) == 2
    assert "accepted:" in capsys.readouterr().err
    assert started == []

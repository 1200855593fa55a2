from __future__ import annotations

import json

import pytest

from animax.cli import main
from animax.client import Client
from animax.service.jobs.settings import in_folder
from tests.service.conftest import serving_in_thread


def test_what_the_status_page_tells(tmp_path, capsys):
    with serving_in_thread(metrics_port=0, jobs=in_folder(tmp_path), slots=2) as running:
        with Client(running.target) as client:
            rig = client.upload(running.glb)
            client.animate(rig.rig_id, "a secret").collect()
        url = f"http://127.0.0.1:{running.server.monitor.port}/"
        assert main(["top", "--url", url, "--once"]) == 0
        text = capsys.readouterr().out
        for shown in ("READY", "slots [..] 0/2", "fake", "succeeded 0", "Animate", "first frame", "errors: none"):
            assert shown in text, text
        assert "secret" not in text
        assert "\x1b" not in text
        assert main(["top", "--url", url, "--once", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rigs"] == 1


def test_what_any_server_tells(capsys):
    with serving_in_thread(slots=2) as running:
        assert main(["top", "--server", running.target, "--once"]) == 0
    text = capsys.readouterr().out
    assert "READY" in text
    assert "slots [..] 0/2  queue 0  rigs 0" in text


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (["--url", "ftp://host"], 2, "http://HOST:PORT"),
        (["--url", "http://127.0.0.1:1"], 1, "cannot be reached"),
        (["--server", "127.0.0.1:1"], 1, "no server at 127.0.0.1:1"),
        (["--url", "http://127.0.0.1:1", "--server", "127.0.0.1:1"], 2, "accepted"),
        (["--every", "0"], 2, "0.1 to 3600"),
    ],
)
def test_what_cannot_be_shown_is_one_line(options, status, why, capsys):
    assert main(["top", "--once", *options]) == status
    said = capsys.readouterr()
    assert why in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_another_page_is_no_status_page(capsys):
    with serving_in_thread(metrics_port=0) as running:
        assert main(["top", "--once", "--url", f"http://127.0.0.1:{running.server.monitor.port}/metrics"]) == 2
    assert "accepted" in capsys.readouterr().err

from __future__ import annotations

import sys
from subprocess import run

from animax.cli import main
from animax.service.config import Tls
from tests.service.conftest import serving_in_thread


def test_a_ready_server_is_status_0_and_another_one_1(capsys):
    with serving_in_thread() as running:
        assert main(["health", "--server", running.target]) == 0
        assert main(["health", "--server", running.target, "--service", "animax.v1.AssetService"]) == 0
        assert capsys.readouterr().out == "SERVING\nSERVING\n"
        assert main(["health", "--server", running.target, "--service", "animax.v9"]) == 1
        assert capsys.readouterr().err == "animax: the server has no service 'animax.v9'\n"
        running.server.readiness.state = type(running.server.readiness.state).DRAINING
    assert main(["health", "--server", running.target]) == 1
    assert f"no server at {running.target} (connection refused)" in capsys.readouterr().err


def test_a_server_that_asks_for_certificates(authority, tmp_path):
    roots, certificate, key = authority("localhost")
    options = []
    for name, blob in (("ca", roots), ("certificate", certificate), ("key", key)):
        (tmp_path / name).write_bytes(blob)
        options.append([f"--tls-{name}", str(tmp_path / name)])
    trusting, shown = options[0], [*options[1], *options[2]]
    with serving_in_thread(tls=Tls(certificate, key, roots)) as running:
        server = ["--server", f"localhost:{running.server.port}"]
        assert main(["health", *server, *trusting, *shown]) == 0
        assert main(["health", *server, *trusting]) == 1
        assert main(["health", *server, *shown]) == 2
        assert main(["health", *server, *trusting, *shown[:2]]) == 2
        assert main(["health", *server, *trusting, *shown[:3], shown[1]]) == 2
        assert main(["top", "--once", *server, *trusting, *shown]) == 0


def test_a_worker_is_asked_over_http(capsys):
    with serving_in_thread(metrics_port=0) as running:
        url = f"http://127.0.0.1:{running.server.monitor.port}"
        assert main(["health", "--url", url]) == 0
        running.server.readiness.state = type(running.server.readiness.state).WARMING_UP
        assert main(["health", "--url", url]) == 1
        assert capsys.readouterr().out == "SERVING\nwarming up\n"
        assert main(["health", "--url", url + "/elsewhere"]) == 2
        assert main(["health", "--url", url, "--server", running.target]) == 2
    assert main(["health", "--url", url]) == 1


def test_a_probe_starts_fast():
    program = (
        "import sys, animax.cli.health as h\ntry: h.health('127.0.0.1:1', None, timeout=0.1)\nexcept Exception: pass"
    )
    done = run(
        [sys.executable, "-c", f"{program}\nprint(*{{name.split('.')[0] for name in sys.modules}})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "grpc" in done.stdout
    assert not {"numpy", "cv2", "onnxruntime", "scipy"} & set(done.stdout.split())

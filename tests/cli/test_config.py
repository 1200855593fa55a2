from __future__ import annotations

import pytest

from animax.cli import main
from animax.service.configuration.load import in_force


def test_check_tells_every_value_and_where_it_comes_from(tmp_path, monkeypatch, capsys):
    file = tmp_path / "animax.toml"
    file.write_text('port = 7\n[jobs]\ndatabase = "postgresql://me:hush@db/x"\n')
    monkeypatch.setenv("ANIMAX_SLOTS", "3")
    monkeypatch.setenv("ANIMAX_SLOT", "3")
    assert main(["config", "check", str(file)]) == 0
    told = capsys.readouterr().out
    lines = {line.split()[0]: line.split("=", 1)[1].split() for line in told.splitlines() if line[0] != "#"}
    assert lines["port"] == ["7", "#", "file", "animax.toml"]
    assert lines["slots"] == ["3", "#", "environment", "ANIMAX_SLOTS"]
    assert lines["max_queued"] == ["16", "#", "default"]
    assert "hush" not in told
    assert "ANIMAX_SLOT is set" in told


def test_check_fails_without_what_a_server_needs(tmp_path, capsys):
    file = tmp_path / "animax.toml"
    tables = '[tls]\ncertificate = "c.pem"\nkey = "k.pem"\nclients = "ca.pem"\n[auth]\ntoken_file = "tokens"\n'
    file.write_text(f'models = ["embedded", "nosuch"]\n{tables}')
    assert main(["config", "check", str(file)]) == 1
    told = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert told == ["tls.certificate", "tls.key", "tls.clients", "auth.token_file", "models"]
    for name in ("c.pem", "k.pem", "ca.pem", "tokens"):
        (tmp_path / name).write_text("nothing")
    assert main(["config", "check", str(file)]) == 1
    told = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert told == ["tls", "auth.token_file,", "models"]


@pytest.mark.parametrize("text", ["prot = 1", "port = 'x'", "port = ["])
def test_check_fails_with_one_line(tmp_path, capsys, text):
    file = tmp_path / "animax.toml"
    file.write_text(text)
    assert main(["config", "check", str(file)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "accepted:" in told


def test_the_example_can_be_begun_from(tmp_path, capsys):
    assert main(["config", "example"]) == 0
    (tmp_path / "animax.toml").write_text(capsys.readouterr().out)
    assert in_force(tmp_path / "animax.toml", {"jobs.enabled": False}, {}) is not None

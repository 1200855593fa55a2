from __future__ import annotations

from pathlib import Path

import pytest

from animax.cli import main
from animax.service.access.settings import AuthSettings
from animax.service.access.token_file import new_token, token_line
from animax.service.jobs.settings import in_folder
from tests.service.conftest import serving_in_thread


@pytest.fixture
def token(tmp_path: Path) -> str:
    made = new_token()
    (tmp_path / "tokens").write_text(token_line("me", made, {}))
    return made


def test_every_command_shows_the_token(tmp_path, token, monkeypatch, capsys):
    (tmp_path / "mine").write_text(token + "\n")
    settings = AuthSettings(token_file=tmp_path / "tokens")
    with serving_in_thread(auth=settings, jobs=in_folder(tmp_path / "jobs")) as running:
        listing = ["jobs", "list", "--server", running.target]
        assert main(listing) == 1
        assert "no credentials" in capsys.readouterr().err
        assert main([*listing, "--token-file", str(tmp_path / "mine")]) == 0
        monkeypatch.setenv("ANIMAX_TOKEN", token)
        assert main(listing) == 0
        assert main(["top", "--server", running.target, "--once"]) == 0
        assert main(["health", "--server", running.target]) == 0


@pytest.mark.parametrize("text", ["", "two words"])
def test_a_file_without_a_token(tmp_path, text, capsys):
    (tmp_path / "mine").write_text(text)
    assert main(["jobs", "list", "--token-file", str(tmp_path / "mine")]) == 2
    assert "accepted:" in capsys.readouterr().err


def test_no_token_goes_out_in_cleartext(monkeypatch, capsys):
    monkeypatch.setenv("ANIMAX_TOKEN", "hush-hush")
    assert main(["jobs", "list", "--server", "farm.example:1"]) == 2
    assert "hush" not in capsys.readouterr().err

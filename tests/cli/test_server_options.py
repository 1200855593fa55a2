from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from animax.cli import main
from animax.cli.server_options import address, in_words
from animax.errors import UnavailableError
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


@pytest.mark.parametrize("server", ["localhost:1", "farm-2.example:50051", "127.0.0.1:1", "[::1]:50051", "unix:/run/a"])
def test_addresses(server):
    assert address(server) == server


@pytest.mark.parametrize("server", ["localhost", "http://farm:1", "farm:http", "farm:0", "farm:65536", "::1:50051", ""])
def test_what_is_no_address_is_refused(server, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["health", "--server", server])
    assert ended.value.code == 2
    assert "accepted: HOST:PORT" in capsys.readouterr().err


def test_only_a_connection_that_failed_is_put_into_words():
    options = Namespace(server="farm:1")
    draining = UnavailableError("UNAVAILABLE: the server shuts down", reason="DRAINING", retry_after=1.0)
    assert in_words(draining, options) is draining
    raw = "UNAVAILABLE: errors resolving farm:1: [field:address lookup failed for farm:1: Domain name not found]"
    told = str(in_words(UnavailableError(raw, reason=""), options))
    assert told == "no server at farm:1 (domain name not found); start one with `animax serve`"


def test_files_without_pem_are_named_before_anything_is_sent(authority, tmp_path, capfd):
    (tmp_path / "none").write_text("nothing")
    for name, blob in zip(("ca", "certificate", "key"), authority("localhost"), strict=True):
        (tmp_path / name).write_bytes(blob)
    for given, named in (
        (("none", "certificate", "key"), "--tls-ca"),
        (("ca", "none", "key"), "--tls-cert"),
        (("ca", "certificate", "none"), "--tls-key"),
    ):
        options = zip(("--tls-ca", "--tls-cert", "--tls-key"), given, strict=True)
        files = [part for option, file in options for part in (option, str(tmp_path / file))]
        assert main(["health", "--server", "localhost:1", *files]) == 2
        told = capfd.readouterr().err
        assert told.startswith(f"animax: {named} is ")
        assert told.count("\n") == 1


@pytest.mark.parametrize("text", ["", "two words"])
def test_a_file_without_a_token(tmp_path, text, capsys):
    (tmp_path / "mine").write_text(text)
    assert main(["jobs", "list", "--token-file", str(tmp_path / "mine")]) == 2
    assert "accepted:" in capsys.readouterr().err


def test_no_token_goes_out_in_cleartext(monkeypatch, capsys):
    monkeypatch.setenv("ANIMAX_TOKEN", "hush-hush")
    assert main(["jobs", "list", "--server", "farm.example:1"]) == 2
    assert "hush" not in capsys.readouterr().err

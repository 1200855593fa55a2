"""Settings from a file, the environment and the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from animax.errors import OptionError
from animax.service.access.settings import AuthSettings
from animax.service.config import ServerConfig, TlsFiles
from animax.service.configuration.keys import every_key
from animax.service.configuration.load import (
    COMMAND_LINE,
    DEFAULT,
    ENVIRONMENT,
    FILE,
    InForce,
    in_force,
    unused_variables,
)
from animax.service.configuration.texts import example, key_tables
from animax.service.jobs.settings import JobSettings, in_folder

OFF = {"jobs.enabled": False}


def read(folder: Path, text: str, **environment: str) -> InForce:
    file = folder / "animax.toml"
    file.write_text(text, "utf-8")
    return in_force(file, {}, environment)


def test_nothing_given_is_the_defaults(tmp_path):
    assert in_force(None, OFF, {}).config == ServerConfig()
    assert in_force(None, {}, {"ANIMAX_DATA": str(tmp_path)}).config == ServerConfig(jobs=in_folder(tmp_path))


def test_file_below_environment_below_command_line(tmp_path):
    file = tmp_path / "animax.toml"
    file.write_text("port = 1\nslots = 1\nmax_queued = 1\n[jobs]\nlanes = 1\nshare = 1\n")
    environment = {"ANIMAX_SLOTS": "2", "ANIMAX_MAX_QUEUED": "2", "ANIMAX_JOBS_SHARE": "2", "ANIMAX_DATA": "x"}
    found = in_force(file, {"max_queued": 3}, environment)
    config = found.config
    assert (config.port, config.slots, config.max_queued) == (1, 2, 3)
    assert config.jobs == in_folder(Path("x"), lanes=1, share=2)
    origins = {value.key.name: (value.origin, value.place) for value in found.values}
    assert origins["port"] == (FILE, "animax.toml")
    assert origins["slots"] == (ENVIRONMENT, "ANIMAX_SLOTS")
    assert origins["max_queued"] == (COMMAND_LINE, "")
    assert origins["host"] == (DEFAULT, "")


def test_every_kind_of_value(tmp_path):
    text = 'web_port = 0\nweb_origins = ["https://a.example"]\nreflection = true\ngrace_seconds = 1\n'
    text += '[tls]\ncertificate = "a.pem"\nkey = "/b.key"\n[jobs]\nenabled = false\n'
    expected = ServerConfig(
        web_port=0,
        web_origins=("https://a.example",),
        reflection=True,
        grace_seconds=1.0,
        tls=TlsFiles(tmp_path / "a.pem", Path("/b.key")),
    )
    assert read(tmp_path, text).config == expected
    environment = {
        "ANIMAX_WEB_PORT": "0",
        "ANIMAX_WEB_ORIGINS": "https://a.example, http://b:1",
        "ANIMAX_SERVE_MODELS": "x,y",
        "ANIMAX_LOG_PROMPTS": "true",
        "ANIMAX_SLOTS": "",
        "ANIMAX_JOBS_ENABLED": "false",
    }
    origins = ("https://a.example", "http://b:1")
    assert in_force(None, {}, environment).config == ServerConfig(
        web_port=0, web_origins=origins, models=("x", "y"), log_prompts=True
    )


def test_a_variable_can_unset_what_the_file_sets(tmp_path):
    assert read(tmp_path, "slots = 3", ANIMAX_SLOTS="none").config.slots is None
    assert read(tmp_path, "port = 3", ANIMAX_PORT="tcp://10.0.0.7:50051").config.port == 3


@pytest.mark.parametrize(
    ("text", "environment", "name", "accepted"),
    [
        ("prot = 3", {}, "prot (animax.toml)", "port"),
        ("[jobs]\nlane = 3", {}, "jobs.lane (animax.toml)", "jobs.lanes"),
        ("[job]\nlanes = 3", {}, "job (animax.toml)", "tls, auth, jobs"),
        ("[server]\nport = 3", {}, "server (animax.toml)", "tls, auth, jobs"),
        ('port = "many"', {}, "port (animax.toml)", "0 to 65535"),
        ("port = true", {}, "port (animax.toml)", "0 to 65535"),
        ("port = 70000", {}, "port (animax.toml)", "0 to 65535"),
        ("", {"ANIMAX_GRACE_SECONDS": "nan"}, "grace_seconds (ANIMAX_GRACE_SECONDS)", "0 to 3600"),
        ("", {"ANIMAX_REFLECTION": "perhaps"}, "reflection (ANIMAX_REFLECTION)", "true or false"),
        ("[jobs]\nshare = 0", {}, "jobs.share (animax.toml)", "1 to 1000"),
        ("jobs = 3", {}, "jobs (animax.toml)", "table"),
        ('log_level = "loud"', {}, "log_level (animax.toml)", "warning"),
        ("[tls]\nkey = 'x'", {}, "tls.certificate", "both"),
        ("port =", {}, "config", "TOML"),
        ('[auth]\nalgorithms = ["none"]\ntoken_file = "t"', {}, "auth.algorithms (animax.toml)", "ES256"),
        ("", {"ANIMAX_AUTH_JWKS_FILE": "keys"}, "auth.issuer", "issuer"),
        ("", {"ANIMAX_AUTH_CONCURRENT": "3"}, "auth.token_file", "a token_file, a jwks_file"),
        ("[auth]", {}, "auth (animax.toml)", "a token_file, a jwks_file, or no table"),
        ("[tls]\n[auth]\ntoken_file = 't'", {}, "tls (animax.toml)", "a certificate and its key, or no table"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(tmp_path, text, environment, name, accepted):
    with pytest.raises(OptionError) as caught:
        read(tmp_path, text, **environment)
    assert caught.value.name == name
    assert accepted in caught.value.accepted
    assert "\n" not in str(caught.value)


def test_a_table_that_the_environment_fills_is_not_empty(tmp_path):
    (tmp_path / "tokens").write_text("")
    found = read(tmp_path, "[auth]\n[jobs]\n", ANIMAX_AUTH_TOKEN_FILE=str(tmp_path / "tokens"))
    assert found.config.auth is not None


def test_variables_of_the_composition_are_known():
    assert unused_variables({"ANIMAX_DATABASE_PASSWORD": "x", "ANIMAX_PROT": "1"}) == ["ANIMAX_PROT"]


def test_a_file_that_is_not_there(tmp_path):
    for given, environment in ((tmp_path / "no.toml", {}), (None, {"ANIMAX_CONFIG": str(tmp_path / "no.toml")})):
        with pytest.raises(OptionError, match="a TOML file that is there"):
            in_force(given, {}, environment)


def test_passwords_are_shown_to_nobody(tmp_path):
    found = in_force(None, {}, {"ANIMAX_JOBS_DATABASE": "postgresql://me:hush@db/x"})
    assert not any("hush" in value.shown() for value in found.values)
    assert found.config.jobs is not None
    assert "hush" in found.config.jobs.database
    with pytest.raises(OptionError) as caught:
        read(tmp_path, '[jobs]\ndatabase = ["postgresql://me:hush@db/x"]')
    assert "hush" not in str(caught.value)


def test_every_field_is_a_key_with_a_meaning():
    keys = every_key()
    for settings, table in ((ServerConfig, ""), (JobSettings, "jobs."), (TlsFiles, "tls."), (AuthSettings, "auth.")):
        assert {table + field.name for field in fields(settings)} - {"tls", "auth", "jobs"} <= set(keys)
    assert [key.name for key in keys.values() if not key.meaning or not key.accepted] == []
    assert len({key.variable for key in keys.values()}) == len(keys)


def test_the_example_says_the_defaults(tmp_path):
    text = re.sub(r"^#(?=\w+ = )", "", example(), flags=re.MULTILINE)
    text = text.replace("\nalgorithms", "\n#algorithms")  # alone, it asks for a file of tokens or keys
    found = read(tmp_path, text.replace("\n[jobs]", "\n[jobs]\ndata = 'd'"))
    assert found.config == ServerConfig(jobs=in_folder(tmp_path / "d"))
    told = set(re.findall(r"^#?(\w+) =", example(), re.MULTILINE))
    assert told == {name.rpartition(".")[2] for name in every_key()}


def test_the_page_has_every_key_as_the_code_has_it(repository):
    page = (repository / "docs" / "configuration.md").read_text("utf-8")
    assert page.endswith(key_tables()), "write the tables anew: animax config example --markdown"


def test_the_service_itself_needs_none_of_it():
    program = "import sys, animax.service; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert not set(done.stdout.split()) & {"pydantic", "pydantic_settings", "torch", "jwt"}

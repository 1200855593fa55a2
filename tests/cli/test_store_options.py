from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from animax.cli.store_options import add_store, store_of
from animax.errors import OptionError
from animax.service.config import MIB
from animax.service.configuration.load import in_force
from animax.service.jobs.settings import JobSettings, in_folder


def settings(*arguments: str) -> JobSettings:
    parser = argparse.ArgumentParser()
    add_store(parser)
    jobs = in_force(None, store_of(parser.parse_args(arguments))).config.jobs
    assert jobs is not None
    return jobs


def test_one_folder_or_two_places(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMAX_DATA", str(tmp_path / "mine"))
    assert settings() == in_folder(tmp_path / "mine")
    assert settings("--data", str(tmp_path)) == in_folder(tmp_path)
    assert settings("--blob-mib", "5", "--lanes", "2") == in_folder(tmp_path / "mine", blob_bytes=5 * MIB, lanes=2)
    both = settings("--database", "postgresql://db/x", "--blobs", "s3://bucket")
    assert (both.database, both.blobs) == ("postgresql://db/x", "s3://bucket")
    assert settings("--blobs", "s3://bucket").database == in_folder(tmp_path / "mine").database
    with pytest.raises(OptionError):
        settings("--data", "x", "--database", "postgresql://db/x", "--blobs", "s3://bucket")


def test_without_a_word_it_is_the_user_s_own_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ANIMAX_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert Path(settings().blobs.removeprefix("file://")) == tmp_path / "animax" / "blobs"


@pytest.mark.parametrize("name", ["blob_bytes", "max_queued", "max_attempts", "lease_seconds", "share", "lanes"])
def test_what_is_out_of_range_is_refused_by_name(name):
    with pytest.raises(OptionError) as caught:
        JobSettings("sqlite:///x", "memory://x", **{name: 0})
    assert caught.value.name == name

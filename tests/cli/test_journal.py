from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from animax.cli.journal import Journal
from animax.cli.manifest import Row
from animax.errors import AnimaxError
from animax.request import Request


def row(folder: Path, name: str = "a") -> Row:
    return Row(1, folder / "rig.glb", "0" * 64, Request(name), "", (folder / "out" / f"{name}.glb",))


def test_what_was_delivered_is_done_as_long_as_the_files_are_the_same(tmp_path):
    path, a, b = tmp_path / "j", row(tmp_path, "a"), row(tmp_path, "b")
    with Journal(path) as journal:
        assert not journal.is_done(a)
        journal.deliver(a, {a.outputs[0]: b"glb"})
        assert journal.is_done(a)
        batch = journal.batch
    with Journal(path) as journal:
        assert journal.batch == batch
        assert [journal.is_done(a), journal.is_done(b)] == [True, False]
        a.outputs[0].write_bytes(b"other")
        assert not journal.is_done(a)
        a.outputs[0].unlink()
        assert not journal.is_done(a)


def test_a_request_id_stays_until_the_row_has_failed(tmp_path):
    path, a = tmp_path / "j", row(tmp_path)
    with Journal(path) as journal:
        first = journal.request_id(a)
        assert journal.request_id(a) == first
        journal.failed(a, "no motion")
        second = journal.request_id(a)
        assert second != first
    with Journal(path) as journal:
        assert journal.request_id(a) == second


@pytest.mark.parametrize("cut", range(0, 40, 7))
def test_a_torn_last_line_is_no_harm(tmp_path, cut):
    path, a, b = tmp_path / "j", row(tmp_path, "a"), row(tmp_path, "b")
    with Journal(path) as journal:
        journal.deliver(a, {a.outputs[0]: b"glb"})
        batch = journal.batch
    with path.open("ab") as file:
        file.write(json.dumps({"key": b.key, "made": {"x": "y"}}).encode()[:cut])
    with Journal(path) as journal:
        assert journal.batch == batch
        assert [journal.is_done(a), journal.is_done(b)] == [True, False]
        journal.deliver(b, {b.outputs[0]: b"glb"})
    with Journal(path) as journal:
        assert journal.is_done(b)


@pytest.mark.skipif(os.name != "posix", reason="flock")
def test_two_batches_do_not_use_one_journal(tmp_path):
    imports = "import sys; from pathlib import Path; from animax.cli.journal import Journal"
    program = f"{imports}; Journal(Path(sys.argv[1])).__enter__()"
    with Journal(tmp_path / "j"):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "j")], capture_output=True, text=True)
        assert done.returncode
        assert "is in use by another batch" in done.stderr
        with pytest.raises(AnimaxError), Journal(tmp_path / "j"):
            pass

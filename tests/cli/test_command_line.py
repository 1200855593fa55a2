from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from animax.cli import command_line, main
from animax.errors import AssetError, Cancelled, EngineError, OptionError


def test_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"animax {metadata.version('animax')}\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["animate"], ["animate", "nowhere.glb", "walks"], ["dance"], ["inspect", "--up"], ["inspect", "."]],
)
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("animax: ")
    assert told[1].startswith("see `animax")


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (AssetError("the file\nis damaged"), 1, "animax: the file is damaged\n"),
        (EngineError("no such provider"), 1, "animax: no such provider\n"),
        (OptionError("seconds", 99, "0.25 to 10"), 2, "animax: seconds is 99; accepted: 0.25 to 10\n"),
        (Cancelled("cancelled"), 130, "animax: interrupted\n"),
        (KeyboardInterrupt(), 130, "animax: interrupted\n"),
        (PermissionError(13, "Permission denied", "out.glb"), 1, "animax: out.glb: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "animax: No space left on device\n"),
        (MemoryError(), 1, "animax: out of memory\n"),
    ],
)
def test_errors_are_one_line_and_a_status(error, status, says, biped, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("animax.assets.reader.load_rig", fail)
    assert main(["inspect", str(biped)]) == status
    assert capsys.readouterr().err == says


def test_a_damaged_file_is_one_line(tmp_path, capsys):
    path = tmp_path / "torn.glb"
    path.write_bytes(b"glTF\x02\0\0\0")
    assert main(["inspect", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("animax: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("axis", ["-x", "-y", "-z", "-Z"])
def test_negative_axes_need_no_equals_sign(axis):
    options = command_line.build_parser().parse_args(
        command_line.join_axes(["inspect", __file__, "--facing", axis, "--up", "+y"])
    )
    assert (options.facing, options.up) == (axis, "+y")


def test_join_axes_leaves_all_else_alone():
    arguments = ["animate", "a.glb", "-x", "--facing", "-o", "b.glb", "--facing=-z", "--up", "90"]
    assert command_line.join_axes(arguments) == arguments


def test_a_reader_that_leaves_early_is_no_traceback(biped):
    command = [sys.executable, "-m", "animax", "inspect", str(biped), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def test_every_command_explains_itself(capsys):
    for command in ("animate", "batch", "serve", "work", "jobs", "inspect", "bench"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert f"animax {command}" in capsys.readouterr().out

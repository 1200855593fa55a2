"""``animax-engine``: whatever goes wrong is one line and a status."""

import sys
from types import SimpleNamespace

import pytest

from animax.errors import ModelError, OptionError
from animax_engine import cli


class OutOfMemoryError(RuntimeError):
    """Of torch's name."""


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ModelError("no such\nmodel"), 1, "no such model"),
        (OptionError("rank", 0, "1 or more"), 2, "rank is 0; accepted: 1 or more"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "log.csv"), 1, "log.csv: Permission denied"),
        (OutOfMemoryError("CUDA out of memory. Tried to\nallocate"), 1, "CUDA out of memory. Tried to"),
        (ModuleNotFoundError(name="onnx.helper"), 1, "package 'onnx' is not installed; accepted: an installation of "
         "animax[train]"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_a_status(error, status, says, monkeypatch, capsys):
    def fail(argv):
        raise error

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(main=fail))
    assert cli.main(["gallery"]) == status
    assert capsys.readouterr().err == f"animax-engine gallery: {says}\n"


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        (["wan", "train"], "peft", "wan"),
        (["wan", "cache"], "ray", "ray"),
        (["distil-text"], "transformers", "distil"),
        (["export"], "onnx", "train"),
    ],
)
def test_a_package_that_is_missing_is_told_with_its_extra(command, package, extra, monkeypatch, capsys):
    def fail(name):
        raise ModuleNotFoundError(name=package)

    monkeypatch.setattr(cli, "import_module", fail)
    assert cli.main(command) == 1
    assert f"{package!r} is not installed; accepted: an installation of animax[{extra}]" in capsys.readouterr().err


def test_a_missing_module_of_our_own_is_no_wrong_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "animax_engine.gallery", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["gallery"])


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["-h"], 0), (["dance"], 2)])
def test_usage(arguments, status, capsys):
    assert cli.main(arguments) == status
    told = capsys.readouterr()
    assert "usage" in told.out or "accepted: bank" in told.err

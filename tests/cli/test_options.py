from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from animax.cli.options import add_request, request_of
from animax.errors import OptionError
from animax.request import Request, RootMode


def parsed(*arguments: str) -> Request:
    parser = argparse.ArgumentParser()
    add_request(parser)
    return request_of(parser.parse_args(arguments), "walks")


def test_without_arguments_a_request_has_its_own_defaults():
    assert parsed() == Request("walks")


def test_every_field_of_a_request_can_be_given():
    given = parsed(
        *("--seconds", "3.5", "--fps", "24", "--seed", "7", "--loop", "--root-mode", "root_motion"),
        *("--guidance", "4", "--steps", "12", "--no-foot-cleanup"),
    )
    assert given == Request("walks", 3.5, 24.0, 7, True, RootMode.ROOT_MOTION, 4.0, 12, False)
    default = Request("walks")
    untouched = [f.name for f in fields(Request) if getattr(given, f.name) == getattr(default, f.name)]
    assert untouched == ["prompt"]


@pytest.mark.parametrize("arguments", [("--seconds", "99"), ("--fps", "nan"), ("--seed", "-1"), ("--steps", "0")])
def test_values_out_of_range_name_their_option(arguments):
    with pytest.raises(OptionError) as refused:
        parsed(*arguments)
    assert f"--{refused.value.name}" == arguments[0]

from __future__ import annotations

import io

from animax.cli.progress import TITLES, ProgressDisplay
from animax.request import Progress, Stage


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_every_stage_has_a_title():
    assert set(TITLES) == set(Stage)


def test_elsewhere_each_stage_is_one_plain_line():
    stream = io.StringIO()
    with ProgressDisplay(stream=stream) as display:
        for step in range(1, 9):
            display(Progress(Stage.DENOISE, step / 10, step, 8))
        display(Progress(Stage.CLEAN, 1.0))
    assert stream.getvalue() == "animax: denoising\nanimax: clean-up\n"


def test_a_terminal_line_is_redrawn_and_cleared():
    stream = Terminal()
    with ProgressDisplay(stream=stream) as display:
        display(Progress(Stage.DENOISE, 0.5, 4, 8))
        display(Progress(Stage.CLEAN, 1.0))
    drawn = stream.getvalue()
    assert "denoising 4/8" in drawn
    assert " 50 %" in drawn
    assert "100 %" in drawn
    assert "\n" not in drawn
    assert drawn.endswith("\r")
    assert set(drawn.rsplit("\r", 2)[1]) <= {" "}


def test_the_bar_spans_all_variants():
    stream = Terminal()
    with ProgressDisplay(total=4, stream=stream) as display:
        display.request = 3
        display(Progress(Stage.CLEAN, 1.0))
    assert "100 %" in stream.getvalue()
    assert "4/4 " in stream.getvalue()


def test_a_terminal_without_unicode_gets_a_bar_all_the_same():
    stream = Terminal()
    stream.encoding = "ascii"
    with ProgressDisplay(stream=stream) as display:
        display(Progress(Stage.CLEAN, 1.0))
    assert stream.getvalue().isascii()

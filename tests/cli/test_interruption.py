from __future__ import annotations

import signal
import threading

import pytest

from animax.cli.interruption import Interruption


def test_the_first_interrupt_asks_and_the_second_insists(capsys):
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption()
        signal.raise_signal(signal.SIGINT)
        assert interruption()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopping" in capsys.readouterr().err


def test_sigterm_asks_too():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption()


def test_outside_the_main_thread_it_leaves_signals_alone():
    found = []

    def work() -> None:
        with Interruption() as interruption:
            found.append(interruption())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]

"""Several processes give the mean of what each would give."""

import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")

from animax_engine.crew import Crew  # noqa: E402


class Steps:
    """Squared distance from the process's number, times a weight."""

    def __init__(self, fail_at=None):
        self.fail_at = fail_at

    def __call__(self, module, number):
        step = 0
        while True:
            if number and step == self.fail_at:
                raise ValueError("a defect")
            (module(torch.ones(1, 2)) - number).square().sum().backward()
            step += 1
            yield step


def build():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 3)


@pytest.mark.parametrize("count", [0, 2])
def test_gradients_are_the_mean_over_processes_on_the_parameters_as_they_are(count):
    module = build()
    with Crew(count, module, Steps()) as crew:
        own = Steps()(module, 0)
        for _ in range(2):
            crew.begin()
            next(own)
            made = crew.finish()
            assert all(p.grad is None for p in module.parameters())
            reference = build()
            reference.load_state_dict(module.state_dict())
            loss = sum((reference(torch.ones(1, 2)) - n).square().sum() for n in range(count + 1)) / (count + 1)
            loss.backward()
            for gradient, parameter in zip(made, reference.parameters(), strict=True):
                torch.testing.assert_close(gradient, parameter.grad)
            with torch.no_grad():  # what is changed here, the others see
                for parameter in module.parameters():
                    parameter.add_(0.5)
    assert not any(process.is_alive() for process in crew._processes)


def meet(crew):
    """Whichever of the two meetings comes after the death tells of it."""
    crew.begin()
    crew.finish()


def test_a_process_that_dies_is_told():
    with Crew(1, build(), Steps(fail_at=0)) as crew, pytest.raises(RuntimeError, match="died"):
        meet(crew)


class Stuck:
    """The first process's step; in the others one that takes an hour."""

    def __call__(self, module, number):
        while True:
            yield time.sleep(3600 * number)


def test_an_error_ends_processes_that_are_in_a_step():
    def fail(crew):
        crew.begin()
        raise OSError("disk full")

    crew = Crew(2, build(), Stuck())
    with pytest.raises(OSError, match="disk full"), crew:
        fail(crew)
    assert not any(process.is_alive() for process in crew._processes)


def test_a_process_ends_with_the_first_however_that_ends(request):
    program = """
import time
from tests.test_crew import Crew, Steps, build, meet
crew = Crew(1, build(), Steps())
meet(crew)
print("met", flush=True)
time.sleep(3600)
"""
    root = request.config.rootpath
    first = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root)
    assert first.stdout.readline() == b"met\n"
    first.kill()
    assert first.communicate(timeout=60) == (b"", None)  # all who could write there have ended

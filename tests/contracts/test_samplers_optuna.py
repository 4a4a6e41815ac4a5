"""The suite that Optuna ships for samplers, over each of ours."""

import functools

import optuna
import pytest
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase, RelativeSamplerTestCase

from acmix_nas.samplers.make import SAMPLERS, make_sampler

# A study of three values that is asked for ten trials gets them, repeats with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*everything was tried:UserWarning")


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestSamplers(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name != "hamming-gp")) for name in SAMPLERS])
    def sampler(self, request):
        return functools.partial(make_sampler, request.param, 0)

"""What a page may ask of the stored results."""

import pytest

from axspa_lib.study.errors import ConfigError
from axspa_lib.study.results import Run


@pytest.mark.parametrize("score", [-0.1, 7.0, float("nan")])
def test_a_threshold_that_is_no_score_is_refused_by_name(score):
    with pytest.raises(ConfigError, match="parameter score_threshold: a score lies from 0 to 1"):
        Run("quick", score)

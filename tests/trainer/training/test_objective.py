"""What each kind of task learns: the alarm for a collapsed posterior, and the choice of the objective."""

import pytest

from tests import tiny
from trainer.task import Task
from trainer.training import objective

COLLAPSED = objective.BoundMetrics(20.0, 19.6, [0.3, 0.1])
HEALTHY = objective.BoundMetrics(20.0, 19.0, [0.7, 0.3])


@pytest.mark.parametrize(("warmup", "last_quiet"), [(0, 1_000), (999, 1_000), (5_000, 5_000)])
def test_a_low_kl_is_an_alarm_only_after_a_thousand_steps_and_after_the_warm_up(warmup, last_quiet):
    learned = objective.for_task(tiny.tiny_task({"steps": 9_000, "warmup_steps": warmup}))
    assert [learned.warning(COLLAPSED, step) for step in (1, last_quiet)] == [None, None]
    assert f"At step {last_quiet + 1:,} the KL is 0.40 nats" in learned.warning(COLLAPSED, last_quiet + 1)
    assert learned.warning(HEALTHY, 9_000) is None


def test_a_classifier_has_no_posterior_to_collapse():
    metrics = objective.ErrorMetrics(2.0, 0.9)
    assert objective.for_task(tiny.CLASSIFIER).warning(metrics, 10**6) is None


def test_a_kind_of_task_without_an_objective_is_refused_by_name():
    class OtherTask(Task):
        name = "other"

        def __init__(self):
            pass

    with pytest.raises(TypeError, match="other is a OtherTask; expected a GenerativeTask or ClassifyingTask"):
        objective.for_task(OtherTask())

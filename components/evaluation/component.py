"""What the contracts of both evaluators have in common."""

from __future__ import annotations

from tfx import types
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter

INPUTS = {
    standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
    standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
    standard_component_specs.BASELINE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
}
OUTPUTS = {
    standard_component_specs.EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation),
    standard_component_specs.BLESSING_KEY: ChannelParameter(type=standard_artifacts.ModelBlessing),
}


def number(value: float | RuntimeParameter) -> float | RuntimeParameter:
    """TFX refuses a whole number where it wants a float."""
    return value if isinstance(value, RuntimeParameter) else float(value)


def check_one_baseline(baseline_model: types.BaseChannel | None, pushed_models: str | RuntimeParameter | None) -> None:
    """Raises ValueError where a baseline is looked for in two places."""
    if baseline_model is not None and pushed_models is not None:
        raise ValueError("Both baseline_model and pushed_models are given; expected one of them, for one baseline.")

"""The channels that both evaluators have."""

from __future__ import annotations

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

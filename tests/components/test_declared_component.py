"""A declared component takes what it declares, and names what it does not."""

from __future__ import annotations

import pytest
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import Channel, standard_artifacts

from components.declared_component import Artifacts, DeclaredBeamComponent, DeclaredComponent, Properties


class Nothing(BaseExecutor):
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        pass


class NothingOnBeam(BaseBeamExecutor, Nothing):
    pass


class Judge(
    DeclaredComponent,
    executor=Nothing,
    inputs={"model": standard_artifacts.Model, "baseline": standard_artifacts.Model},
    properties={"limit": float, "split": str, "rows": int},
    outputs={"blessing": standard_artifacts.ModelBlessing},
    defaults={"baseline": None, "split": None, "rows": 5},
):
    pass


class Scorer(DeclaredBeamComponent, executor=NothingOnBeam, properties={"samples": int}):
    pass


MODEL = Channel(type=standard_artifacts.Model)


def test_what_is_left_out_has_its_default() -> None:
    judge = Judge(model=MODEL, limit=0.5)
    assert judge.exec_properties == {"limit": 0.5, "split": None, "rows": 5}
    assert judge.inputs == {"model": MODEL}
    assert judge.outputs["blessing"].type is standard_artifacts.ModelBlessing
    # One class's declaration is no other's.
    assert Scorer(samples=3).exec_properties == {"samples": 3}


def test_a_whole_number_is_a_float_where_one_is_declared() -> None:
    limit = Judge(model=MODEL, limit=2).exec_properties["limit"]
    assert type(limit) is float and limit == 2.0
    parameter = RuntimeParameter("limit", float)
    assert Judge(model=MODEL, limit=parameter).exec_properties["limit"] is parameter


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0.5}, "Missing argument 'model'"),
        ({"model": MODEL}, "Missing argument 'limit'"),
        (
            {"model": MODEL, "limit": 0.5, "row": 1},
            "^Judge has no argument row; it takes model, baseline, limit, split, rows.$",
        ),
        ({"model": MODEL, "limit": 0.5, "blessing": MODEL}, "Judge has no argument blessing"),
    ],
)
def test_what_is_missing_or_unknown_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Judge(**arguments)


def test_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="'split'"):
        Judge(model=MODEL, limit=0.5, split=3)
    with pytest.raises(TypeError, match="Argument model should be a Channel of type"):
        Judge(model=Channel(type=standard_artifacts.Examples), limit=0.5)


def test_a_component_on_beam_is_one_for_tfx() -> None:
    scorer = Scorer(samples=1)
    assert isinstance(scorer, BaseBeamComponent) and isinstance(scorer.executor_spec, BeamExecutorSpec)
    assert scorer.executor_spec.executor_class is NothingOnBeam
    assert not isinstance(Judge(model=MODEL, limit=1.0).executor_spec, BeamExecutorSpec)

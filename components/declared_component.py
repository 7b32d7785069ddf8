"""Components that declare what they take and give, from which TFX's specification and constructor follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec, ExecutorClassSpec
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

Artifacts = dict[str, list[types.Artifact]]
"""The inputs or outputs of an execution, by name."""
Properties = dict[str, Any]
"""The properties of an execution, by name."""
ArtifactTypes = Mapping[str, type[types.Artifact]]


class DeclaredComponent(BaseComponent):
    """A component whose constructor takes its inputs and properties by name, and raises ValueError for any other."""

    _defaults: Mapping[str, Any] = {}

    def __init_subclass__(
        cls,
        *,
        executor: type[BaseExecutor] | None = None,
        inputs: ArtifactTypes | None = None,
        properties: Mapping[str, type] | None = None,
        outputs: ArtifactTypes | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Declares the component.

        Args:
          executor: runs it; None for a class that is only a base.
          inputs: types of the channels that it takes.
          properties: types of the execution properties.
          outputs: types of the channels that it gives.
          defaults: values of the inputs and properties that need not be given; None for none at all.
        """
        super().__init_subclass__()
        if executor is None:
            return
        cls._defaults = defaults or {}
        optional = {name for name, value in cls._defaults.items() if value is None}
        cls.EXECUTOR_SPEC = (BeamExecutorSpec if issubclass(cls, BaseBeamComponent) else ExecutorClassSpec)(executor)
        cls.SPEC_CLASS = type(
            f"{cls.__name__}Spec",
            (ComponentSpec,),
            {
                "PARAMETERS": {
                    name: ExecutionParameter(type=kind, optional=name in optional)
                    for name, kind in (properties or {}).items()
                },
                "INPUTS": {
                    name: ChannelParameter(type=kind, optional=name in optional)
                    for name, kind in (inputs or {}).items()
                },
                "OUTPUTS": {name: ChannelParameter(type=kind) for name, kind in (outputs or {}).items()},
            },
        )

    def __init__(self, **arguments: Any) -> None:
        spec = self.SPEC_CLASS
        given = {**self._defaults, **arguments}
        if unknown := given.keys() - spec.PARAMETERS.keys() - spec.INPUTS.keys():
            raise ValueError(
                f"{type(self).__name__} has no argument {', '.join(sorted(unknown))}; it takes "
                f"{', '.join([*spec.INPUTS, *spec.PARAMETERS])}."
            )
        for name, parameter in spec.PARAMETERS.items():
            # TFX refuses a whole number as a float.
            if parameter.type is float and isinstance(given.get(name), int):
                given[name] = float(given[name])
        outputs = {name: types.Channel(type=channel.type) for name, channel in spec.OUTPUTS.items()}
        super().__init__(spec(**given, **outputs))


class DeclaredBeamComponent(DeclaredComponent, BaseBeamComponent):
    """A declared component whose executor uses Beam."""

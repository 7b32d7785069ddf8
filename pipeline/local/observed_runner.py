"""LocalDagRunner that announces its stages and knows the id of its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.proto.orchestration import pipeline_pb2


class ObservedLocalDagRunner(LocalDagRunner):
    """LocalDagRunner whose `run_id` is None until something runs.

    It stays None when `tfx pipeline create` has replaced LocalDagRunner.run: that command only wants the pipeline.
    """

    def __init__(self, on_start: Callable[[Sequence[str]], None]) -> None:
        super().__init__()
        self._on_start = on_start
        self._pipeline: pipeline_pb2.Pipeline | None = None

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        """Calls `on_start` with the stages' names in their order, then runs them."""
        self._pipeline = pipeline
        self._on_start([node.pipeline_node.node_info.id for node in pipeline.nodes])
        super().run_with_ir(pipeline, run_options)

    @property
    def run_id(self) -> str | None:
        """Name of the run in MLMD."""
        if self._pipeline is None:
            return None
        # LocalDagRunner writes the value into the pipeline that it was given.
        return self._pipeline.runtime_spec.pipeline_run_id.field_value.string_value

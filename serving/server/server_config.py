"""The configuration of a model server, checked."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from serving.saved_model import GRAPH_FILE
from serving.server import config_files, memory_budget
from serving.server.batching import BatchingParameters
from serving.server.model_versions import Specific
from serving.server.served_models import ModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of a model server, named after TF Serving's flags."""

    models: Mapping[str, ModelConfig] = dataclasses.field(default_factory=dict)
    model_config_file: pathlib.Path | None = None
    """Replaces `models`."""
    model_config_file_poll_wait_seconds: float = 0.0
    """Seconds between two looks at that file; 0 reads it once."""
    host: str = "127.0.0.1"
    port: int = 0
    """gRPC's port; 0 takes a free one."""
    rest_api_port: int | None = 0
    """REST's port; 0 takes a free one, None offers no REST."""
    rest_api_timeout_in_ms: int = 30_000
    """Milliseconds from the end of a REST request's head to its answer, so for its body too."""
    rest_api_num_threads: int = 64
    """REST requests that are computed, or wait for that, at the same time; connections are no matter."""
    rest_api_enable_cors_support: bool = False
    """Whether pages of any origin may call REST."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which REST may be called; empty for those that `HttpCallers` lists."""
    max_memory_mb: int = dataclasses.field(default_factory=lambda: memory_budget.default_capacity() >> 20)
    """Megabytes that all requests under way may take together; half of the memory there is."""
    file_system_poll_wait_seconds: float = 1.0
    """Seconds between two looks at the models' folders; 0 looks once."""
    batching: BatchingParameters | None = None
    """None computes each request by itself."""
    grpc_max_threads: int = dataclasses.field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    """Requests that are computed at the same time without batching."""
    grpc_channel_arguments: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
    prometheus_path: str | None = config_files.PROMETHEUS_PATH
    """Where REST offers the metrics; None offers none."""
    live_page: bool = True
    """Whether REST's port offers a page on which the models can be tried."""
    allow_version_labels_for_unavailable_models: bool = False
    max_request_bytes: int = 64 * 2**20
    max_response_bytes: int = 64 * 2**20
    max_request_rows: int = 1000
    """Most rows of a request without batching; with it, max_batch_size is the bound."""
    max_waiting_requests: int = 1000
    """Most requests that wait to be computed without batching."""
    grace_seconds: float = 10.0
    """Seconds that requests under way get to finish on shutdown."""

    def __post_init__(self) -> None:
        minimums = {
            "rest_api_timeout_in_ms": 1,
            "rest_api_num_threads": 1,
            "grpc_max_threads": 1,
            "max_memory_mb": 1,
            "max_request_rows": 1,
            "max_request_bytes": 1,
            "max_response_bytes": 1,
            "file_system_poll_wait_seconds": 0,
            "model_config_file_poll_wait_seconds": 0,
            "max_waiting_requests": 0,
            "grace_seconds": 0,
        }
        for name, minimum in minimums.items():
            if not getattr(self, name) >= minimum:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {minimum}.")
        if not self.models and self.model_config_file is None:
            raise ValueError("There is no model to serve: name the folder of one, or a model_config_file.")
        if self.port and self.port == self.rest_api_port:
            raise ValueError(f"port and rest_api_port are both {self.port}; they must differ.")


def models_from_folder(folder: pathlib.Path, name: str | None = None) -> dict[str, ModelConfig]:
    """Reads a folder of versions, or the folder of one version, as a model named `name` or as the folder is.

    Raises:
      ValueError: where the folder is neither.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}: name the one that holds the model's versions.")
    if not (folder / GRAPH_FILE).is_file():
        return {name or folder.name: ModelConfig(base_path=folder)}
    if not folder.name.isdigit():
        raise ValueError(
            f"{folder} is a SavedModel, but its name is no version number: put it into a folder that is named by one, "
            f"such as {folder / '1'}, and name the folder around that."
        )
    only = Specific(versions=(int(folder.name),))
    return {name or folder.parent.name: ModelConfig(base_path=folder.parent, policy=only)}

"""What a server is told when it starts, checked."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from serving.server import config_files
from serving.server.batching import BatchingParameters
from serving.server.model_versions import Specific
from serving.server.servable import GRAPH_FILE
from serving.server.served_models import ModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Named after TF Serving's flags."""

    models: Mapping[str, ModelConfig] = dataclasses.field(default_factory=dict)
    model_config_file: pathlib.Path | None = None
    """Read again at intervals where model_config_file_poll_wait_seconds is not 0."""
    model_config_file_poll_wait_seconds: float = 0.0
    host: str = "127.0.0.1"
    port: int = 0
    """Of gRPC; 0 takes a free one."""
    rest_api_port: int | None = 0
    """0 takes a free one; None offers no REST."""
    rest_api_timeout_in_ms: int = 30_000
    rest_api_num_threads: int = 64
    """Connections that are served at the same time."""
    file_system_poll_wait_seconds: float = 1.0
    """0 looks at the folders once."""
    batching: BatchingParameters | None = None
    """None computes each request by itself."""
    grpc_max_threads: int = dataclasses.field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    """Requests that are computed at the same time where they are not merged."""
    grpc_channel_arguments: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
    prometheus_path: str | None = config_files.PROMETHEUS_PATH
    """None offers no metrics."""
    live_page: bool = True
    """Whether REST's port offers a page on which the models can be tried."""
    allow_version_labels_for_unavailable_models: bool = False
    max_request_bytes: int = 64 * 2**20
    max_response_bytes: int = 256 * 2**20
    max_request_rows: int = 1000
    """Where requests are not merged; else max_batch_size is the bound."""
    max_waiting_requests: int = 1000
    """Beyond those that are computed, where they are not merged."""
    grace_seconds: float = 10.0
    """That the requests under way have when the server is told to stop."""

    def __post_init__(self) -> None:
        least = {
            "rest_api_timeout_in_ms": 1,
            "rest_api_num_threads": 1,
            "grpc_max_threads": 1,
            "max_request_rows": 1,
            "max_request_bytes": 1,
            "max_response_bytes": 1,
            "file_system_poll_wait_seconds": 0,
            "model_config_file_poll_wait_seconds": 0,
            "max_waiting_requests": 0,
            "grace_seconds": 0,
        }
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {bound}.")
        if not self.models and self.model_config_file is None:
            raise ValueError("There is no model to serve: name the folder of one, or a model_config_file.")
        if self.port and self.port == self.rest_api_port:
            raise ValueError(f"port and rest_api_port are both {self.port}; they must differ.")


def models_from_folder(folder: pathlib.Path, name: str | None = None) -> dict[str, ModelConfig]:
    """The model in a folder of versions, or in the folder of one version, under `name` or the folder's own name.

    Raises:
      ValueError: where it is neither.
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

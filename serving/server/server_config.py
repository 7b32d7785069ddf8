"""The configuration of a model server, checked."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from serving.cores import cores
from serving.saved_model import GRAPH_FILE
from serving.server import config_files, memory_budget, version_folders
from serving.server.batching import BatchingParameters
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
    """Seconds between two looks at the models' folders; 0 looks until what is there is loaded."""
    load_timeout_seconds: float = 60.0
    """Seconds after which nothing waits any longer for a version that loads: the server starts, the next one loads."""
    allow_unsafe_ops: bool = False
    """Whether a model may have operations that reach files, other hosts, or code of this process."""
    allow_reload_config: bool = False
    """Whether callers may change the models (HandleReloadConfigRequest)."""
    model_roots: tuple[pathlib.Path, ...] = ()
    """Folders below which callers may then name base paths, besides those of the configured models."""
    batching: BatchingParameters | None = None
    """None computes each request by itself."""
    grpc_max_threads: int = dataclasses.field(default_factory=lambda: 4 * cores())
    """Requests that are computed at the same time without batching."""
    grpc_channel_arguments: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
    prometheus_path: str | None = config_files.PROMETHEUS_PATH
    """Where REST offers the metrics; None offers none."""
    live_page: bool = True
    """Whether REST's port offers a page on which the models can be tried."""
    allow_version_labels_for_unavailable_models: bool = False
    max_request_bytes: int = 64 * 2**20
    """Most bytes of a REST request's body, compressed or not."""
    max_message_bytes: int = 16 * 2**20
    """Most bytes of a gRPC request, which is a quarter of the same numbers in JSON. gRPC copies a message on the event
    loop, and so more would be felt by other callers."""
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
            "max_message_bytes": 1,
            "max_response_bytes": 1,
            "file_system_poll_wait_seconds": 0,
            "model_config_file_poll_wait_seconds": 0,
            "max_waiting_requests": 0,
            "load_timeout_seconds": 0,
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

    A link is followed again at each look, so that it may lead to another folder later.

    Raises:
      ValueError: where the folder is neither.
    """
    folder = pathlib.Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}: name the one that holds the model's versions.")
    if (folder / GRAPH_FILE).is_file():
        version = folder if folder.name.isdigit() else folder.resolve()
        if not version.name.isdigit():
            raise ValueError(version_folders.not_a_number(version))
        return {name or version.parent.name: ModelConfig(base_path=folder)}
    if not version_folders.find_versions(folder) and any(folder.glob(f"*/{GRAPH_FILE}")):
        raise ValueError(version_folders.describe_missing(folder))
    return {name or folder.name: ModelConfig(base_path=folder)}

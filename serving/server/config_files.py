"""Reads TF Serving's configuration files: models.config, batching parameters, monitoring."""

from __future__ import annotations

import pathlib

from google.protobuf import message, text_format
from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from serving import protos
from serving.server.batching import BatchingParameters
from serving.server.model_versions import All, Latest, Specific, VersionPolicy
from serving.server.served_models import ModelConfig

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"

# The messages of session_bundle_config.proto and monitoring_config.proto, which tensorflow-serving-api does not carry.
# Text format knows fields by name, so the numbers are ours.
_MESSAGES = protos.declare(
    """
    message Int64Value { int64 value = 1; }
    message BoolValue { bool value = 1; }
    message StringValue { string value = 1; }
    message BatchingParameters {
      Int64Value max_batch_size = 1; Int64Value batch_timeout_micros = 2; Int64Value max_enqueued_batches = 3;
      Int64Value num_batch_threads = 4; Int64Value max_execution_batch_size = 5; StringValue thread_pool_name = 6;
      repeated int64 allowed_batch_sizes = 7; bool pad_variable_length_inputs = 8;
      BoolValue enable_large_batch_splitting = 9;
    }
    message PrometheusConfig { bool enable = 1; string path = 2; }
    message MonitoringConfig { PrometheusConfig prometheus_config = 1; }
    """,
    package="draw.serving.server",
)


def parse_models(content: bytes, path: pathlib.Path) -> dict[str, ModelConfig]:
    """Parses the content of the models.config at `path`.

    Raises:
      ValueError: where it is no such configuration; the message names the file and the line.
    """
    config = model_server_config_pb2.ModelServerConfig()
    _parse(content, path, config)
    try:
        return model_configs(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_batching(path: pathlib.Path) -> BatchingParameters:
    """Reads a file of batching parameters. Raises as `parse_models`, and OSError where it cannot be read."""
    parsed = _MESSAGES["BatchingParameters"]()
    _parse(path.read_bytes(), path, parsed)
    # Those that BatchingParameters has under the same name, where the file gives them.
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    values = {name: getattr(parsed, name).value for name in names if parsed.HasField(name)}
    try:
        if parsed.pad_variable_length_inputs:
            raise ValueError("this server does not pad inputs of various lengths: leave out pad_variable_length_inputs")
        if parsed.enable_large_batch_splitting.value or parsed.HasField("max_execution_batch_size"):
            raise ValueError(
                "this server does not split requests: leave out enable_large_batch_splitting and "
                "max_execution_batch_size, and send at most max_batch_size rows"
            )
        return BatchingParameters(**values, allowed_batch_sizes=tuple(parsed.allowed_batch_sizes))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_monitoring(path: pathlib.Path) -> str | None:
    """Reads the path that Prometheus scrapes; None where the file does not enable it. Raises as `read_batching`."""
    parsed = _MESSAGES["MonitoringConfig"]()
    _parse(path.read_bytes(), path, parsed)
    if not parsed.prometheus_config.enable:
        return None
    chosen = parsed.prometheus_config.path or PROMETHEUS_PATH
    if not chosen.startswith("/"):
        raise ValueError(f"{path}: the path {chosen!r} must begin with /.")
    return str(chosen)


def model_configs(config: model_server_config_pb2.ModelServerConfig) -> dict[str, ModelConfig]:
    """Converts a ModelServerConfig to models by name.

    Raises:
      ValueError: where it lists no models, or one that this server cannot serve.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise ValueError("a configuration must have a model_config_list; there is no other kind.")
    configs: dict[str, ModelConfig] = {}
    for model in config.model_config_list.config:
        if not model.name or not model.base_path:
            raise ValueError("every model needs a name and a base_path.")
        if model.name in configs:
            raise ValueError(f"model {model.name!r} is there twice.")
        if model.model_platform not in ("", "tensorflow"):
            raise ValueError(f"model {model.name!r} has platform {model.model_platform!r}; there is only 'tensorflow'.")
        if "://" in model.base_path:
            raise ValueError(
                f"model {model.name!r} is at {model.base_path}; this server reads local folders only: mount it."
            )
        if not pathlib.Path(model.base_path).is_absolute():
            raise ValueError(
                f"model {model.name!r} has the relative base_path {model.base_path!r}; give an absolute one."
            )
        configs[model.name] = ModelConfig(
            base_path=pathlib.Path(model.base_path),
            policy=_policy(model.name, model.model_version_policy),
            labels=dict(model.version_labels),
        )
    return configs


def _policy(
    model: str, policy: file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        if not policy.specific.versions:
            raise ValueError(f"model {model!r} asks for specific versions and names none.")
        return Specific(versions=tuple(policy.specific.versions))
    return Latest(count=policy.latest.num_versions or 1)


def _parse(content: bytes, path: pathlib.Path, target: message.Message) -> None:
    try:
        # Some editors begin a file with a byte order mark.
        text_format.Parse(content.decode("utf-8-sig"), target)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        name = target.DESCRIPTOR.name
        raise ValueError(f"{path} is no {name} in protobuf's text format: {error}") from error

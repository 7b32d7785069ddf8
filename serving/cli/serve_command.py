"""`draw serve`: the model server, with the names of TF Serving's flags."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from serving import pretrained
from serving.cli.command_line import StrictCommand
from serving.cli.number_options import Real
from serving.cli.place_options import LocalPath
from serving.cli.tf_serving_flags import leave_out_needless
from serving.native_output import quiet_native_code

if TYPE_CHECKING:
    from serving.server import ServerConfig

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FILE = LocalPath(exists=True, dir_okay=False, path_type=pathlib.Path)


class _ModelFolder(LocalPath):
    """A folder, or the name of a pretrained model."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Looks the name up."""
        return super().convert(pretrained.resolve(os.fspath(value)), param, ctx)


class _ServeCommand(StrictCommand):
    """A command that also takes switches as TF Serving does: `--enable_batching=true`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Respells switches as Click knows them: `--enable_batching` and `--noenable_batching`."""
        switches = [option.opts[0] for option in self.params if isinstance(option, click.Option) and option.is_flag]
        spelled = {
            f"{name}={value}": name if value in ("true", "1") else name.replace("--", "--no", 1)
            for name in switches
            for value in ("true", "1", "false", "0")
        }
        arguments = [spelled.get(argument, argument) for argument in leave_out_needless(args)]
        return super().parse_args(ctx, arguments)


def _switch(name: str, text: str, *, default: bool = False) -> Callable[[_Command], _Command]:
    return click.option(f"--{name}/--no{name}", default=default, show_default=True, help=text)


@click.command(cls=_ServeCommand)
@click.argument("model_dir", required=False, type=_ModelFolder(exists=True, file_okay=False, path_type=pathlib.Path))
@click.option("--model_name", help="The model's name in requests.  [default: the folder's]")
@click.option(
    "--model_base_path", type=LocalPath(path_type=pathlib.Path), help="MODEL_DIR under TF Serving's name for it."
)
@click.option("--model_config_file", type=_FILE, help="A models.config: several models, version policies, labels.")
@click.option(
    "--model_config_file_poll_wait_seconds",
    type=Real(0, 31_536_000),
    default=0,
    show_default=True,
    help="How often to read that file again; 0 is never.",
)
@_switch("allow_version_labels_for_unavailable_models", "Whether a label may name a version that is not loaded.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="gRPC port; 0 takes any.")
@click.option(
    "--rest_api_port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="REST port; 0 is no REST."
)
@click.option(
    "--rest_api_timeout_in_ms",
    type=click.IntRange(1, 2**31 - 1),
    default=30_000,
    show_default=True,
    help="Milliseconds that a REST request may take, from its head to its answer.",
)
@click.option(
    "--rest_api_num_threads",
    type=click.IntRange(1, 100_000),
    default=64,
    show_default=True,
    help="REST requests computed at a time; more wait.",
)
@_switch("rest_api_enable_cors_support", "Whether pages of any origin may call REST.")
@click.option(
    "--allowed_hosts",
    default="",
    help="Names by which REST may be called: name,*.example.com or * for any. Not a flag of TF Serving.  "
    "[default: addresses, localhost, and unless --host is the loopback's, names that only a private network has]",
)
@click.option(
    "--max_memory_mb",
    type=click.IntRange(1, 2**40),
    help="Megabytes for all requests under way; more are refused. Not a flag of TF Serving.  "
    "[default: half of the memory]",
)
@click.option(
    "--file_system_poll_wait_seconds",
    type=Real(0, 31_536_000),
    default=1,
    show_default=True,
    help="How often to look for new versions; 0 is once.",
)
@click.option(
    "--load_timeout_seconds",
    type=Real(0, 31_536_000),
    default=60,
    show_default=True,
    help="Seconds after which nothing waits any longer for a version that loads. Not a flag of TF Serving.",
)
@_switch("allow_unsafe_ops", "Whether a model may reach files, other hosts, or Python. Not a flag of TF Serving.")
@_switch("allow_reload_config", "Whether callers may change the models over gRPC. Not a flag of TF Serving.")
@click.option(
    "--model_root",
    "model_roots",
    multiple=True,
    type=LocalPath(exists=True, file_okay=False, path_type=pathlib.Path),
    help="A folder below which callers may then name models, besides those that are served; may be repeated.",
)
@_switch("enable_batching", "Whether to compute requests that arrive together in one batch.")
@click.option("--batching_parameters_file", type=_FILE, help="TF Serving's BatchingParameters; see docs/serving.md.")
@click.option("--monitoring_config_file", type=_FILE, help="TF Serving's MonitoringConfig.  [default: metrics are on]")
@_switch("live_page", "Whether REST's port offers the page /live. Not a flag of TF Serving.", default=True)
@click.option(
    "--grpc_max_threads",
    type=click.IntRange(1, 100_000),
    help="Requests computed at the same time without batching.  [default: 4 a core]",
)
@click.option("--grpc_channel_arguments", default="", help="gRPC's own options: key=value,key=value.")
@click.option(
    "--tensorflow_intra_op_parallelism",
    type=click.IntRange(0, 1024),
    default=0,
    help="Threads of an operation; 0 is one a core.",
)
@click.option(
    "--tensorflow_inter_op_parallelism",
    type=click.IntRange(0, 1024),
    default=0,
    help="Operations at a time; 0 is one a core.",
)
@click.option(
    "--max_request_rows",
    type=click.IntRange(1, 2**31 - 1),
    default=1000,
    show_default=True,
    help="Rows of a request without batching; with it, max_batch_size is the limit. Not a flag of TF Serving.",
)
def serve(
    model_dir: pathlib.Path | None,
    model_base_path: pathlib.Path | None,
    tensorflow_intra_op_parallelism: int,
    tensorflow_inter_op_parallelism: int,
    **flags: Any,
) -> None:
    """Serve the model in MODEL_DIR over gRPC and REST, as TF Serving does.

    MODEL_DIR holds a folder for each version, as `draw run` leaves them, or is one version's folder, or the name of a
    pretrained model (see `draw models`). A new version
    takes the place of the old one when it is loaded; no request fails in between. SIGTERM, SIGHUP or Ctrl-C ends the
    server when it has answered what is under way, and a second one at once.
    """
    folder = model_dir or model_base_path
    if (model_dir and model_base_path) or (folder and flags["model_config_file"]):
        raise click.UsageError("Name one of MODEL_DIR, --model_base_path and --model_config_file.")
    if not folder and not flags["model_config_file"]:
        raise click.UsageError("There is no model to serve: name MODEL_DIR, or --model_config_file.")
    if flags["batching_parameters_file"] and not flags["enable_batching"]:
        raise click.UsageError("--batching_parameters_file needs --enable_batching.")
    with quiet_native_code():
        # They import TensorFlow, which takes seconds.
        from serving.server import server_process, status_error

    try:
        server_process.serve_until_signal(
            _server_config(folder, **flags),
            intra_op_threads=tensorflow_intra_op_parallelism,
            inter_op_threads=tensorflow_inter_op_parallelism,
        )
    except (OSError, ValueError, status_error.StatusError) as error:
        raise click.ClickException(str(error)) from error


def _server_config(
    folder: pathlib.Path | None,
    *,
    model_name: str | None,
    enable_batching: bool,
    batching_parameters_file: pathlib.Path | None,
    monitoring_config_file: pathlib.Path | None,
    grpc_max_threads: int | None,
    max_memory_mb: int | None,
    allowed_hosts: str,
    host: str,
    grpc_channel_arguments: str,
    rest_api_port: int,
    **same: Any,
) -> ServerConfig:
    """Makes the configuration of the flags; `same` are those that it has too. What is not given has its default."""
    from serving.server import batching, config_files, server_config, server_process

    given: dict[str, Any] = {}
    if folder:
        given["models"] = server_config.models_from_folder(folder, model_name)
    if enable_batching:
        file = batching_parameters_file
        given["batching"] = config_files.read_batching(file) if file else batching.BatchingParameters()
    if monitoring_config_file:
        given["prometheus_path"] = config_files.read_monitoring(monitoring_config_file)
    if max_memory_mb:
        given["max_memory_mb"] = max_memory_mb
    if allowed_hosts:
        given["allowed_hosts"] = tuple(name.strip() for name in allowed_hosts.split(","))
    if grpc_max_threads:
        given["grpc_max_threads"] = grpc_max_threads
    if grpc_channel_arguments:
        given["grpc_channel_arguments"] = server_process.channel_arguments(grpc_channel_arguments)
    return server_config.ServerConfig(host=host.strip("[]"), rest_api_port=rest_api_port or None, **given, **same)

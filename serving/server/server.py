"""The model server: its parts put together, started, and stopped without a request lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import pathlib
import threading
import time
from collections.abc import Mapping
from types import TracebackType

import grpc
from google.protobuf import text_format
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.server import config_files, descriptors, health_service, status_error, version_loader
from serving.server.batching import BatchingScheduler, Scheduler, UnbatchedScheduler
from serving.server.grpc_messages import MessageLimits
from serving.server.http_listener import HttpListener
from serving.server.memory_budget import MemoryBudget
from serving.server.model_service import ModelService
from serving.server.model_versions import State
from serving.server.prediction_service import PredictionService
from serving.server.predictor import Predictor
from serving.server.prometheus_metrics import Metrics
from serving.server.rest import RestApi, compressing
from serving.server.served_models import ModelConfig, ServedModels
from serving.server.server_config import ServerConfig
from serving.server.service_names import MODEL_SERVICE, PREDICTION_SERVICE

_log = logging.getLogger(__name__)

_MIN_IDLE_SECONDS, _MAX_IDLE_SECONDS = 3, 300
_HANDSHAKE_SECONDS = 10
_CONNECTION_SECONDS = 600
"""After which a connection takes no more calls, for its client to open another, and after as many more ends.

So a caller that never reads a large answer holds memory for it no longer than that.
"""
_STREAMS = 1000
_IDENTITY_AND_GZIP = 1 << 0 | 1 << 2


class Server:
    """Serves models over gRPC and REST until it is stopped; a context manager that has started when it is entered.

    ```python
    config = ServerConfig(models=models_from_folder(pathlib.Path("runs/digits/serving/digits")))
    with Server(config) as server:
        print(server.grpc_port, server.rest_port)
    ```
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._metrics = Metrics()
        self._scheduler = _scheduler(config, self._metrics)
        self._models = ServedModels(
            functools.partial(
                version_loader.load_version,
                allow_unsafe_ops=config.allow_unsafe_ops,
                max_rows=self._scheduler.max_rows,
            ),
            poll_seconds=config.file_system_poll_wait_seconds,
            load_timeout=config.load_timeout_seconds,
            allow_labels_of_missing_versions=config.allow_version_labels_for_unavailable_models,
            on_change=self._publish_states,
        )
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self._loop.run_forever, name="grpc", daemon=True)
        self._grpc: grpc.aio.Server | None = None
        self._grpc_port = 0
        self._health: health_service.HealthService | None = None
        self._budget = MemoryBudget(config.max_memory_mb * 2**20)
        self._messages = MessageLimits(self._budget, max_message_bytes=config.max_message_bytes)
        self._rest: RestApi | None = None
        self._http: HttpListener | None = None
        self._stopping = threading.Event()
        self._lifecycle = threading.Lock()
        """Held while the server begins to answer, and while it ends to."""
        self._reloading = threading.Lock()
        self._model_roots: list[pathlib.Path] = []

    @property
    def grpc_port(self) -> int:
        """The port that gRPC listens on."""
        return self._grpc_port

    @property
    def rest_port(self) -> int:
        """The port that REST listens on; 0 where it is not offered."""
        return self._http.port if self._http is not None else 0

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> bool:
        """Loads the models, then starts to answer. A model whose versions are all broken ends only in its status.

        Returns False where `stop` was called meanwhile.

        Raises:
          OSError: where a port is taken, or a file cannot be read.
          ValueError: where the models.config is wrong.
        """
        config = self._config
        try:
            configs, content = dict(config.models), b""
            if config.model_config_file is not None:
                content = config.model_config_file.read_bytes()
                configs = config_files.parse_models(content, config.model_config_file)
            with self._lifecycle:
                if self._stopping.is_set():
                    return False
                self._loop_thread.start()
                # Before the models are loaded, so that a port that is taken is reported at once.
                self._wait(self._bind())
            self._model_roots = [config.base_path for config in configs.values()]
            self._models.configure(configs)
            with self._lifecycle:
                if self._stopping.is_set():
                    return False
                self._wait(self._serve())
        except BaseException:
            self.stop()
            raise
        if config.model_config_file is not None and config.model_config_file_poll_wait_seconds:
            threading.Thread(target=self._poll_config, args=(content,), name="poll-config", daemon=True).start()
        return True

    def stop(self) -> None:
        """Answers what is under way, within the grace period, and ends. Does nothing where the server does not run.

        It waits for requests and for nothing else: not for a version that loads, nor for a disk that does not answer.
        """
        self._stopping.set()
        self._models.stop()
        with self._lifecycle:
            if not self._loop_thread.is_alive():
                return
            end = time.monotonic() + self._config.grace_seconds
            self._wait(self._stop_serving())
            # What is computed after the grace period is for nobody.
            closing = threading.Thread(target=self._close, name="close", daemon=True)
            closing.start()
            closing.join(max(end - time.monotonic(), 0.1))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join()
            self._loop.close()

    def _close(self) -> None:
        self._scheduler.close()
        self._messages.close()
        if self._rest is not None:
            self._rest.close()

    async def _bind(self) -> None:
        config = self._config
        connections = descriptors.raise_and_share()
        self._messages.most_streams = connections // 2
        arguments: dict[str, int | str] = {
            "grpc.max_receive_message_length": config.max_message_bytes,
            "grpc.max_send_message_length": config.max_response_bytes + 2**20,
            # Of a connection; more wait at the caller's.
            "grpc.max_concurrent_streams": _STREAMS,
            # gRPC would unpack a message before it looks at the limit: 16 MB to 16 GB. MessageLimits does it within.
            "grpc.per_message_decompression": 0,
            "grpc.compression_enabled_algorithms_bitset": _IDENTITY_AND_GZIP,
            # Two servers on one port would share its requests, and neither would say so.
            "grpc.so_reuseport": 0,
            **_connection_arguments(connections),
            **config.grpc_channel_arguments,
        }
        self._grpc = grpc.aio.server(interceptors=[self._messages], options=list(arguments.items()))
        predictor = Predictor(self._scheduler, max_response_bytes=config.max_response_bytes)
        self._health = health_service.HealthService(("", PREDICTION_SERVICE, MODEL_SERVICE))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(predictor, self._models, self._metrics), self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._models, self._reload), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        names = (PREDICTION_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._grpc)
        address = f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}"
        try:
            self._grpc_port = self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(
                f"gRPC cannot listen on {address}: another server is there, or it is no address of this machine."
            ) from error
        if config.rest_api_port is not None:
            self._rest = RestApi(config, predictor, self._models, self._metrics, self._budget)
            app = compressing(self._rest, any_origin=config.rest_api_enable_cors_support)
            try:
                self._http = HttpListener(
                    app,
                    host=config.host,
                    port=config.rest_api_port,
                    max_connections=connections,
                    grace_seconds=config.grace_seconds,
                )
            except OSError as error:
                raise OSError(f"REST cannot listen on {config.host}:{config.rest_api_port}: {error}") from error

    async def _serve(self) -> None:
        assert self._grpc is not None
        await self._grpc.start()
        if self._http is not None:
            await self._http.start()

    async def _stop_serving(self) -> None:
        """Answers what is under way over both protocols, within the same grace."""
        if self._health is not None:
            self._health.set(health_service.NOT_SERVING, ends=True)
        stops = [] if self._grpc is None else [self._grpc.stop(self._config.grace_seconds)]
        stops += [] if self._http is None else [self._http.stop()]
        await asyncio.gather(*stops)

    def _reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        if not self._config.allow_reload_config:
            raise status_error.StatusError(
                grpc.StatusCode.PERMISSION_DENIED,
                "This server does not let callers change its models: start it with --allow_reload_config, or with "
                "--model_config_file and --model_config_file_poll_wait_seconds, and change the file.",
            )
        # Each holds a thread while a disk is slow to answer.
        if not self._reloading.acquire(blocking=False):
            raise status_error.StatusError(
                grpc.StatusCode.ABORTED, "Another configuration is being loaded: try again later."
            )
        try:
            configs = config_files.model_configs(config)
            self._expect_below_roots(configs)
            _log.info("New configuration: %s", text_format.MessageToString(config, as_one_line=True))
            self._models.configure(configs, strict=True)
        except ValueError as error:
            raise status_error.invalid(str(error)) from error
        finally:
            self._reloading.release()

    def _expect_below_roots(self, configs: Mapping[str, ModelConfig]) -> None:
        """Raises StatusError where a folder is missing, or lies elsewhere than a caller may name."""
        roots = [path.resolve() for path in (*self._model_roots, *self._config.model_roots)]
        for name, config in configs.items():
            path = config.base_path.resolve()
            if not any(path.is_relative_to(root) for root in roots):
                raise status_error.StatusError(
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"Model {name!r} is at {config.base_path}, which is not below {', '.join(map(str, roots))}: name "
                    "one of these folders, or start the server with --model_root for yours.",
                )
            if not path.is_dir():
                raise status_error.StatusError(
                    grpc.StatusCode.NOT_FOUND,
                    f"There is no folder {config.base_path} for model {name!r}; nothing is changed.",
                )

    def _poll_config(self, served: bytes) -> None:
        path, problem = self._config.model_config_file, ""
        assert path is not None
        while not self._stopping.wait(self._config.model_config_file_poll_wait_seconds):
            try:
                content = path.read_bytes()
                if content != served:
                    self._models.configure(config_files.parse_models(content, path))
                    served, problem = content, ""
            # A file that somebody is editing must not end the server; it is tried again, for a folder may come late.
            except Exception as error:
                if str(error) != problem:
                    problem = str(error)
                    _log.error("The models stay as they are: %s", problem)

    def _publish_states(self) -> None:
        """Updates the metrics, and health: SERVING while every model has a version that answers."""
        if self._stopping.is_set():
            return
        statuses = self._models.all_statuses()
        self._metrics.set_version_states(
            (model, version, State.Name(status.state))
            for model, versions in statuses.items()
            for version, status in versions.items()
        )
        ready = all(self._models.available().values())
        status = health_service.SERVING if ready else health_service.NOT_SERVING
        if self._health is not None:
            with contextlib.suppress(RuntimeError):  # The loop has just been closed.
                self._loop.call_soon_threadsafe(self._health.set, status)

    def _wait(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()  # type: ignore[arg-type]


def _scheduler(config: ServerConfig, metrics: Metrics) -> Scheduler:
    alone = UnbatchedScheduler(
        threads=config.grpc_max_threads,
        max_rows=config.max_request_rows,
        max_waiting=config.max_waiting_requests,
        metrics=metrics,
    )
    return alone if config.batching is None else BatchingScheduler(config.batching, alone, metrics)


def _connection_arguments(most: int) -> dict[str, int | str]:
    """Makes gRPC close connections that ask nothing, the sooner, the fewer may be open, and those that are old."""
    idle_seconds = min(_MAX_IDLE_SECONDS, max(_MIN_IDLE_SECONDS, most // 10))
    return {
        "grpc.max_allowed_incoming_connections": most,
        "grpc.max_connection_idle_ms": 1000 * idle_seconds,
        "grpc.max_connection_age_ms": 1000 * _CONNECTION_SECONDS,
        "grpc.max_connection_age_grace_ms": 1000 * _CONNECTION_SECONDS,
        "grpc.server_handshake_timeout_ms": 1000 * min(idle_seconds, _HANDSHAKE_SECONDS),
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 20_000,
        # Each ping beyond a limit makes an error of 5 kB, until the connection is closed for them: 5 MB of pings take
        # 1.4 GB, and seconds of all callers. One that is answered takes nothing.
        "grpc.http2.max_ping_strikes": 0,
    }

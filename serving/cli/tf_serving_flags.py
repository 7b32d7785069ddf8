"""The flags of TensorFlow Serving that `draw serve` does not take, and why; docs/serving.md has the table of all."""

from __future__ import annotations

import click

ALWAYS: dict[str, str] = {
    "enable_grpc_healthcheck_service": "always on: probes and balancers ask it",
    "enable_model_warmup": "always on: a version answers when its warm-up requests are answered",
    "enable_serialization_as_tensor_content": "always on: a value for each element costs more to write and to read",
}
"""Switches whose `true` is what the server always does; `false` is refused."""

REFUSED: dict[str, str] = {
    "enable_per_model_batching_parameters": "one set of batching parameters is for all models",
    "enable_profiler": "it opens a port's profiler to every caller; profile the training with TensorBoard instead",
    "enable_signature_method_name_check": "our signatures are TensorFlow 2's, which have no method name to check",
    "flush_filesystem_caches": "a host's cache is the host's business, and a version is read once",
    "grpc_socket_path": "--host and --port say where it listens; a socket file has no client of ours",
    "load_retry_interval_micros": "the pause before a load is tried again grows by itself",
    "max_num_load_retries": "a load is tried again until it succeeds, unless the version's files are at fault",
    "mixed_precision": "the precision is the model's: a task's recipe sets it before the training",
    "num_load_threads": "each version loads on a thread of its own, which no request waits for",
    "num_request_iterations_for_warmup": "a warm-up request is sent once, which compiles all that it can",
    "num_tflite_interpreters_per_pool": "a pushed model has no TensorFlow Lite form",
    "num_tflite_pools": "a pushed model has no TensorFlow Lite form",
    "num_unload_threads": "a version is let go when its last request is answered",
    "per_process_gpu_memory_fraction": "TF_FORCE_GPU_ALLOW_GROWTH in the environment governs a GPU's memory",
    "platform_config_file": "there is one platform, TensorFlow",
    "prefer_tflite_model": "a pushed model has no TensorFlow Lite form",
    "remove_unused_fields_from_bundle_metagraph": "the graph is not kept after the load",
    "saved_model_tags": "a pushed model has one graph, which is tagged `serve`",
    "skip_initialize_tpu": "the server runs on CPUs and GPUs",
    "tensorflow_session_config_file": "no session runs; two flags of parallelism govern the threads",
    "tensorflow_session_parallelism": "it is --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism",
    "thread_pool_factory_config_file": "TensorFlow's Python API offers no thread pools of one's own",
    "use_alts_credentials": "ALTS works on Google's machines only, and a proxy in front can speak it",
    "use_tflite_model": "a pushed model has no TensorFlow Lite form",
    "version": "`draw --version` tells it",
    "xla_cpu_compilation_enabled": "a model that was exported with XLA is compiled, and no other",
    "xla_gpu_compilation_enabled": "a model that was exported with XLA is compiled, and no other",
}

PLANNED: dict[str, str] = {
    "ssl_config_file": "TLS; until then a proxy in front, such as Envoy or nginx, secures the ports",
}


def leave_out_needless(arguments: list[str]) -> list[str]:
    """Returns a command line without the switches that say what the server always does.

    Raises click.UsageError for a flag of TensorFlow Serving that the server does not take.
    """
    refused = {**ALWAYS, **REFUSED, **{name: f"planned is {reason}" for name, reason in PLANNED.items()}}
    kept = []
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        known = next((known for known in (name, name.removeprefix("no")) if known in refused), None)
        if known is None or not argument.startswith("--"):
            kept.append(argument)
        elif name not in ALWAYS or value not in ("", "true", "1"):
            raise click.UsageError(
                f"{argument.partition('=')[0]} is a flag of TensorFlow Serving that draw serve does not take: "
                f"{refused[known]}. docs/serving.md has all of them."
            )
    return kept

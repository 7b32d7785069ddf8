"""Every flag of TensorFlow Serving: taken, or refused with its reason, and in the table of docs/serving.md."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from serving.cli.serve_command import serve
from serving.cli.tf_serving_flags import ALWAYS, PLANNED, REFUSED, leave_out_needless

DOCUMENT = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")

# Of tensorflow_serving/model_servers/main.cc in release 2.19.
TF_SERVING = re.findall(
    r"\w+",
    """
allow_version_labels_for_unavailable_models batching_parameters_file enable_batching enable_grpc_healthcheck_service
enable_model_warmup enable_per_model_batching_parameters enable_profiler enable_serialization_as_tensor_content
enable_signature_method_name_check file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments
grpc_max_threads grpc_socket_path load_retry_interval_micros max_num_load_retries mixed_precision model_base_path
model_config_file model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads
num_request_iterations_for_warmup num_tflite_interpreters_per_pool num_tflite_pools num_unload_threads
per_process_gpu_memory_fraction platform_config_file port prefer_tflite_model remove_unused_fields_from_bundle_metagraph
rest_api_enable_cors_support rest_api_num_threads rest_api_port rest_api_timeout_in_ms saved_model_tags
skip_initialize_tpu ssl_config_file tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism
tensorflow_session_config_file tensorflow_session_parallelism thread_pool_factory_config_file use_alts_credentials
version xla_cpu_compilation_enabled xla_gpu_compilation_enabled
""",
)

ROWS = {name: (status, reason) for name, status, reason in re.findall(r"\| `--(\w+)` \| (\w+) \| (.*) \|", DOCUMENT)}
OPTIONS = {
    name.removeprefix("--") for option in serve.params if isinstance(option, click.Option) for name in option.opts
}


def test_the_table_has_every_flag() -> None:
    assert len(TF_SERVING) == 48
    assert set(TF_SERVING) <= ROWS.keys()


def test_the_table_is_what_the_command_does() -> None:
    assert {name for name, (status, _) in ROWS.items() if status == "taken"} == set(TF_SERVING) & OPTIONS
    for expected, reasons in (("always", ALWAYS), ("refused", REFUSED), ("planned", PLANNED)):
        written = {name: reason for name, (status, reason) in ROWS.items() if status == expected}
        assert written == {name: reason.removeprefix("always on: ") for name, reason in reasons.items()}


def test_the_document_names_every_option_of_ours() -> None:
    own = re.search(r"Ours alone: (.*?);", DOCUMENT, re.DOTALL)
    assert own is not None
    switches = {name for name in OPTIONS if name.startswith("no") and name.removeprefix("no") in OPTIONS}
    assert set(re.findall(r"`--(\w+)`", own[1])) == OPTIONS - set(TF_SERVING) - switches


@pytest.mark.parametrize("name", [*REFUSED, *PLANNED])
def test_a_flag_that_is_not_taken_says_why_and_where_all_are(name: str, tmp_path: Path) -> None:
    for flag in (f"--{name}=1", f"--{name}", f"--no{name}"):
        result = CliRunner().invoke(serve, [str(tmp_path), flag])
        assert result.exit_code == 2
        assert (
            f"{flag.partition('=')[0]} is a flag of TensorFlow Serving that draw serve does not take" in result.output
        )
        assert {**REFUSED, **PLANNED}[name] in " ".join(result.output.split())
        assert "docs/serving.md" in result.output


@pytest.mark.parametrize("name", ALWAYS)
def test_what_is_always_on_may_be_asked_for_and_not_be_turned_off(name: str) -> None:
    for flag in (f"--{name}", f"--{name}=true", f"--{name}=1"):
        assert leave_out_needless(["folder", flag, "--port=1"]) == ["folder", "--port=1"]
    for flag in (f"--no{name}", f"--{name}=false", f"--{name}=0"):
        with pytest.raises(click.UsageError, match="always on"):
            leave_out_needless(["folder", flag])


def test_any_other_word_is_left_to_the_command() -> None:
    words = ["version", "--port", "1", "--", "-o", "--novelty", "--unknown=1"]
    assert leave_out_needless(words) == words

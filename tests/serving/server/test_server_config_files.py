"""TF Serving's files, as its documentation writes them."""

from __future__ import annotations

import pathlib

import pytest

from serving.server import models_from_folder
from serving.server.batching import BatchingParameters
from serving.server.config_files import parse_models, read_batching, read_monitoring
from serving.server.model_versions import All, Latest, Specific
from serving.server.served_models import ModelConfig
from serving.server.server_config import ServerConfig
from serving.server.server_process import channel_arguments


def _written(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "file"
    path.write_text(text, encoding="utf-8")
    return path


def _models(folder: pathlib.Path, text: str) -> dict[str, ModelConfig]:
    path = _written(folder, text)
    return parse_models(path.read_bytes(), path)


def test_models_with_policies_and_labels(tmp_path: pathlib.Path) -> None:
    text = """
    model_config_list {
      config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
      config { name: "b" base_path: "/models/b" model_version_policy { latest { num_versions: 3 } } }
      config { name: "c" base_path: "/models/c" model_version_policy { all {} } }
      config {
        name: "d" base_path: "/models/d"
        model_version_policy { specific { versions: 42 versions: 43 } }
        version_labels { key: "stable" value: 42 }
        version_labels { key: "canary" value: 43 }
      }
    }"""
    folder = pathlib.Path("/models")
    assert _models(tmp_path, text) == {
        "a": ModelConfig(base_path=folder / "a", policy=Latest(count=1)),
        "b": ModelConfig(base_path=folder / "b", policy=Latest(count=3)),
        "c": ModelConfig(base_path=folder / "c", policy=All()),
        "d": ModelConfig(
            base_path=folder / "d", policy=Specific(versions=(42, 43)), labels={"stable": 42, "canary": 43}
        ),
    }


def test_policies_choose_by_number() -> None:
    versions = [9, 100, 11]
    assert Latest(count=2).choose(versions) == [11, 100]
    assert All().choose(versions) == [9, 11, 100]
    assert Specific(versions=(100, 9, 5)).choose(versions) == [9, 100]


_MODEL = 'name: "a" base_path: "/a"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a model_config_list"),
        ("custom_model_config {}", "must have a model_config_list"),
        ("model_config_list {\n config { nome: 'a' } }", '2:11 .*no field named "nome"'),
        ('model_config_list { config { name: "a" } }', "a name and a base_path"),
        (f"model_config_list {{ config {{ {_MODEL} }} config {{ {_MODEL} }} }}", "'a' is there twice"),
        (f'model_config_list {{ config {{ {_MODEL} model_platform: "torch" }} }}', "platform 'torch'"),
        ('model_config_list { config { name: "a" base_path: "gs://b/a" } }', "local folders only"),
        ('model_config_list { config { name: "a" base_path: "b" } }', "absolute"),
        (
            f"model_config_list {{ config {{ {_MODEL} model_version_policy {{ specific {{}} }} }} }}",
            "names none",
        ),
    ],
)
def test_wrong_models_are_refused_with_file_and_line(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s){tmp_path}/file.*{message}"):
        _models(tmp_path, text)


def test_batching_parameters(tmp_path: pathlib.Path) -> None:
    text = """
    max_batch_size { value: 128 }
    batch_timeout_micros { value: 700 }
    max_enqueued_batches { value: 5 }
    num_batch_threads { value: 3 }
    thread_pool_name { value: "pool" }
    allowed_batch_sizes: 16
    allowed_batch_sizes: 128
    """
    assert read_batching(_written(tmp_path, text)) == BatchingParameters(
        max_batch_size=128,
        batch_timeout_micros=700,
        max_enqueued_batches=5,
        num_batch_threads=3,
        allowed_batch_sizes=(16, 128),
    )
    assert read_batching(_written(tmp_path, "")) == BatchingParameters()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 8", "1:17 .*Expected"),
        ("max_batch { value: 8 }", 'no field named "max_batch"'),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "end with max_batch_size"),
        ("num_batch_threads { value: 0 }", "at least 1"),
        ("pad_variable_length_inputs: true", "does not pad"),
        ("enable_large_batch_splitting { value: true }", "does not split"),
        ("max_execution_batch_size { value: 4 }", "does not split"),
    ],
)
def test_wrong_batching_parameters_are_refused(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}/file.*{message}"):
        read_batching(_written(tmp_path, text))


def test_monitoring(tmp_path: pathlib.Path) -> None:
    enabled = "prometheus_config { enable: true }"
    assert read_monitoring(_written(tmp_path, enabled)) == "/monitoring/prometheus/metrics"
    elsewhere = 'prometheus_config { enable: true, path: "/metrics" }'
    assert read_monitoring(_written(tmp_path, elsewhere)) == "/metrics"
    assert read_monitoring(_written(tmp_path, 'prometheus_config { path: "/metrics" }')) is None
    with pytest.raises(ValueError, match="must begin with /"):
        read_monitoring(_written(tmp_path, 'prometheus_config { enable: true, path: "metrics" }'))


def test_a_folder_is_a_model_or_one_version_of_it(tmp_path: pathlib.Path) -> None:
    version = tmp_path / "digits" / "17"
    version.mkdir(parents=True)
    assert models_from_folder(tmp_path / "digits") == {"digits": ModelConfig(base_path=tmp_path / "digits")}
    (version / "saved_model.pb").touch()
    only = ModelConfig(base_path=version)
    assert models_from_folder(version) == {"digits": only}
    assert models_from_folder(version, "mine") == {"mine": only}
    with pytest.raises(ValueError, match="its name is no version number"):
        models_from_folder(version.rename(tmp_path / "export"))
    with pytest.raises(ValueError, match="There is no folder"):
        models_from_folder(tmp_path / "nowhere")


def test_channel_arguments() -> None:
    assert channel_arguments("grpc.a=5,grpc.b=x=y, grpc.c=-1") == {"grpc.a": 5, "grpc.b": "x=y", "grpc.c": -1}
    with pytest.raises(ValueError, match=r"has 'grpc\.a'"):
        channel_arguments("grpc.a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {}}, "no model to serve"),
        ({"port": 85, "rest_api_port": 85}, "must differ"),
        ({"grpc_max_threads": 0}, "grpc_max_threads is 0; it must be at least 1"),
        ({"file_system_poll_wait_seconds": -1}, "at least 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    good = {"models": {"a": ModelConfig(base_path=pathlib.Path("/a"))}}
    with pytest.raises(ValueError, match=message):
        ServerConfig(**{**good, **change})

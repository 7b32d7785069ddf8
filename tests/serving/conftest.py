"""What the tests of the client and of the contract share: one model on one server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server.batching import BatchingParameters
from tests import tiny
from tests.serving import model_server


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the versions of `model_server.MODEL`: images 7 x 5 of 0 and 1, with attention."""
    return model_server.export_model(tiny.MODELS["attention"], tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_server(tiny_folder: Path) -> Iterator[str]:
    """HOST:PORT of a server of that model."""
    with model_server.serve(tiny_folder) as server:
        yield f"127.0.0.1:{server.grpc_port}"


@pytest.fixture(scope="session")
def batching_server(tiny_folder: Path) -> Iterator[str]:
    """HOST:PORT of the same, which merges requests and pads the batches."""
    batching = BatchingParameters(max_batch_size=64, batch_timeout_micros=2_000, allowed_batch_sizes=(4, 64))
    with model_server.serve(tiny_folder, batching=batching) as server:
        yield f"127.0.0.1:{server.grpc_port}"

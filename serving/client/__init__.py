"""A typed client of TF Serving's gRPC protocol for DRAW's signatures; needs only grpcio, protobuf and NumPy."""

from serving.client.answers import (
    Classification,
    Latents,
    ModelMetadata,
    Reconstruction,
    Scores,
    Sequence,
    Signature,
    TensorSpec,
    VersionStatus,
)
from serving.client.calls import Retry
from serving.client.channel import Tls
from serving.client.chunks import Chunks
from serving.client.client import Client
from serving.client.errors import (
    AccessDenied,
    BadInput,
    DeadlineExceeded,
    MessageTooLarge,
    ModelNotFound,
    ServerFailed,
    ServerOverloaded,
    ServerUnavailable,
    ServingError,
    SignatureNotFound,
    UnexpectedAnswer,
)
from serving.client.signature_calls import SignatureCalls, seed_rows

__all__ = [
    "AccessDenied",
    "BadInput",
    "Chunks",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "Latents",
    "MessageTooLarge",
    "ModelMetadata",
    "ModelNotFound",
    "Reconstruction",
    "Retry",
    "Scores",
    "Sequence",
    "ServerFailed",
    "ServerOverloaded",
    "ServerUnavailable",
    "ServingError",
    "Signature",
    "SignatureCalls",
    "SignatureNotFound",
    "TensorSpec",
    "Tls",
    "UnexpectedAnswer",
    "VersionStatus",
    "seed_rows",
]

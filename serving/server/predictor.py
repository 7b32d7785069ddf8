"""TF Serving's requests answered: from the message, over the signature that it names, to the response.

Everything here runs on the event loop, which must never wait: it checks, and hands the computing to the scheduler.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import wrappers_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
)

from serving.rest_json import printing
from serving.saved_model import DEFAULT_SIGNATURE, Arrays
from serving.server import memory_budget, status_error, tensor_protos
from serving.server.batching import Scheduler
from serving.server.servable import Servable, Signature

_CLASSIFY_METHOD = "tensorflow/serving/classify"
_PREDICT_METHOD = "tensorflow/serving/predict"

_METADATA_FIELDS = ("signature_def", "task", "reference")
_INLINE_BYTES = 2**18
_MAX_DIMS = 32
_EXAMPLE_BYTES = 4096
"""An example's, about: an image."""
_MAX_CLASSES = 200_000
"""Of an answer to Classify over gRPC: each is a message, and protobuf holds Python's lock for all of them."""
_COPIES = 3
"""Of an answer in memory at a time: the arrays, protobuf's, and what gRPC sends."""

T = TypeVar("T")


class Predictor:
    """Answers the requests of TF Serving's PredictionService, from gRPC and REST alike, with a version of a model.

    Its methods take the deadline on time.monotonic's clock, and raise StatusError where the answer is not OK.
    """

    def __init__(self, scheduler: Scheduler, *, max_response_bytes: int) -> None:
        self._scheduler = scheduler
        self._max_response_bytes = max_response_bytes
        self.max_rows = scheduler.max_rows

    async def predict(
        self, servable: Servable, request: predict_pb2.PredictRequest, *, deadline: float = math.inf
    ) -> bytes:
        """Computes the outputs of a signature, or those that the output_filter names; a serialized PredictResponse."""
        signature = predict_signature(servable, request.model_spec.signature_name)
        expect_aliases(signature, request.inputs, request.output_filter)

        def inputs() -> Arrays:
            return {
                alias: tensor_protos.to_array(alias, request.inputs[alias], spec, max_rows=self.max_rows)
                for alias, spec in signature.inputs.items()
            }

        # Not the request's ByteSize, for which newer versions of protobuf serialize it. A shape may be any nonsense.
        values = sum(
            math.prod(dim.size for dim in proto.tensor_shape.dim[:_MAX_DIMS]) for proto in request.inputs.values()
        )
        outputs = await self.compute(
            signature, await _run(inputs, 8 * values), output_filter=list(request.output_filter), deadline=deadline
        )
        response = predict_pb2.PredictResponse(model_spec=_spec_of(servable, signature))
        return await _run(
            lambda: tensor_protos.serialize_response(response, outputs), sum(value.nbytes for value in outputs.values())
        )

    async def classify(
        self, servable: Servable, request: classification_pb2.ClassificationRequest, *, deadline: float = math.inf
    ) -> classification_pb2.ClassificationResponse:
        """Computes classes and scores of tf.Examples."""
        signature = classify_signature(servable, request.model_spec.signature_name)
        count = len(request.input.example_list.examples) + len(request.input.example_list_with_context.examples)
        examples = await _run(lambda: _serialized_examples(request.input), _EXAMPLE_BYTES * count)
        inputs = examples_input(signature, examples, max_rows=self.max_rows)
        outputs = await self.compute(signature, inputs, deadline=deadline)
        expect_classifications(outputs, len(examples))
        if (classes := max(value.size for value in outputs.values())) > _MAX_CLASSES:
            raise status_error.StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The answer has {classes} classes and this server sends at most {_MAX_CLASSES}: send fewer examples, "
                "or ask with Predict.",
            )

        def response() -> classification_pb2.ClassificationResponse:
            response = classification_pb2.ClassificationResponse(model_spec=_spec_of(servable, signature))
            _fill_classifications(outputs, len(examples), response.result)
            return response

        return await _run(response, 64 * sum(value.size for value in outputs.values()))

    async def compute(
        self, signature: Signature, inputs: Arrays, *, output_filter: Sequence[str] = (), deadline: float
    ) -> Arrays:
        """Computes the outputs, or those of the filter, for inputs of the right dtypes and shapes.

        The answer's size is bounded, and its memory claimed, before it is computed where the signature tells it.
        """
        rows = {len(value) for value in inputs.values()} if signature.has_rows else {1}
        if len(rows) > 1:
            counts = {alias: len(value) for alias, value in inputs.items()}
            raise status_error.invalid(f"All inputs must have the same number of rows; these have {counts}.")

        def claim(size: int, claimed: int = 0) -> int:
            if size > self._max_response_bytes:
                raise status_error.StatusError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"The answer has {size} bytes and this server sends at most {self._max_response_bytes}: ask for "
                    "fewer rows, or name the outputs that you need in output_filter.",
                )
            memory_budget.claim(_COPIES * max(0, size - claimed))
            return size

        claimed = claim(sum(signature.outputs[alias].bytes_of(*rows) for alias in output_filter or signature.outputs))
        outputs = await self._scheduler.submit(signature, inputs, deadline=deadline)
        outputs = {alias: outputs[alias] for alias in output_filter or outputs}
        claim(sum(map(tensor_protos.count_bytes, outputs.values())), claimed)
        return outputs


def metadata(
    servable: Servable, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Lists the signatures; and as JSON the task and the reference, which TF Serving does not tell."""
    if not request.metadata_field:
        raise status_error.invalid("GetModelMetadataRequest must name at least one metadata_field: signature_def.")
    for field in request.metadata_field:
        if field not in _METADATA_FIELDS:
            known = ", ".join(map(repr, _METADATA_FIELDS))
            raise status_error.invalid(f"There is no metadata field {field!r}, only {known}.")
    response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec_of(servable))
    if "signature_def" in request.metadata_field:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in servable.signatures.items():
            signatures.signature_def[name].CopyFrom(signature.definition)
        response.metadata["signature_def"].Pack(signatures)
    if "task" in request.metadata_field and servable.task is not None:
        response.metadata["task"].Pack(wrappers_pb2.StringValue(value=json.dumps(servable.task)))
    if "reference" in request.metadata_field and servable.reference is not None:
        response.metadata["reference"].Pack(wrappers_pb2.StringValue(value=servable.reference))
    return response


def predict_signature(servable: Servable, name: str) -> Signature:
    """Finds the signature that a Predict request names; the default one where it names none.

    Raises:
      StatusError: FAILED_PRECONDITION where there is none, as in TF Serving; its Classify says INVALID_ARGUMENT.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        raise status_error.StatusError(
            grpc.StatusCode.FAILED_PRECONDITION, f"There is no signature {name!r}, only {sorted(servable.signatures)}."
        )
    return servable.signatures[name]


async def _run(function: Callable[[], T], size: int) -> T:
    """Runs the function, on a thread where it works on many bytes, so that the event loop goes on."""
    return function() if size <= _INLINE_BYTES else await asyncio.to_thread(function)


def classify_signature(servable: Servable, name: str) -> Signature:
    """Finds the signature that a Classify request names, and checks that it can classify tf.Examples."""
    name = name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        raise status_error.invalid(f"There is no signature {name!r}, only {sorted(servable.signatures)}.")
    signature = servable.signatures[name]
    method = signature.definition.method_name
    # TensorFlow 2 exports every signature as one of Predict; then the names of the tensors decide.
    if method not in (_CLASSIFY_METHOD, _PREDICT_METHOD):
        raise status_error.invalid(
            f"Signature {name!r} has method_name {method!r}; this request needs {_CLASSIFY_METHOD!r}."
        )
    specs = list(signature.inputs.values())
    if len(specs) != 1 or specs[0].dtype != tf.string or specs[0].shape not in (None, (None,)):
        raise status_error.invalid(
            f"Signature {name!r} takes {_listed(signature.inputs)}; this request needs one input of serialized "
            "tf.Examples, string [?]."
        )
    if not signature.outputs or not set(signature.outputs) <= {"classes", "scores"}:
        raise status_error.invalid(
            f"Signature {name!r} gives {sorted(signature.outputs)}; this request needs classes, scores or both."
        )
    return signature


def _serialized_examples(examples: input_pb2.Input) -> list[bytes]:
    """Serializes the examples, each with the context that they share."""
    kind = examples.WhichOneof("kind")
    if kind == "example_list":
        return [example.SerializeToString() for example in examples.example_list.examples]
    if kind == "example_list_with_context":
        # A message's bytes after another's merge into it, and so an example's features win over the context's.
        context = examples.example_list_with_context.context.SerializeToString()
        return [context + example.SerializeToString() for example in examples.example_list_with_context.examples]
    return []


def examples_input(signature: Signature, rows: list[bytes], *, max_rows: int) -> Arrays:
    """Makes serialized examples the input of a signature that classifies. Raises StatusError, INVALID_ARGUMENT."""
    if not rows:
        raise status_error.invalid("The input is empty: send at least one tf.Example.")
    if len(rows) > max_rows:
        raise status_error.invalid(f"There are {len(rows)} examples; this server takes at most {max_rows} a request.")
    array = np.empty(len(rows), object)
    array[:] = rows
    (alias,) = signature.inputs
    return {alias: array}


def expect_classifications(outputs: Arrays, rows: int) -> None:
    """Raises StatusError, FAILED_PRECONDITION, where `classes` and `scores` are not [rows, k]."""
    shapes = {alias: list(value.shape) for alias, value in outputs.items()}
    shape = next(iter(shapes.values()))
    if len(shape) != 2 or shape[0] != rows or any(other != shape for other in shapes.values()):
        raise status_error.StatusError(
            grpc.StatusCode.FAILED_PRECONDITION, f"Outputs for {rows} examples must be [{rows}, k]; they are {shapes}."
        )


def _fill_classifications(outputs: Arrays, rows: int, result: classification_pb2.ClassificationResult) -> None:
    """Writes `classes` string [n, k], `scores` float [n, k], or both into the result."""
    classes, scores = outputs.get("classes"), outputs.get("scores")
    columns = next(iter(outputs.values())).shape[1]
    for row in range(rows):
        classification = result.classifications.add()
        for column in range(columns):
            chosen = classification.classes.add()
            if classes is not None:
                chosen.label = printing.as_text(classes[row, column])
            if scores is not None:
                chosen.score = float(scores[row, column])


def expect_aliases(signature: Signature, inputs: Iterable[str], output_filter: Sequence[str] = ()) -> None:
    """Raises StatusError where inputs are missing or unknown, or the output filter names what there is not."""
    missing = sorted(set(signature.inputs) - set(inputs))
    unknown = sorted(set(inputs) - set(signature.inputs))
    if missing or unknown:
        raise status_error.invalid(
            f"Signature {signature.name!r} takes {_listed(signature.inputs)}. Missing: {missing}; unknown: {unknown}."
        )
    for alias in output_filter:
        if alias not in signature.outputs:
            raise status_error.invalid(f"There is no output {alias!r} to filter, only {sorted(signature.outputs)}.")
    if len(set(output_filter)) < len(output_filter):
        raise status_error.invalid(f"output_filter names an output twice: {list(output_filter)}.")


def _listed(specs: dict[str, tensor_protos.TensorSpec]) -> str:
    return ", ".join(f"{alias!r} {spec}" for alias, spec in specs.items())


def _spec_of(servable: Servable, signature: Signature | None = None) -> model_pb2.ModelSpec:
    """Makes the specification that tells a caller which version answered."""
    spec = model_pb2.ModelSpec(name=servable.model, signature_name="" if signature is None else signature.name)
    spec.version.value = servable.version
    return spec

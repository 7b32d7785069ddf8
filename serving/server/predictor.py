"""What TF Serving's requests mean: from the message, over the signature that it names, to the answer.

Everything here runs on the event loop, which must never wait: it checks, and hands the computing to the scheduler.
"""

from __future__ import annotations

import math

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import status_error, tensor_protos
from serving.server.batching import Scheduler
from serving.server.servable import DEFAULT_SIGNATURE, Arrays, Servable, Signature
from serving.server.served_models import ServedModels

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"


class Predictor:
    """Answers the requests of TF Serving's PredictionService, from gRPC and REST alike.

    Its methods take the deadline on time.monotonic's clock, and raise StatusError where the answer is not OK.
    """

    def __init__(self, models: ServedModels, scheduler: Scheduler, *, max_response_bytes: int) -> None:
        self._models = models
        self._scheduler = scheduler
        self._max_response_bytes = max_response_bytes

    async def predict(
        self, request: predict_pb2.PredictRequest, *, deadline: float = math.inf
    ) -> predict_pb2.PredictResponse:
        """The outputs of a signature, or those that the request's output_filter names."""
        with self._models.lease(_spec(request)) as servable:
            response = await predict(
                servable, request, self._scheduler, deadline=deadline, max_response_bytes=self._max_response_bytes
            )
            return response

    async def classify(
        self, request: classification_pb2.ClassificationRequest, *, deadline: float = math.inf
    ) -> classification_pb2.ClassificationResponse:
        """Classes and scores of tf.Examples."""
        with self._models.lease(_spec(request)) as servable:
            response = classification_pb2.ClassificationResponse()
            await self._infer(servable, request.model_spec, request.input, CLASSIFY, response, deadline)
            return response

    async def regress(
        self, request: regression_pb2.RegressionRequest, *, deadline: float = math.inf
    ) -> regression_pb2.RegressionResponse:
        """A number for each of the tf.Examples."""
        with self._models.lease(_spec(request)) as servable:
            response = regression_pb2.RegressionResponse()
            await self._infer(servable, request.model_spec, request.input, REGRESS, response, deadline)
            return response

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, *, deadline: float = math.inf
    ) -> inference_pb2.MultiInferenceResponse:
        """Classifications and regressions of the same tf.Examples by one version of one model."""
        if not request.tasks:
            raise status_error.invalid("The request has no tasks: send at least one.")
        if len({task.model_spec.name for task in request.tasks}) > 1:
            raise status_error.invalid("All tasks of a MultiInferenceRequest must name the same model.")
        names = [_signature_name(task.model_spec) for task in request.tasks]
        if len(set(names)) < len(names):
            raise status_error.invalid(f"A signature is asked for twice among {names}.")
        with self._models.lease(request.tasks[0].model_spec) as servable:
            response = inference_pb2.MultiInferenceResponse()
            for task in request.tasks:
                await self._infer_task(servable, task, request.input, response.results.add(), deadline)
            return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures, the one kind of metadata that there is."""
        if not request.metadata_field:
            raise status_error.invalid("GetModelMetadataRequest must name at least one metadata_field: signature_def.")
        for field in request.metadata_field:
            if field != "signature_def":
                raise status_error.invalid(f"There is no metadata field {field!r}, only 'signature_def'.")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._models.lease(_spec(request)) as servable:
            _name_servable(response.model_spec, servable)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature.definition)
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def _infer_task(
        self,
        servable: Servable,
        task: inference_pb2.InferenceTask,
        examples: input_pb2.Input,
        result: inference_pb2.InferenceResult,
        deadline: float,
    ) -> None:
        if task.method_name == CLASSIFY:
            response: classification_pb2.ClassificationResponse = classification_pb2.ClassificationResponse()
            await self._infer(servable, task.model_spec, examples, CLASSIFY, response, deadline)
            result.classification_result.CopyFrom(response.result)
        elif task.method_name == REGRESS:
            response = regression_pb2.RegressionResponse()
            await self._infer(servable, task.model_spec, examples, REGRESS, response, deadline)
            result.regression_result.CopyFrom(response.result)
        else:
            raise status_error.StatusError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"A task has method_name {task.method_name!r}; there are {CLASSIFY!r} and {REGRESS!r}.",
            )
        result.model_spec.CopyFrom(response.model_spec)

    async def _infer(
        self,
        servable: Servable,
        spec: model_pb2.ModelSpec,
        examples: input_pb2.Input,
        method: str,
        response: classification_pb2.ClassificationResponse | regression_pb2.RegressionResponse,
        deadline: float,
    ) -> None:
        """Fills the response of Classify or Regress."""
        signature = example_signature(servable, spec, method)
        serialized = serialized_examples(examples, max_rows=self._scheduler.max_rows)
        (alias,) = signature.inputs
        outputs = await compute(self._scheduler, signature, {alias: serialized}, deadline=deadline)
        if method == CLASSIFY:
            fill_classifications(outputs, len(serialized), response.result)
        else:
            fill_regressions(outputs, len(serialized), response.result)
        _name_servable(response.model_spec, servable, signature)


async def predict(
    servable: Servable,
    request: predict_pb2.PredictRequest,
    scheduler: Scheduler,
    *,
    deadline: float,
    max_response_bytes: int,
) -> predict_pb2.PredictResponse:
    """Predict on a version that the caller has chosen, whichever the request names."""
    signature = predict_signature(servable, request.model_spec)
    _expect_aliases(signature, request)
    inputs = {
        alias: tensor_protos.to_array(alias, request.inputs[alias], spec, max_rows=scheduler.max_rows)
        for alias, spec in signature.inputs.items()
    }
    outputs = await compute(scheduler, signature, inputs, deadline=deadline)
    wanted = list(request.output_filter) or list(outputs)
    size = sum(outputs[alias].nbytes for alias in wanted)
    if size > max_response_bytes:
        raise status_error.StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"The answer has {size} bytes and this server sends at most {max_response_bytes}: ask for fewer rows, or "
            "name the outputs that you need in output_filter.",
        )
    response = predict_pb2.PredictResponse()
    _name_servable(response.model_spec, servable, signature)
    for alias in wanted:
        tensor_protos.to_proto(outputs[alias], response.outputs[alias])
    return response


async def compute(scheduler: Scheduler, signature: Signature, inputs: Arrays, *, deadline: float) -> Arrays:
    """The outputs for inputs of the right dtypes and shapes."""
    if signature.has_rows and len({len(value) for value in inputs.values()}) > 1:
        rows = {alias: len(value) for alias, value in inputs.items()}
        raise status_error.invalid(f"All inputs must have the same number of rows; these have {rows}.")
    try:
        return await scheduler.submit(signature, inputs, deadline=deadline)
    except Exception as error:
        raise status_error.from_exception(error) from error


def predict_signature(servable: Servable, spec: model_pb2.ModelSpec) -> Signature:
    """The signature that a Predict request names. TF Serving's Predict has another code for it than the rest."""
    name = _signature_name(spec)
    if name not in servable.signatures:
        raise status_error.StatusError(
            grpc.StatusCode.FAILED_PRECONDITION, f"There is no signature {name!r}, only {sorted(servable.signatures)}."
        )
    return servable.signatures[name]


def example_signature(servable: Servable, spec: model_pb2.ModelSpec, method: str) -> Signature:
    """The signature that a Classify or Regress request names, where its tensors are those of the method."""
    name = _signature_name(spec)
    if name not in servable.signatures:
        raise status_error.invalid(f"There is no signature {name!r}, only {sorted(servable.signatures)}.")
    signature = servable.signatures[name]
    declared = signature.definition.method_name
    # TensorFlow 2 exports every signature as one of Predict; then the names of the tensors decide.
    if declared not in (method, PREDICT):
        raise status_error.invalid(f"Signature {name!r} has method_name {declared!r}; this request needs {method!r}.")
    (spec_of_input,) = signature.inputs.values() if len(signature.inputs) == 1 else (None,)
    if spec_of_input is None or spec_of_input.dtype != tf.string or spec_of_input.shape not in (None, (None,)):
        raise status_error.invalid(
            f"Signature {name!r} takes {_listed(signature.inputs)}; this request needs one input of serialized "
            "tf.Examples, string [?]."
        )
    allowed = {"classes", "scores"} if method == CLASSIFY else {"outputs"}
    if not signature.outputs or not set(signature.outputs) <= allowed:
        raise status_error.invalid(
            f"Signature {name!r} gives {sorted(signature.outputs)}; this request needs "
            f"{'classes, scores or both' if method == CLASSIFY else 'outputs'}."
        )
    return signature


def serialized_examples(examples: input_pb2.Input, *, max_rows: int) -> np.ndarray:
    """[n] bytes objects."""
    kind = examples.WhichOneof("kind")
    if kind == "example_list":
        rows = [example.SerializeToString() for example in examples.example_list.examples]
    elif kind == "example_list_with_context":
        # A message's bytes after another's merge into it, and so an example's features win over the context's.
        context = examples.example_list_with_context.context.SerializeToString()
        rows = [context + example.SerializeToString() for example in examples.example_list_with_context.examples]
    else:
        rows = []
    if not rows:
        raise status_error.invalid("The input is empty: send at least one tf.Example.")
    if len(rows) > max_rows:
        raise status_error.invalid(f"There are {len(rows)} examples; this server takes at most {max_rows} a request.")
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def fill_classifications(outputs: Arrays, rows: int, result: classification_pb2.ClassificationResult) -> None:
    """From `classes` string [n, k], `scores` float [n, k], or both."""
    classes, scores = outputs.get("classes"), outputs.get("scores")
    shape = next(value.shape for value in (classes, scores) if value is not None)
    if len(shape) != 2 or shape[0] != rows or any(value.shape != shape for value in outputs.values()):
        shapes = {alias: list(value.shape) for alias, value in outputs.items()}
        raise status_error.StatusError(
            grpc.StatusCode.FAILED_PRECONDITION, f"Outputs for {rows} examples must be [{rows}, k]; they are {shapes}."
        )
    for row in range(rows):
        classification = result.classifications.add()
        for column in range(shape[1]):
            chosen = classification.classes.add()
            if classes is not None:
                label = classes[row, column]
                chosen.label = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
            if scores is not None:
                chosen.score = float(scores[row, column])


def fill_regressions(outputs: Arrays, rows: int, result: regression_pb2.RegressionResult) -> None:
    """From `outputs` float [n] or [n, 1]."""
    values = outputs["outputs"]
    if values.shape not in ((rows,), (rows, 1)) or values.dtype.kind != "f":
        raise status_error.StatusError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"Output 'outputs' for {rows} examples must be floats, [{rows}] or [{rows}, 1]; it is {values.dtype} "
            f"{list(values.shape)}.",
        )
    for value in values.ravel().tolist():
        result.regressions.add().value = value


def _expect_aliases(signature: Signature, request: predict_pb2.PredictRequest) -> None:
    """Raises StatusError where inputs are missing or unknown, or the output filter names what there is not."""
    missing = sorted(set(signature.inputs) - set(request.inputs))
    unknown = sorted(set(request.inputs) - set(signature.inputs))
    if missing or unknown:
        raise status_error.invalid(
            f"Signature {signature.name!r} takes {_listed(signature.inputs)}. Missing: {missing}; unknown: {unknown}."
        )
    for alias in request.output_filter:
        if alias not in signature.outputs:
            raise status_error.invalid(f"There is no output {alias!r} to filter, only {sorted(signature.outputs)}.")
    if len(set(request.output_filter)) < len(request.output_filter):
        raise status_error.invalid(f"output_filter names an output twice: {list(request.output_filter)}.")


def _listed(specs: dict[str, tensor_protos.Spec]) -> str:
    return ", ".join(f"{alias!r} {spec}" for alias, spec in specs.items())


def _spec(request: object) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):  # type: ignore[attr-defined]
        raise status_error.invalid("The request has no model_spec: name the model.")
    return request.model_spec  # type: ignore[attr-defined]


def _signature_name(spec: model_pb2.ModelSpec) -> str:
    return spec.signature_name or DEFAULT_SIGNATURE


def _name_servable(spec: model_pb2.ModelSpec, servable: Servable, signature: Signature | None = None) -> None:
    """Tells the caller which version answered."""
    spec.name = servable.model
    spec.version.value = servable.version
    if signature is not None:
        spec.signature_name = signature.name

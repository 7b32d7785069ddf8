"""Checks of a server's answers to valid requests. The functions' names are what `draw check-server` prints."""

from __future__ import annotations

import numpy as np

from serving.client import BadInput, seed_rows, wire
from serving.client.tensor_codec import from_tensor
from serving.contract.tested_server import ContractBroken, Outputs, Server, require_same
from serving.noise import seed_noise

ROWS = 5
SEED = 1502

_INPUTS: dict[str, tuple[str, ...]] = {
    "sample": ("seed",),
    "sample_sequence": ("seed",),
    "score": ("image", "seed"),
    "reconstruct": ("image", "seed"),
    "classify": ("image",),
    "decode": ("z",),
    "decode_sequence": ("z",),
    "encode": ("image", "eps"),
}
SIGNATURES = tuple(_INPUTS)
"""Those of the contract that take numbers, and no tf.Examples."""


def valid_inputs(server: Server, signature: str, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Makes the inputs of a valid request: images of zeros and ones, which every task takes, and the seeds' noise."""
    seeds = seed_rows(SEED, rows)
    inputs = {}
    for name in _INPUTS[signature]:
        if name == "seed":
            inputs[name] = seeds
        elif name == "image":
            shape = server.metadata.image_shape
            if shape is None:
                raise BadInput(f"{signature} takes images of no fixed size.")
            inputs[name] = np.random.default_rng(SEED).integers(0, 2, (rows, *shape)).astype(np.float32)
        else:
            inputs[name] = seed_noise(seeds, *server.latent_shape())
    return inputs


def metadata_has_the_signatures_of_the_contract(server: Server) -> None:
    """Checks names and dtypes of the inputs."""
    present = signatures(server)
    if not present:
        raise ContractBroken(f"There is none of {sorted(SIGNATURES)}, only {sorted(server.metadata.signatures)}.")
    for name in present:
        inputs = server.signature(name).inputs
        wanted = {key: value.dtype for key, value in valid_inputs(server, name).items()}
        if {key: spec.dtype for key, spec in inputs.items()} != wanted:
            raise ContractBroken(f"{name} takes {inputs}; expected {wanted}.")


def an_answer_names_the_model_its_version_and_the_signature(server: Server) -> None:
    """Checks the fields of `model_spec`, which TF Serving fills in if the request leaves them out."""
    name = _first(server)
    for requested, answered in ((name, name), ("", "serving_default")):
        request = server.request(requested, valid_inputs(server, name, 1))
        spec = server.ask(wire.PREDICT, request).model_spec
        if (spec.name, spec.version.value, spec.signature_name) != (server.model, server.metadata.version, answered):
            raise ContractBroken(f"The answer to signature {requested!r} says that it is of {spec}.")


def the_default_signature_is_the_first_of_its_task(server: Server) -> None:
    """Checks that it is `sample` of a generative model, and `classify` of a classifier."""
    name = _first(server)
    answer = server.ask(wire.PREDICT, server.request("", valid_inputs(server, name)))
    for key, expected in server.answer(name, valid_inputs(server, name)).items():
        require_same(expected, from_tensor(answer.outputs[key], key), f"{key} of the default signature and of {name}")


def the_same_request_gets_the_same_answer(server: Server) -> None:
    """Checks that all randomness is the caller's."""
    for name in signatures(server):
        inputs = valid_inputs(server, name)
        again = server.answer(name, inputs)
        for key, array in server.answer(name, inputs).items():
            require_same(array, again[key], f"{name}: {key} asked twice")


def a_row_does_not_depend_on_its_batch(server: Server) -> None:
    """Checks rows alone, in another order, and among others."""
    order = np.array([3, 0, 4, 1, 2])
    for name in signatures(server):
        inputs = valid_inputs(server, name)
        together = server.answer(name, inputs)
        shuffled = server.answer(name, {key: value[order] for key, value in inputs.items()})
        alone = server.answer(name, {key: value[2:3] for key, value in inputs.items()})
        for key, array in together.items():
            require_same(array[order], shuffled[key], f"{name}: {key} in another order")
            require_same(array[2:3], alone[key], f"{name}: {key} of a row alone")


def seeds_make_the_difference(server: Server) -> None:
    """Checks either half of a seed."""
    if "sample" not in server.metadata.signatures:
        return
    seeds = np.array([[SEED, 0], [SEED, 1], [SEED + 1, 0], [0, SEED]], np.int64)
    images = server.answer("sample", {"seed": seeds})["image"]
    if len(np.unique(images.reshape(len(seeds), -1), axis=0)) != len(seeds):
        raise ContractBroken(f"sample: not all of the seeds {seeds.tolist()} give images of their own.")


def images_are_means(server: Server) -> None:
    """Checks that images are in [0, 1], and that the last canvas is the image."""
    for name in ("sample", "reconstruct"):
        if name in server.metadata.signatures:
            _in_range(server.answer(name, valid_inputs(server, name))["image"], f"{name}: image")
    if {"sample", "sample_sequence"} <= server.metadata.signatures.keys():
        canvas = server.answer("sample_sequence", valid_inputs(server, "sample_sequence"))["canvas"]
        _in_range(canvas, "sample_sequence: canvas")
        image = server.answer("sample", valid_inputs(server, "sample"))["image"]
        require_same(image, canvas[:, -1], "The last canvas of sample_sequence and the image of sample")


def scores_add_up(server: Server) -> None:
    """Checks that nll_bound = reconstruction + kl, and kl is the sum of its steps."""
    if "score" not in server.metadata.signatures:
        return
    outputs = server.answer("score", valid_inputs(server, "score"))
    require_same(outputs["nll_bound"], outputs["reconstruction"] + outputs["kl"], "score: nll_bound and its parts")
    require_same(outputs["kl"], outputs["kl_per_step"].sum(axis=1), "score: kl and its steps")
    if outputs["kl_per_step"].min() < -1e-4:
        raise ContractBroken(
            f"score: kl_per_step is down to {outputs['kl_per_step'].min():g}; expected no less than 0."
        )


def latent_variables_are_those_of_the_seeds(server: Server) -> None:
    """Checks that decode of the seeds' noise is sample, and the bound of encode with it is score's."""
    for name, other, key in (
        ("decode", "sample", "image"),
        ("decode_sequence", "sample_sequence", "canvas"),
        ("encode", "score", "nll_bound"),
        ("encode", "score", "kl_per_step"),
    ):
        if {name, other} <= server.metadata.signatures.keys():
            latent = server.answer(name, valid_inputs(server, name))[key]
            seeded = server.answer(other, valid_inputs(server, other))[key]
            require_same(seeded, latent, f"{key} of {name} with the seeds' noise and of {other}")


def the_reference_is_one_of_scores(server: Server) -> None:
    """Checks a reference, where the server tells one: it is whole, and has the model's own bounds."""
    reference = server.reference()
    if reference is None:
        return
    if "score" not in server.metadata.signatures:
        raise ContractBroken("The server tells a reference of a model that does not score.")
    means = {name: distribution.mean for name, distribution in reference.scores.items()}
    require_same(
        np.array([means["nll_bound"]]),
        np.array([means["reconstruction"] + means["kl"]]),
        "the reference's mean bound and the sum of its parts'",
    )


def a_label_is_the_most_probable_class(server: Server) -> None:
    """Checks labels and probabilities, which sum to 1."""
    if "classify" not in server.metadata.signatures:
        return
    answer = server.answer("classify", valid_inputs(server, "classify"))
    probabilities, labels = answer["probabilities"], answer["label"]
    _in_range(probabilities, "classify: probabilities")
    require_same(np.ones(len(probabilities), np.float32), probabilities.sum(axis=1), "The sum of the probabilities")
    if not np.array_equal(labels, probabilities.argmax(axis=1)):
        raise ContractBroken(f"classify: the labels are {labels.tolist()} for {probabilities.tolist()}.")


def an_output_filter_keeps_what_it_names(server: Server) -> None:
    """Checks each output asked for alone."""
    for name in signatures(server):
        inputs = valid_inputs(server, name, 2)
        everything = server.answer(name, inputs)
        for key in everything:
            outputs = _filtered(server, name, inputs, key)
            if outputs.keys() != {key}:
                raise ContractBroken(f"{name}: asked for {key} alone, got {sorted(outputs)}.")
            require_same(everything[key], outputs[key], f"{name}: {key} asked for alone")


CHECKS = (
    metadata_has_the_signatures_of_the_contract,
    an_answer_names_the_model_its_version_and_the_signature,
    the_default_signature_is_the_first_of_its_task,
    the_same_request_gets_the_same_answer,
    a_row_does_not_depend_on_its_batch,
    seeds_make_the_difference,
    images_are_means,
    scores_add_up,
    latent_variables_are_those_of_the_seeds,
    the_reference_is_one_of_scores,
    a_label_is_the_most_probable_class,
    an_output_filter_keeps_what_it_names,
)


def signatures(server: Server) -> list[str]:
    """Returns the signatures of the contract that the model has."""
    return [name for name in SIGNATURES if name in server.metadata.signatures]


def _first(server: Server) -> str:
    return "sample" if "sample" in server.metadata.signatures else "classify"


def _filtered(server: Server, name: str, inputs: dict[str, np.ndarray], key: str) -> Outputs:
    request = server.request(name, inputs)
    request.output_filter.append(key)
    answer = server.ask(wire.PREDICT, request)
    return {key: from_tensor(tensor, key) for key, tensor in answer.outputs.items()}


def _in_range(images: np.ndarray, what: str) -> None:
    if images.min() < 0 or images.max() > 1:
        raise ContractBroken(f"{what} reaches from {images.min():g} to {images.max():g}; expected 0 to 1.")

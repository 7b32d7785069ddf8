"""A server's answers: arrays whose row i belongs to row i of the request, and facts about its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from serving.client.channel import MAX_MESSAGE_BYTES


class Sequence(NamedTuple):
    """Images drawn step by step."""

    canvas: np.ndarray
    """[n, T, H, W, C] float32: the means after each step; the last is the image."""
    write_window: np.ndarray | None
    """[n, T, 5] float32: centre x, centre y, stride, variance and intensity, in pixels. None without attention."""


class Scores(NamedTuple):
    """Bounds of images' likelihoods and their parts, in nats."""

    nll_bound: np.ndarray
    """[n] float32: reconstruction + kl, a bound on the negative log-likelihood."""
    reconstruction: np.ndarray
    """[n] float32."""
    kl: np.ndarray
    """[n] float32."""
    kl_per_step: np.ndarray
    """[n, T] float32; the sum over T is kl."""
    log_weight: np.ndarray
    """[n] float32: the log of one importance sample of the image's likelihood."""
    percentile: np.ndarray | None = None
    """[n] float64: how many images of the model's reference have a lower bound, in percent. None without one."""
    typicality: np.ndarray | None = None
    """[n] float64: the two-sided p-value of the bound in the model's reference. None without one."""
    complexity_corrected: np.ndarray | None = None
    """[n] float64: the bound less the image's compressed size in nats, of binarised images alone."""
    complexity_corrected_percentile: np.ndarray | None = None
    """[n] float64: how many images of the reference have a lower one, in percent."""
    mahalanobis: np.ndarray | None = None
    """[n] float64: how far the image's statistics are from those of the reference, in standard deviations."""
    mahalanobis_percentile: np.ndarray | None = None
    """[n] float64: how many images of the reference are closer to its middle, in percent."""


SCORE_OUTPUTS = Scores._fields[:5]
"""Those fields that are the signature's outputs."""


class Reconstruction(NamedTuple):
    """Drawings of given images."""

    image: np.ndarray
    """[n, H, W, C] float32 means."""
    canvas: np.ndarray
    """[n, T, H, W, C] float32 means after each step."""
    read_window: np.ndarray | None
    """[n, T, 5] float32, like `Sequence.write_window`. None without attention."""
    write_window: np.ndarray | None


class Latents(NamedTuple):
    """The latent variables of images, and what they cost."""

    z: np.ndarray
    """[n, T, Z] float32: mu + sigma eps, which `decode` draws."""
    mu: np.ndarray
    """[n, T, Z] float32."""
    log_sigma: np.ndarray
    """[n, T, Z] float32."""
    kl_per_step: np.ndarray
    """[n, T] float32, nats."""
    nll_bound: np.ndarray
    """[n] float32, nats; `Scores.nll_bound` of the same noise."""


class Classification(NamedTuple):
    """Classes of images."""

    probabilities: np.ndarray
    """[n, classes] float32; rows sum to 1."""
    label: np.ndarray
    """[n] int64: the likeliest class."""
    glimpse_window: np.ndarray | None
    """[n, T, 5] float32: where the model looked, like `Sequence.write_window`."""


class VersionStatus(NamedTuple):
    """The state of one version of a model."""

    version: int
    state: str
    """START, LOADING, AVAILABLE, UNLOADING, END or UNKNOWN. Only a version that is AVAILABLE answers."""
    error: str
    """Why a version at END could not be served; empty if nothing went wrong."""


class TensorSpec(NamedTuple):
    """The dtype and shape of an input or output of a signature."""

    dtype: np.dtype[Any] | None
    """dtype('O') for strings; None if NumPy has no such type."""
    shape: tuple[int | None, ...] | None
    """None stands for a dimension of any size, or for any shape at all."""


class Signature(NamedTuple):
    """The inputs and outputs of a function of the model."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class ModelMetadata(NamedTuple):
    """The signatures of the version that answers."""

    name: str
    version: int
    signatures: Mapping[str, Signature]

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """[H, W, C] of the images that the model takes or gives; None if no signature fixes one that can be sent."""
        for signature in self.signatures.values():
            for spec in (signature.inputs.get("image"), signature.outputs.get("image")):
                if spec and spec.shape and len(spec.shape) == 4 and None not in spec.shape[1:]:
                    height, width, channels = spec.shape[1:]
                    if 0 < 4 * height * width * channels <= MAX_MESSAGE_BYTES:  # type: ignore[operator]
                        return height, width, channels  # type: ignore[return-value]
        return None

"""DRAW's layers as the functions that Eqs. 4 to 8 apply, with two ways to read and write."""

from __future__ import annotations

import abc

import tensorflow as tf

from trainer.model import attention, learned_start, loss
from trainer.task import Attention, GenerativeTask, NoAttention
from trainer.training import recurrence
from trainer.training.recurrence import Linear


def lstm(gates: tf.Tensor, s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Eqs. 5 and 7: an LSTM with forget gates, from its pre-activations. Returns (h, s), each [n, H].

    gates: [n, 4H], in the order input, forget, output, candidate. s: [n, H], the cells.
    """
    i, f, o, candidate = tf.split(gates, 4, axis=1)
    s = tf.sigmoid(f) * s + tf.sigmoid(i) * tf.tanh(candidate)
    return tf.sigmoid(o) * tf.tanh(s), s


class Network(abc.ABC):
    """The functions of one time-step. `trace` keeps by name what they compute on the way, each [n, ...]."""

    def __init__(self, task: GenerativeTask, lin: Linear) -> None:
        self._image_shape, self._window_sizes, self._lin = task.image_shape, task.window_sizes, lin
        self.trace: dict[str, tf.Tensor] = {}

    @staticmethod
    @abc.abstractmethod
    def layer_sizes(task: GenerativeTask) -> tuple[int, int]:
        """How many numbers `read` gives, and the layer `write`."""

    @abc.abstractmethod
    def read(self, x: tf.Tensor, x_hat: tf.Tensor, h_dec: tf.Tensor) -> list[tf.Tensor]:
        """Eq. 4: what the encoder is given of x and of x_hat. x, x_hat: [n, B, A, C]; h_dec: [n, H]."""

    @abc.abstractmethod
    def write(self, h_dec: tf.Tensor) -> tf.Tensor:
        """What Eq. 8 adds to the canvas. h_dec: [n, H]; the result: [n, B, A, C]."""

    def encoder(self, h_enc: tf.Tensor, s_enc: tf.Tensor, inputs: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Eq. 5: the LSTM's new output and cells, [n, H]. inputs: each [n, ...]."""
        return lstm(self._lin("encoder", *inputs, h_enc), s_enc)

    def sample(self, h_enc: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """Eqs. 1, 2 and 6: z = mu + sigma eps. h_enc: [n, H]; eps and z: [n, Z].

        Traces `z`, `mu` and `log_sigma` [n, Z], and `kl` and `log_ratio` [n].
        """
        mu, log_sigma = tf.split(self._lin("latent", h_enc), 2, axis=1)  # log sigma, not log sigma^2
        z = mu + tf.exp(log_sigma) * eps
        self.trace |= {"z": z, "mu": mu, "log_sigma": log_sigma}
        self.trace["kl"] = loss.kl_divergence(mu, log_sigma)
        self.trace["log_ratio"] = loss.log_importance_ratio(eps, z, log_sigma)
        return z

    def decoder(self, h_dec: tf.Tensor, s_dec: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Eq. 7: the LSTM's new output and cells, [n, H]."""
        return lstm(self._lin("decoder", z, h_dec), s_dec)


class WholeImageNetwork(Network):
    """Reads all of the image and writes to all of the canvas (section 3.1)."""

    @staticmethod
    def layer_sizes(task: GenerativeTask) -> tuple[int, int]:
        """Two images, and one."""
        rows, columns, channels = task.image_shape
        return 2 * rows * columns * channels, rows * columns * channels

    def read(self, x: tf.Tensor, x_hat: tf.Tensor, h_dec: tf.Tensor) -> list[tf.Tensor]:
        """Eq. 17."""
        del h_dec
        return [x, x_hat]

    def write(self, h_dec: tf.Tensor) -> tf.Tensor:
        """Eq. 18."""
        return tf.reshape(self._lin("write", h_dec), [-1, *self._image_shape])


class AttentiveNetwork(Network):
    """Reads and writes through windows of Gaussian filters (sections 3.2 and 3.3); traces their parameters [n, 5].

    The layer `write` gives the window parameters of Eq. 21 and then the patch of Eq. 28: two linear layers of h_dec in
    one product.
    """

    @staticmethod
    def layer_sizes(task: GenerativeTask) -> tuple[int, int]:
        """Two patches; a window's parameters and one patch."""
        N, channels = task.window_sizes, task.image_shape[2]
        return 2 * N["read"] ** 2 * channels, attention.WINDOW_PARAMETERS + N["write"] ** 2 * channels

    def read(self, x: tf.Tensor, x_hat: tf.Tensor, h_dec: tf.Tensor) -> list[tf.Tensor]:
        """Eqs. 21-27: x and x_hat through the same filters."""
        both = tf.concat([x, x_hat], axis=3)
        patches, self.trace["read_window"] = attention.read(self._lin, both, h_dec, N=self._window_sizes["read"])
        return tf.split(patches, 2, axis=3)

    def write(self, h_dec: tf.Tensor) -> tf.Tensor:
        """Eqs. 21-26, 28 and 29."""
        rows, columns, channels = self._image_shape
        N = self._window_sizes["write"]
        outputs = self._lin("write", h_dec)
        window_parameters = self.trace["write_window"] = outputs[:, : attention.WINDOW_PARAMETERS]
        w = tf.reshape(outputs[:, attention.WINDOW_PARAMETERS :], [-1, N, N, channels])
        window = attention.window(window_parameters, rows=rows, columns=columns, N=N)
        return attention.place(w, window, rows=rows, columns=columns)


_NETWORKS: dict[type, type[Network]] = {Attention: AttentiveNetwork, NoAttention: WholeImageNetwork}


def for_task(task: GenerativeTask, lin: Linear) -> Network:
    """The network of the task's kind of attention, on the weights that `lin` applies."""
    return _NETWORKS[type(task.attention)](task, lin)


def weight_shapes(task: GenerativeTask) -> dict[str, tuple[int, ...]]:
    """Names and shapes of everything that is learned. An LSTM's gates are in the order of `lstm`."""
    glimpse, written = _NETWORKS[type(task.attention)].layer_sizes(task)
    h, z = task.lstm_units, task.latent_size
    layers = {attention.HEAD: (h, attention.WINDOW_PARAMETERS)} if task.window_sizes else {}
    layers |= {
        "encoder": (glimpse + 2 * h, 4 * h),
        "latent": (h, 2 * z),
        "decoder": (z + h, 4 * h),
        "write": (h, written),
    }
    return learned_start.weight_shapes(learned_start.DRAW, task) | recurrence.layer_shapes(layers)

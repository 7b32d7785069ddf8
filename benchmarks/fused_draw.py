"""The loss of DRAW with attention and its gradient, as a GPU wants them: seven kernels a glimpse each way.

The program that TensorFlow exports takes 87 kernels for a glimpse of `mnist` and its gradient, all so small that a GPU
does little but start them. Here products that share an input are one, and what lies between two products is one kernel,
written in Pallas; each of its programs does one row of the batch. The equations, weights and their names are those of
`trainer.model`; `tests/accelerators` holds the two against each other.

Sizes are rounded up to powers of two, as Triton wants them: what is added is zero, in values and gradients alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

Weights = Mapping[str, jax.Array]
LossAndGradients = Callable[[Weights, jax.Array, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]

_WINDOW = 5
"""g~_X, g~_Y, log sigma^2, log delta~ and log gamma, Eq. 21."""
_WINDOW_COLUMNS = 8
_OUTSIDE = -1e30
"""A filter's logit beyond the image."""


def _power_of_2(size: int) -> int:
    return 1 << (size - 1).bit_length()


class _Axis(NamedTuple):
    """N filters along an axis of `size` pixels."""

    N: int
    size: int
    longest: int
    """The longer side of the image, by which Eq. 24 scales."""
    parameter: int
    """Which of the window parameters is its centre."""


class _Filters(NamedTuple):
    """Eqs. 19-20 and 25-26 along one axis, and what their gradients need. Arrays are [filters, pixels] or [filters]."""

    axis: _Axis
    f: jax.Array
    distance: jax.Array
    sigma2: jax.Array
    offset: jax.Array
    delta: jax.Array

    @classmethod
    def of(cls, axis: _Axis, window: list[jax.Array]) -> _Filters:
        filters, pixels = _power_of_2(axis.N), _power_of_2(axis.size)
        sigma2 = jnp.exp(window[2])
        delta = (axis.longest - 1) / (axis.N - 1) * jnp.exp(window[3])
        offset = jnp.arange(filters).astype(jnp.float32) - (axis.N - 1) / 2
        mu = (axis.size + 1) / 2 * (window[axis.parameter] + 1) + offset * delta
        distance = (jnp.arange(pixels).astype(jnp.float32) + 1)[None, :] - mu[:, None]
        inside = (jnp.arange(pixels) < axis.size)[None, :]
        logits = jnp.where(inside, -(distance * distance) / (2 * sigma2), _OUTSIDE)
        f = jnp.exp(logits - jnp.max(logits, axis=1)[:, None])
        f = jnp.where((jnp.arange(filters) < axis.N)[:, None], f / jnp.sum(f, axis=1)[:, None], 0.0)
        return cls(axis, f, distance, sigma2, offset, delta)

    def gradient(self, d_f: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Of the centre, log sigma^2 and log delta~, from that of f."""
        d_logits = self.f * (d_f - jnp.sum(d_f * self.f, axis=1)[:, None])
        d_mu = jnp.sum(d_logits * self.distance, axis=1) / self.sigma2
        d_log_sigma2 = _total(d_logits * self.distance * self.distance) / (2 * self.sigma2)
        return jnp.sum(d_mu, axis=0) * (self.axis.size + 1) / 2, d_log_sigma2, jnp.sum(d_mu * self.offset) * self.delta


def _total(value: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sum(value, axis=1), axis=0)


# Products of matrices that are too small for a matrix unit, as multiply and add.


def _ab(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a[:, :, None] * b[None, :, :], axis=1)


def _abt(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a[:, None, :] * b[None, :, :], axis=2)


def _atb(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a[:, :, None] * b[:, None, :], axis=0)


def _sigmoid(x: jax.Array) -> jax.Array:
    return 1 / (1 + jnp.exp(-x))


def _tanh(x: jax.Array) -> jax.Array:
    return 2 * _sigmoid(2 * x) - 1


def make(task: Mapping[str, Any], rows: int, *, interpret: bool = False) -> LossAndGradients:
    """Build (weights, x, eps) -> (the bound's mean in nats, its gradients by name), for a batch of `rows` rows.

    `task` is what `task.json` holds. x: [rows, B, A, 1] in [0, 1]; eps of Eq. 6: [T, rows, Z]. `interpret` runs the
    kernels without a GPU. Raises ValueError for a task without attention, with several channels, or whose LSTMs are no
    power of two.
    """
    # Lists of kernels' operands and of how their memory is shared have to agree; they stand side by side for that.
    B, A, channels = task["image_shape"]
    H, attention = task["lstm_units"], task.get("attention")
    if not isinstance(attention, Mapping) or channels != 1 or _power_of_2(H) != H:
        raise ValueError(
            "The fused step is for DRAW with attention, one channel and a power of two LSTM units. "
            f"{task['name']} has attention {attention}, {channels} and {H}."
        )
    T, Z = task["glimpses"], task["latent_size"]
    N_read, N_write = attention["read"], attention["write"]
    columns, high, wide = _power_of_2(Z), _power_of_2(B), _power_of_2(A)
    side_read, side_write = _power_of_2(N_read), _power_of_2(N_write)
    read_columns, patch_columns = side_read**2, side_write**2
    gates = 4 * H
    # The columns of what h_dec gives: both LSTMs' gates, the window and patch that are written, the next read's window.
    at_write = 2 * gates
    at_patch = at_write + _WINDOW_COLUMNS
    at_read = at_patch + patch_columns
    heads = -(-(at_read + _WINDOW_COLUMNS - at_write) // 64) * 64
    from_decoder = at_write + heads
    # And of what h_enc gives: its LSTM's gates, mu and log sigma.
    from_encoder = gates + 2 * columns
    read_axes = [_Axis(N_read, A, max(A, B), 0), _Axis(N_read, B, max(A, B), 1)]
    write_axes = [_Axis(N_write, A, max(A, B), 0), _Axis(N_write, B, max(A, B), 1)]

    def kernel(
        function: Callable[..., None],
        inputs: list[jax.Array],
        updated: list[jax.Array],
        new: list[tuple[int, int]] = [],  # noqa: B006
    ) -> list[jax.Array]:
        """Run function(row, t or i, *inputs, *updated, *new); `updated` are changed where they lie."""
        first, last = len(inputs), len(inputs) + len(updated)

        def body(*refs: Any) -> None:
            function(pl.program_id(0), refs[0][0], *refs[1:first], *refs[last:])

        parameters: dict[str, Any] = {"interpret": True}
        if not interpret:
            from jax.experimental.pallas import triton

            parameters = {"compiler_params": triton.CompilerParams(num_warps=4, num_stages=1)}
        return pl.pallas_call(
            body,
            grid=(rows,),
            out_shape=[
                *(jax.ShapeDtypeStruct(value.shape, value.dtype) for value in updated),
                *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in new),
            ],
            input_output_aliases={first + index: index for index in range(len(updated))},
            **parameters,
        )(*inputs, *updated)

    def window_of(ref: Any, *row: Any, first: int) -> list[jax.Array]:
        places = [(*row, first + index) for index in range(_WINDOW)]
        return [ref[place] for place in places]

    def image_of(ref: Any, row: Any) -> jax.Array:
        return ref[row, :].reshape(high, wide)

    def gate(index: int, first: int = 0) -> Any:
        return pl.ds(first + index * H, H)

    def lstm(row: Any, t: Any, gates_before: Callable[[int], jax.Array], s: Any, h: Any, kept: tuple[Any, ...]) -> None:
        """Eqs. 5 and 7; keeps the gates of step t, and the states after it as those of t + 1."""
        kept_gates, kept_s, kept_h = kept
        i, f, o, candidate = (_tanh(gates_before(k)) if k == 3 else _sigmoid(gates_before(k)) for k in range(4))
        for k, value in enumerate((i, f, o, candidate)):
            kept_gates[t, row, gate(k)] = value
        cell = f * s[row, :] + i * candidate
        out = o * _tanh(cell)
        s[row, :] = kept_s[t + 1, row, :] = cell
        h[row, :] = kept_h[t + 1, row, :] = out

    def lstm_gradient(
        row: Any, t: Any, d_h: Any, d_s: Any, kept_gates: Any, kept_s: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        i, f, o, candidate = (kept_gates[t, row, gate(k)] for k in range(4))
        squashed = _tanh(kept_s[t + 1, row, :])
        d_out = d_h[row, :]
        d_cell = d_s[row, :] + d_out * o * (1 - squashed * squashed)
        d_s[row, :] = d_cell * f
        return (
            d_cell * candidate * i * (1 - i),
            d_cell * kept_s[t, row, :] * f * (1 - f),
            d_out * squashed * o * (1 - o),
            d_cell * i * (1 - candidate * candidate),
        )

    def read_weights(w_read: Any, part: int, k: int) -> jax.Array:
        """The encoder's weights of one patch and gate: [side, side, H]."""
        return w_read[pl.ds(part * read_columns, read_columns), gate(k)].reshape(side_read, side_read, H)

    def put_window(
        refs: list[tuple[Any, tuple[Any, ...]]],
        first: int,
        filters: list[_Filters],
        d_filters: list[jax.Array],
        d_log_gamma: jax.Array,
    ) -> None:
        """The window's gradient, from those of its filters along x and y."""
        x, y = (axis.gradient(d_f) for axis, d_f in zip(filters, d_filters, strict=True))
        for ref, row in refs:
            for index, value in enumerate((x[0], y[0], x[1] + y[1], x[2] + y[2], d_log_gamma)):
                place = (*row, first + index)
                ref[place] = value

    # Forward.

    def encode(row: Any, t: Any, x: Any, c: Any, dec: Any, enc: Any, w_read: Any, s: Any, *rest: Any) -> None:
        """Eqs. 3 to 5."""
        *kept, kept_patches, h = rest
        window = window_of(dec, row, first=at_read)
        f_x, f_y = (_Filters.of(axis, window).f for axis in read_axes)
        image = image_of(x, row)
        patches = [
            _abt(_ab(f_y, seen), f_x) * jnp.exp(window[4]) for seen in (image, image - _sigmoid(image_of(c, row)))
        ]

        def before(k: int) -> jax.Array:
            total = dec[row, gate(k)] + enc[row, gate(k)]
            for part, patch in enumerate(patches):
                total += jnp.sum(jnp.sum(read_weights(w_read, part, k) * patch[:, :, None], axis=0), axis=0)
            return total

        lstm(row, t, before, s, h, tuple(kept))
        for part, patch in enumerate(patches):
            kept_patches[t, row, pl.ds(part * read_columns, read_columns)] = patch.reshape(read_columns)

    def sample(row: Any, t: Any, enc: Any, eps: Any, kept_z: Any, kept_latent: Any, z: Any) -> None:
        """Eq. 6."""
        mu, log_sigma = enc[row, pl.ds(gates, columns)], enc[row, pl.ds(gates + columns, columns)]
        z[row, :] = kept_z[t, row, :] = mu + jnp.exp(log_sigma) * eps[t, row, :]
        kept_latent[t, row, pl.ds(0, columns)] = mu
        kept_latent[t, row, pl.ds(columns, columns)] = log_sigma

    def decode(row: Any, t: Any, dec: Any, of_z: Any, s: Any, *rest: Any) -> None:
        """Eq. 7."""
        *kept, h = rest
        lstm(row, t, lambda k: dec[row, gate(k, gates)] + of_z[row, gate(k)], s, h, tuple(kept))

    def placed(row: tuple[Any, ...], ref: Any, first: int) -> tuple[list[_Filters], jax.Array, jax.Array, jax.Array]:
        """Eq. 29: the filters, the patch, 1 / gamma, and the image that they make."""
        window = window_of(ref, *row, first=first)
        filters = [_Filters.of(axis, window) for axis in write_axes]
        place = (*row, pl.ds(first + _WINDOW_COLUMNS, patch_columns))
        patch = ref[place].reshape(side_write, side_write)
        inverse = jnp.exp(-window[4])
        return filters, patch, inverse, _atb(filters[1].f, _ab(patch, filters[0].f)) * inverse

    def write(row: Any, t: Any, dec: Any, c: Any, kept_heads: Any) -> None:
        """Eq. 8."""
        *_, image = placed((row,), dec, at_write)
        c[row, :] += image.reshape(high * wide)
        for first in range(0, heads, 64):
            size = pl.ds(first, 64)
            kept_heads[t + 1, row, size] = dec[row, pl.ds(at_write + first, 64)]

    # Backward: step i of the loop goes back over time-step T - 1 - i. `d_dec[j]` are the gradients of all that h_dec
    # after j steps gives, `d_enc[j]` likewise; what is current of them lies in `d_dec_now` and `d_enc_now`.

    def write_gradient(row: Any, i: Any, d_c: Any, kept_heads: Any, c: Any, d_dec_now: Any, d_dec: Any) -> None:
        """Takes the step's image off the canvas again, which saves keeping all canvases."""
        t = T - 1 - i
        filters, patch, inverse, image = placed((t + 1, row), kept_heads, 0)
        f_x, f_y = filters
        c[row, :] -= image.reshape(high * wide)
        d_image = image_of(d_c, row)
        strips = _ab(f_y.f, d_image)
        d_patch = _abt(strips, f_x.f) * inverse
        d_filters = [_atb(patch, strips) * inverse, _ab(patch, _abt(f_x.f, d_image)) * inverse]
        places: list[tuple[Any, tuple[Any, ...]]] = [(d_dec_now, (row,)), (d_dec, (t + 1, row))]
        put_window(places, at_write, filters, d_filters, -_total(patch * d_patch))
        for ref, rest in places:
            place = (*rest, pl.ds(at_patch, patch_columns))
            ref[place] = d_patch.reshape(patch_columns)

    def decode_gradient(
        row: Any, i: Any, d_h: Any, kept_gates: Any, kept_s: Any, d_s: Any, d_dec_now: Any, d_dec: Any, d_gates: Any
    ) -> None:
        t = T - 1 - i
        for k, value in enumerate(lstm_gradient(row, t, d_h, d_s, kept_gates, kept_s)):
            d_gates[row, gate(k)] = d_dec_now[row, gate(k, gates)] = d_dec[t, row, gate(k, gates)] = value

    def sample_gradient(row: Any, i: Any, d_z: Any, kept_latent: Any, eps: Any, d_enc_now: Any, d_enc: Any) -> None:
        """With that of Eq. 11."""
        t = T - 1 - i
        mu, sigma = kept_latent[t, row, pl.ds(0, columns)], jnp.exp(kept_latent[t, row, pl.ds(columns, columns)])
        d_mu = d_z[row, :] + mu / rows
        d_log_sigma = d_z[row, :] * eps[t, row, :] * sigma + (sigma * sigma - 1) / rows
        for part, value in enumerate((d_mu, d_log_sigma)):
            place = pl.ds(gates + part * columns, columns)
            d_enc_now[row, place] = d_enc[t + 1, row, place] = value

    def encode_gradient(
        row: Any,
        i: Any,
        d_h: Any,
        kept_gates: Any,
        kept_s: Any,
        x: Any,
        c: Any,
        kept_heads: Any,
        w_read: Any,
        d_s: Any,
        d_c: Any,
        d_dec_now: Any,
        d_dec: Any,
        d_enc_now: Any,
        d_enc: Any,
    ) -> None:
        t = T - 1 - i
        d_patches = [jnp.zeros((side_read, side_read), jnp.float32)] * 2
        for k, value in enumerate(lstm_gradient(row, t, d_h, d_s, kept_gates, kept_s)):
            d_dec_now[row, gate(k)] = d_dec[t, row, gate(k)] = value
            d_enc_now[row, gate(k)] = d_enc[t, row, gate(k)] = value
            for part in range(2):
                d_patches[part] += jnp.sum(read_weights(w_read, part, k) * value[None, None, :], axis=2)
        window = window_of(kept_heads, t, row, first=at_read - at_write)
        filters = [_Filters.of(axis, window) for axis in read_axes]
        f_x, f_y = filters
        image, mean = image_of(x, row), _sigmoid(image_of(c, row))
        d_f_x, d_f_y, d_log_gamma = jnp.zeros_like(f_x.f), jnp.zeros_like(f_y.f), jnp.float32(0)
        for seen, d_patch in zip((image, image - mean), d_patches, strict=True):
            scaled = d_patch * jnp.exp(window[4])
            strips = _ab(f_y.f, seen)
            d_log_gamma += _total(_abt(strips, f_x.f) * scaled)
            d_f_x += _atb(scaled, strips)
            d_f_y += _ab(scaled, _abt(f_x.f, seen))
        # Of the second, x_hat = x - sigm(c): `scaled` is still its.
        d_c[row, :] -= (mean * (1 - mean) * _atb(f_y.f, _ab(scaled, f_x.f))).reshape(high * wide)
        put_window([(d_dec_now, (row,)), (d_dec, (t, row))], at_read, filters, [d_f_x, d_f_y], d_log_gamma)

    # Weights in the kernels' layout. Applied to gradients, `back` undoes it.

    def joined(w: Weights) -> tuple[jax.Array, ...]:
        """The weights of what h_dec gives, h_enc gives, z gives and the patches give, the first two with biases."""
        numbers = 2 * N_read**2

        def last(value: jax.Array, size: int) -> jax.Array:
            return jnp.pad(value, [(0, 0)] * (value.ndim - 1) + [(0, size - value.shape[-1])])

        def square(value: jax.Array, N: int, side: int) -> jax.Array:
            """[..., N N] to [..., side side]."""
            rows_of_patch = last(value.reshape(*value.shape[:-1], N, N), side).reshape(*value.shape[:-1], N * side)
            return last(rows_of_patch, side * side)

        def of_decoder(encoder: jax.Array, decoder: jax.Array, write: jax.Array, read: jax.Array) -> jax.Array:
            window, patch = write[..., :_WINDOW], square(write[..., _WINDOW:], N_write, side_write)
            parts = [encoder, decoder, last(window, _WINDOW_COLUMNS), patch, read]
            return last(jnp.concatenate(parts, axis=-1), from_decoder)

        def of_encoder(encoder: jax.Array, latent: jax.Array) -> jax.Array:
            mu, log_sigma = jnp.split(latent, 2, axis=-1)
            return jnp.concatenate([encoder, last(mu, columns), last(log_sigma, columns)], axis=-1)

        encoder, decoder = w["encoder/w"], w["decoder/w"]
        patches = square(encoder[:numbers].T.reshape(gates, 2, N_read**2), N_read, side_read)
        return (
            of_decoder(encoder[numbers : numbers + H], decoder[Z:], w["write/w"], w["read_window/w"]),
            of_decoder(w["encoder/b"], w["decoder/b"], w["write/b"], w["read_window/b"]),
            of_encoder(encoder[numbers + H :], w["latent/w"]),
            of_encoder(jnp.zeros(gates), w["latent/b"]),
            jnp.pad(decoder[:Z], ((0, columns - Z), (0, 0))),
            patches.reshape(gates, 2 * read_columns).T,
        )

    def padded(images: jax.Array) -> jax.Array:
        return jnp.pad(images[..., 0], ((0, 0), (0, high - B), (0, wide - A))).reshape(-1, high * wide)

    def loss_and_gradients(weights: Weights, x: jax.Array, eps: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        # The layout is linear in the weights, so its transpose carries the gradients back.
        (w_dec, b_dec, w_enc, b_enc, w_z, w_read), back = jax.vjp(joined, dict(weights))
        eps = jnp.pad(eps, ((0, 0), (0, 0), (0, columns - Z)))
        target = padded(x)

        def zeros(*shape: int) -> jax.Array:
            return jnp.zeros(shape, jnp.float32)

        def for_rows(value: jax.Array) -> jax.Array:
            return jnp.broadcast_to(value, (rows, *value.shape))

        def unset(*shape: int) -> jax.Array:
            return getattr(jax.lax, "empty", jnp.zeros)(shape, jnp.float32)  # JAX 0.6 has none

        def begun(value: jax.Array) -> jax.Array:
            return unset(T + 1, *value.shape).at[0].set(value)

        c = for_rows(padded(weights["canvas_0"][None])[0])
        h_enc, s_enc, h_dec, s_dec = (for_rows(weights[name]) for name in ("h_enc_0", "s_enc_0", "h_dec_0", "s_dec_0"))
        dec, enc = h_dec @ w_dec + b_dec, h_enc @ w_enc + b_enc
        encoder = [unset(T, rows, gates), begun(s_enc), begun(h_enc), unset(T, rows, 2 * read_columns)]
        decoder = [unset(T, rows, gates), begun(s_dec), begun(h_dec)]
        latent = [unset(T, rows, columns), unset(T, rows, 2 * columns)]
        kept_heads = begun(dec[:, at_write:])

        def forward(t: jax.Array, carried: tuple[Any, ...]) -> tuple[Any, ...]:
            c, dec, enc, s_enc, s_dec, encoder, latent, decoder, kept_heads = carried
            now = jnp.reshape(t, (1,))
            s_enc, *encoder, h = kernel(encode, [now, target, c, dec, enc, w_read], [s_enc, *encoder], [(rows, H)])
            enc = h @ w_enc + b_enc
            *latent, z = kernel(sample, [now, enc, eps], latent, [(rows, columns)])
            s_dec, *decoder, h = kernel(decode, [now, dec, z @ w_z], [s_dec, *decoder], [(rows, H)])
            dec = h @ w_dec + b_dec
            c, kept_heads = kernel(write, [now, dec], [c, kept_heads])
            return c, dec, enc, s_enc, s_dec, encoder, latent, decoder, kept_heads

        c, _, _, _, _, encoder, latent, decoder, kept_heads = jax.lax.fori_loop(
            0, T, forward, (c, dec, enc, s_enc, s_dec, encoder, latent, decoder, kept_heads)
        )
        kept_gates_enc, kept_s_enc, kept_h_enc, kept_patches = encoder
        kept_gates_dec, kept_s_dec, kept_h_dec = decoder
        kept_z, kept_latent = latent
        inside = padded(jnp.ones((1, B, A, 1)))
        reconstruction = jnp.sum(inside * (jnp.maximum(c, 0) - c * target + jnp.log1p(jnp.exp(-jnp.abs(c)))))
        mu, log_sigma = kept_latent[..., :columns], kept_latent[..., columns:]
        kl = 0.5 * jnp.sum(mu * mu + jnp.exp(2 * log_sigma) - 2 * log_sigma - 1)
        w_dec_t, w_enc_t, w_z_t = w_dec.T, w_enc.T, w_z.T

        def backward(i: jax.Array, carried: tuple[Any, ...]) -> tuple[Any, ...]:
            c, d_c, d_s_enc, d_s_dec, d_dec_now, d_dec, d_enc_now, d_enc = carried
            now = jnp.reshape(i, (1,))
            c, d_dec_now, d_dec = kernel(write_gradient, [now, d_c, kept_heads], [c, d_dec_now, d_dec])
            d_s_dec, d_dec_now, d_dec, d_gates = kernel(
                decode_gradient,
                [now, d_dec_now @ w_dec_t, kept_gates_dec, kept_s_dec],
                [d_s_dec, d_dec_now, d_dec],
                [(rows, gates)],
            )
            d_enc_now, d_enc = kernel(sample_gradient, [now, d_gates @ w_z_t, kept_latent, eps], [d_enc_now, d_enc])
            d_s_enc, d_c, d_dec_now, d_dec, d_enc_now, d_enc = kernel(
                encode_gradient,
                [now, d_enc_now @ w_enc_t, kept_gates_enc, kept_s_enc, target, c, kept_heads, w_read],
                [d_s_enc, d_c, d_dec_now, d_dec, d_enc_now, d_enc],
            )
            return c, d_c, d_s_enc, d_s_dec, d_dec_now, d_dec, d_enc_now, d_enc

        carried = (
            c,
            inside * (_sigmoid(c) - target) / rows,
            zeros(rows, H),
            zeros(rows, H),
            zeros(rows, from_decoder),
            zeros(T + 1, rows, from_decoder),
            zeros(rows, from_encoder),
            zeros(T + 1, rows, from_encoder),
        )
        _, d_c, d_s_enc, d_s_dec, _, d_dec, _, d_enc = jax.lax.fori_loop(0, T, backward, carried)

        def product(inputs: jax.Array, d_outputs: jax.Array) -> jax.Array:
            return inputs.reshape(-1, inputs.shape[-1]).T @ d_outputs.reshape(-1, d_outputs.shape[-1])

        (gradients,) = back(
            (
                product(kept_h_dec, d_dec),
                jnp.sum(d_dec, axis=(0, 1)),
                product(kept_h_enc, d_enc),
                jnp.sum(d_enc, axis=(0, 1)),
                product(kept_z, d_dec[:T, :, gates : 2 * gates]),
                product(kept_patches, d_dec[:T, :, :gates]),
            )
        )
        gradients |= {
            "canvas_0": jnp.sum(d_c, axis=0).reshape(high, wide)[:B, :A, None],
            "h_enc_0": w_enc @ jnp.sum(d_enc[0], axis=0),
            "s_enc_0": jnp.sum(d_s_enc, axis=0),
            "h_dec_0": w_dec @ jnp.sum(d_dec[0], axis=0),
            "s_dec_0": jnp.sum(d_s_dec, axis=0),
        }
        return (reconstruction + kl) / rows, gradients

    return loss_and_gradients

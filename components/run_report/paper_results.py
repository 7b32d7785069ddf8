"""Published results, the paper's and others', each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Result(NamedTuple):
    """A published number."""

    model: str
    value: str
    """As printed: nats an image, or an error in percent."""
    source: str


_TABLE_1, _TABLE_2, _FIGURE_11 = "the paper's Table 1", "the paper's Table 2", "the paper's Fig. 11"
_LATER, _PUBLIC = "not in the paper: a later model", "not in the paper: the best public run of DRAW that we found"

TABLE_1 = (
    Result("RAM, 4 glimpses", "9.41 %", _TABLE_1),
    Result("RAM, 8 glimpses", "8.11 %", _TABLE_1),
    Result("differentiable RAM, 4 glimpses", "4.18 %", _TABLE_1),
    Result("differentiable RAM, 8 glimpses", "3.36 %", _TABLE_1),
    Result("differentiable RAM, 8 glimpses", "3.72 %", _PUBLIC),
)
"""Classification error on 100 x 100 cluttered translated MNIST."""

TABLE_2 = (
    Result("DRAW without attention", "≤ 87.40", _TABLE_2),
    Result("DRAW", "≤ 80.97", _TABLE_2),
    Result("DRAW without attention", "about 100", _PUBLIC),
    Result("DRAW", "81.9", _PUBLIC),
    Result("IAF-VAE, importance-weighted", "79.88", _LATER),
    Result("VLAE, importance-weighted", "79.03", _LATER),
)
"""-log p(x) of binarised MNIST's test split, in nats an image."""

FIGURE_11 = (Result("DRAW, where the curve ends", "about 5,070", _FIGURE_11),)
"""Cost on SVHN's validation split, in nats an image."""

BY_TASK: Mapping[str, tuple[Result, ...]] = {
    "mnist": TABLE_2,
    "mnist_no_attention": TABLE_2,
    "svhn": FIGURE_11,
    "cluttered_mnist": TABLE_1,
    "cluttered_mnist_4": TABLE_1,
}
"""Results for the tasks of whose data the paper gives a number."""

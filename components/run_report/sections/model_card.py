"""The model card: what the model is for, on whose data, what it cannot do, and what it cost the environment."""

from __future__ import annotations

from html import escape

from components.run_report import data_cards, provenance
from components.run_report.run import Run
from components.run_report.sections.training import duration
from trainer.task import ClassifyingTask

_WATTS_A_CORE = 10
_WATTS_AN_ACCELERATOR = 400
_GRAMS_A_KWH = 480
"""CO2-equivalent of the world's electricity, about the mean of 2023 (Ember)."""


def body(run: Run) -> str:
    """A paragraph a heading."""
    card = data_cards.for_builder(run.task.data.builder)
    use, limits = _GENERATIVE
    if isinstance(run.task, ClassifyingTask):
        use, limits = _CLASSIFIER
    parts = {
        "Model": (
            "DRAW (Gregor et al., 2015, arXiv:1502.04623), a recurrent network that "
            + ("names what an image shows from glimpses of it." if use is _CLASSIFIER[0] else "draws images in steps.")
        ),
        "Intended use": use,
        "Data": card.description,
        "Licence of the data": card.licence,
        "Limits of the data": card.limits,
        "Limits of the model": limits,
        "Environmental cost": _cost(run),
    }
    return (
        '<dl class="card">'
        + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in parts.items())
        + "</dl>"
    )


_GENERATIVE = (
    "Research and teaching: drawing images like those of its data set, measuring how well they are modelled, and "
    "looking at how attention is learned. Not for deciding anything about people.",
    "Its bound holds for images of this data set, in this binarisation. It scores images of another kind too, and the "
    "number means little then. Its samples may come close to training images.",
)
_CLASSIFIER = (
    "Research and teaching: naming the digit in an image like those of its data set, and looking at how attention is "
    "learned. Not for reading documents that matter.",
    "It names one of its classes for any image, one that shows none as well; its probabilities are not calibrated.",
)


def _cost(run: Run) -> str:
    if run.curves.finished is None:
        return "How long the training took is not known, for it has left no summaries."
    hours, cores = run.curves.seconds / 3600, provenance.cores()
    accelerators = provenance.accelerators()
    watts = cores * _WATTS_A_CORE + accelerators * _WATTS_AN_ACCELERATOR
    energy = hours * watts / 1000
    on = f"{cores} cores" + (f" and {accelerators} accelerators" if accelerators else "")
    assumed = f"{_WATTS_A_CORE} W a core" + (f" and {_WATTS_AN_ACCELERATOR} W an accelerator" if accelerators else "")
    return (
        f"The training took {duration(run.curves.seconds)} on {on}, {hours * cores:.2g} core-hours. At {assumed}, all "
        f"that is around it included, that is about {_si(1000 * energy, 'Wh')}, and at the world's mean of "
        f"{_GRAMS_A_KWH} g a kWh about {_si(energy * _GRAMS_A_KWH, 'g')} of CO2-equivalent. These are assumptions and "
        "not measurements: the right order of magnitude at best. Counted are the cores of the machine that wrote this "
        "page, and neither the other stages nor trainings before this one."
    )


def _si(value: float, unit: str) -> str:
    """Two digits are more than an estimate has."""
    if value >= 1000:
        return f"{float(f'{value / 1000:.2g}'):g} k{unit}"
    return f"{float(f'{value:.2g}'):g} {unit}"

"""TFX components: data sets in, tf.Example out; then the gates between training and serving. One folder each."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Kubeflow's entry point finds an artifact's type by its TYPE_NAME, `components.RunReport`.

    Only when it is asked for: who imports a data set or a table of this package does not pay for importing TFX.
    """
    if name == "RunReport":
        from components.run_report.artifact import RunReport

        return RunReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

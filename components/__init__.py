"""TFX components: images in, tf.Examples out, then the gates and the report between training and serving.

A component that is several ideas is a folder, one that is a single idea a file.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Finds an artifact type by its TYPE_NAME, such as `components.RunReport`, as Kubeflow's entry point does.

    Imports it on demand, so that a data set or a table of this package does not cost an import of TFX.
    """
    if name == "RunReport":
        from components.run_report.artifact import RunReport

        return RunReport
    if name == "PushedVersions":
        from components.evaluator.pushed_versions import PushedVersions

        return PushedVersions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

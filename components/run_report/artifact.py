"""The artifact that RunReport gives: a folder with one HTML page."""

from __future__ import annotations

from tfx.types.artifact import Artifact

REPORT_FILE = "report.html"


class RunReport(Artifact):
    """`REPORT_FILE` in it is the page. Its custom property `failed_sections` names, one a line, what could not be made.

    Kubeflow Pipelines wants a name with one dot, and TFX's entry point imports the class by it: `components` hands it
    out.
    """

    TYPE_NAME = "components.RunReport"

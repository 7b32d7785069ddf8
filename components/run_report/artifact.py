"""The artifact of RunReport: a folder with one HTML page."""

from __future__ import annotations

from tfx.types.artifact import Artifact

REPORT_FILE = "report.html"


class RunReport(Artifact):
    """A folder whose REPORT_FILE is the page; its custom property `failed_sections` names failed sections, one a line.

    Kubeflow Pipelines requires a type name with one dot, and TFX's entry point imports the class by that name, so
    `components` exports it.
    """

    TYPE_NAME = "components.RunReport"

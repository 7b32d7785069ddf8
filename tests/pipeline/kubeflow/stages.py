"""Executors of stages that a test can look into."""

from __future__ import annotations

import logging
import os
import pathlib

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_artifacts

from components.declared_component import Artifacts, Properties


class Judge(BaseExecutor):
    """Blesses a model where `greatest` is at least what is in the model's file; says what it has seen."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        (model,), (examples,), (blessing,) = input_dict["model"], input_dict["examples"], output_dict["blessing"]
        assert isinstance(model, standard_artifacts.Model)
        assert isinstance(examples, standard_artifacts.Examples)
        assert examples.split_names == '["test"]'
        assert exec_properties == {"greatest": 7, "tolerance": 0.5}
        blessed = int((pathlib.Path(model.uri) / "bound").read_text()) <= exec_properties["greatest"]
        folder = pathlib.Path(blessing.uri)
        folder.mkdir()
        (folder / "seen").write_text("\n".join((model.uri, examples.uri, blessing.uri)))
        blessing.set_int_custom_property("blessed", int(blessed))
        blessing.set_string_custom_property("current_model", model.uri)
        blessing.mlmd_artifact.custom_properties["never_set"].SetInParent()


class Talkative(BaseExecutor):
    """Logs as TFX and Beam do, warns, and says of which run it is a part."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        for name in ("absl", "apache_beam", "root"):
            logging.getLogger(name).info("information of %s", name)
        logging.getLogger("tensorflow").warning("deprecated")
        logging.getLogger("components").warning("a warning")
        print("run", os.environ.get("KFP_RUN_ID"))


class Defective(BaseExecutor):
    """Raises what nobody has foreseen."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        raise KeyError("image")

"""A stage's cores, memory, GPU or TPU, retries and nodes: as the cluster's file has them, and as Kubeflow wants them.

The names that Kubeflow wants are those of kubeflow/pipelines' pipeline_spec.proto and kubernetes_executor_config.proto.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import Field

from pipeline.kubeflow.pipeline_spec import Document
from trainer import strict_yaml

TPU = "google.com/tpu"
TPU_SELECTORS = ("cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology")

NEVER_REPEATED = ("ParameterCheck", "Verdict")
"""Stages whose errors no repetition mends."""

NEVER_CACHED = ("ParameterCheck", "BoundEvaluator", "ErrorEvaluator", "Pusher")
"""Stages that look into folders as they are now, of which a cache knows at most what was there when the run began."""

_YEAR_SECONDS = 31_536_000

_Item = TypeVar("_Item")
# YAML has lists alone.
Items = Annotated[tuple[_Item, ...], pydantic.Strict(False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _check_label(text: str) -> str:
    if not re.fullmatch(_LABEL, text):
        raise ValueError(
            f"{strict_yaml.shown(text)} is no label of Kubernetes: give letters, digits, -, _ and dots, 63 at most, "
            "after the DOMAIN/ of a key."
        )
    return text


_LABEL = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?|"
_Label = Annotated[str, pydantic.AfterValidator(_check_label)]


class Section(pydantic.BaseModel):
    """A mapping of the file, with known keys and no conversion of types."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class Accelerator(Section):
    """Devices of one type in each pod of a stage."""

    resource: str
    """Kubernetes' name of it: nvidia.com/gpu, google.com/tpu."""
    count: int = Field(ge=1)

    @pydantic.model_validator(mode="after")
    def _check_resource(self) -> Accelerator:
        if "/" not in self.resource or not re.fullmatch(_LABEL, self.resource):
            raise ValueError(
                f"resource is {strict_yaml.shown(self.resource)}: give Kubernetes' name of it, such as nvidia.com/gpu."
            )
        return self


class Retries(Section):
    """How often a stage is tried again, first after `backoff_seconds`, then each time after `factor` times as long.

    What a retry covers is the installation's to say, as its Argo's retryPolicy, for which a PipelineSpec has no field.
    Kubeflow Pipelines 2.17 ships OnError: a pod that was lost (evicted, deleted, its node gone) is tried again, and one
    that ended by itself (an exit code, out of memory) is not. Where it ships none, Argo's own OnFailure is the reverse.
    """

    count: int = Field(ge=0, le=1000)
    backoff_seconds: int = Field(30, ge=0, le=86_400)
    factor: int = Field(2, ge=1, le=100)
    """Whole: Argo fails a stage with any other once its pod is lost."""
    give_up_after_hours: Annotated[float, Field(gt=0, le=87_600)] | None = None
    """Hours from the start of the first attempt after which none begins, and one that still runs is killed."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _refuse_old_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and "max_backoff_seconds" in values:
            raise ValueError(
                "max_backoff_seconds is not the longest wait: Argo counts it from the start of the first attempt, then "
                "begins no other and kills one that still runs. Leave it out, or say so: give_up_after_hours: 72"
            )
        return values


class Toleration(Section):
    """A toleration as in a pod's specification; without an operator, of any value where none is given."""

    key: _Label = ""
    operator: Literal["", "Exists", "Equal"] = ""
    value: _Label = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""

    @pydantic.model_validator(mode="after")
    def _check_operator(self) -> Toleration:
        operator = self.fields()["operator"]
        if operator == "Exists" and self.value:
            raise ValueError("operator Exists tolerates any value: leave out the value, or the operator.")
        if operator == "Equal" and not self.key:
            raise ValueError("a value is that of a key: give the key, or leave out value and operator to tolerate all.")
        return self

    def fields(self) -> Document:
        """Returns those that are not empty, and the operator."""
        operator = self.operator or ("Equal" if self.value else "Exists")
        return {name: value for name, value in self.model_copy(update={"operator": operator}) if value}


class Stage(Section):
    """The pods of a stage. None leaves a value to `default`, and there to the cluster."""

    cpu: _Positive | None = None
    """Cores."""
    memory_gb: _Positive | None = None
    accelerator: Accelerator | None = None
    node_selector: dict[_Label, _Label] | None = None
    tolerations: Items[Toleration] | None = None
    retries: Retries | None = None
    beam: Items[str] | None = None
    """Beam's options; of repeated ones the last counts."""

    @pydantic.model_validator(mode="after")
    def _check_tpu(self) -> Stage:
        if self.accelerator is not None and self.accelerator.resource == TPU:
            missing = [label for label in TPU_SELECTORS if label not in (self.node_selector or {})]
            if missing:
                raise ValueError(
                    f"accelerator is {TPU}, and node_selector lacks {' and '.join(missing)}: GKE finds a TPU by both."
                )
        return self

    def over(self, default: Stage) -> Stage:
        """This stage, with `default`'s value for each that is None."""
        return default.model_copy(update={name: value for name, value in self if value is not None})

    def resource_spec(self) -> Document:
        """Returns a ResourceSpec: cores, gigabytes and devices."""
        fields: Document = {"cpuLimit": self.cpu, "memoryLimit": self.memory_gb}
        if self.accelerator is not None:
            # protobuf's JSON writes an int64 as text.
            fields["accelerator"] = {"type": self.accelerator.resource, "count": str(self.accelerator.count)}
        return {name: value for name, value in fields.items() if value is not None}

    def retry_policy(self) -> Document:
        """Returns a RetryPolicy, empty for none."""
        if self.retries is None or not self.retries.count:
            return {}
        hours = self.retries.give_up_after_hours
        return {
            "maxRetryCount": self.retries.count,
            "backoffDuration": f"{self.retries.backoff_seconds}s",
            "backoffFactor": float(self.retries.factor),
            # Without it Kubeflow Pipelines writes 0, and nothing is tried again.
            "backoffMaxDuration": f"{_YEAR_SECONDS if hours is None else math.ceil(hours * 3600)}s",
        }

    def node_fields(self) -> Document:
        """Returns the fields of a KubernetesExecutorConfig that choose nodes, empty ones too."""
        return {
            "nodeSelector": {"labels": dict(self.node_selector)} if self.node_selector else None,
            "tolerations": [each.fields() for each in self.tolerations or ()],
        }

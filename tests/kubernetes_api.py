"""Holds a manifest against the models of the `kubernetes` package, which are the schema of Kubernetes' API."""

from __future__ import annotations

from typing import Any

from kubernetes import client as kubernetes

_SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def strict(kind: str, value: Any, where: str) -> Any:
    """The value as a `kind` of Kubernetes' API; unknown fields, wrong types and missing fields are errors."""
    if kind == "object":
        return value
    if kind in _SCALARS:
        assert isinstance(value, _SCALARS[kind]), f"{where}: {value!r} is no {kind}"
        assert kind == "bool" or not isinstance(value, bool), f"{where}: {value!r} is no {kind}"
        return value
    if kind.startswith("list["):
        assert isinstance(value, list), where
        return [strict(kind[5:-1], item, f"{where}[{place}]") for place, item in enumerate(value)]
    if kind.startswith("dict("):
        assert isinstance(value, dict), where
        inner = kind[5:-1].split(", ", 1)[1]
        return {key: strict(inner, item, f"{where}.{key}") for key, item in value.items()}
    model = getattr(kubernetes, kind)
    assert isinstance(value, dict), where
    value = _without_newer(kind, value, where)
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    assert value.keys() <= names.keys(), f"{where}: there is no {sorted(value.keys() - names.keys())} in {kind}"
    fields = {
        names[name]: strict(model.openapi_types[names[name]], item, f"{where}.{name}") for name, item in value.items()
    }
    return model(**fields)  # raises ValueError where one that is required is missing


def _without_newer(kind: str, value: dict[str, Any], where: str) -> dict[str, Any]:
    """The value as the models, of Kubernetes 1.26, can know it."""
    if kind == "V1JobSpec" and "successPolicy" in value:
        # https://kubernetes.io/docs/concepts/workloads/controllers/job/#success-policy
        for rule in value["successPolicy"]["rules"]:
            assert rule and rule.keys() <= {"succeededIndexes", "succeededCount"}, f"{where}: successPolicy {rule}"
        return {name: field for name, field in value.items() if name != "successPolicy"}
    if kind == "V1PodFailurePolicyRule":
        # The models ask it of every rule, the API of none: kubernetes/kubernetes#120204.
        return {"onPodConditions": [], **value}
    return value

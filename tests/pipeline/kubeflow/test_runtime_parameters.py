"""Words of a command line become values of the types that a specification asks for, or are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.kubeflow import runtime_parameters


@pytest.mark.parametrize(
    ("type_name", "text", "value"),
    [
        ("STRING", "7", "7"),
        ("NUMBER_INTEGER", "-7", -7),
        ("NUMBER_DOUBLE", "1e-3", 0.001),
        ("BOOLEAN", "True", True),
        ("LIST", '["a", 1]', ["a", 1]),
        ("STRUCT", '{"a": 1}', {"a": 1}),
    ],
)
def test_a_value_has_the_type_of_its_parameter(type_name: str, text: str, value: Any) -> None:
    typed = runtime_parameters.typed({"p": {"parameterType": type_name}}, {"p": text})
    assert typed == {"p": value} and type(typed["p"]) is type(value)


@pytest.mark.parametrize(
    ("type_name", "text", "kind"),
    [
        ("NUMBER_INTEGER", "7.0", "an integer"),
        ("NUMBER_DOUBLE", "inf", "a number"),
        ("BOOLEAN", "1", "true or false"),
        ("LIST", '{"a": 1}', "a list in JSON"),
        ("STRUCT", "a=1", "an object in JSON"),
        ("TASK_FINAL_STATUS", "x", "cannot be given"),
    ],
)
def test_a_value_of_another_type_is_refused(type_name: str, text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"'p' .*{kind}"):
        runtime_parameters.typed({"p": {"parameterType": type_name}}, {"p": text})


def test_what_has_a_default_or_is_optional_may_be_left_out() -> None:
    definitions = {
        "default": {"parameterType": "STRING", "defaultValue": ""},
        "optional": {"parameterType": "STRING", "isOptional": True},
    }
    assert runtime_parameters.typed(definitions, {}) == {}

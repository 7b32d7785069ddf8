"""Messages declared as text: their fields, and what is refused."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from serving.protos import declare

DECLARATIONS = """
message Wrapped { int64 value = 1; }
message Options {
  Wrapped rows = 1; repeated int64 sizes = 2; bool on = 3; map<string, Wrapped> limits_by_name = 5;
}
"""


def test_messages_of_a_text_are_parsed_and_written() -> None:
    classes = declare(DECLARATIONS, package="tests.protos")
    assert list(classes) == ["Wrapped", "Options"]
    options = classes["Options"]()
    text_format.Parse("rows { value: 7 } sizes: [3, 5] on: true", options)
    options.limits_by_name["a"].value = 9
    again = classes["Options"].FromString(options.SerializeToString())
    assert (again.rows.value, list(again.sizes), again.on) == (7, [3, 5], True)
    assert {name: limit.value for name, limit in again.limits_by_name.items()} == {"a": 9}
    assert options.DESCRIPTOR.full_name == "tests.protos.Options"
    assert options.DESCRIPTOR.fields_by_name["limits_by_name"].number == 5


def test_the_same_messages_may_be_declared_twice() -> None:
    first, second = (declare(DECLARATIONS, package="tests.protos") for _ in range(2))
    assert first["Wrapped"](value=3).SerializeToString() == second["Wrapped"](value=3).SerializeToString()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("message A { optional int64 value = 1; }", "Not a field of A: 'optional'"),
        ("message A { int64 value; }", "Not a field of A: 'int64 value;'"),
        ("enum B { X = 0; }", "Not a declaration of a message: 'enum B"),
    ],
)
def test_what_is_no_plain_message_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        declare(text, package="tests.protos")

"""What Azure's own typed models know of a resource: how its properties are spelled, and which words they take."""

import enum
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

type Fields = dict[str, Any]
"""Property → model, fields within, words of an enumeration, or None where nothing more is known."""


def problems(model: type, value: Any, names: frozenset[str], place: str = "") -> Iterator[str]:
    """What `value` has that `model` does not know, or does not let anybody set. `names` are no literal texts."""
    if kind := value.get("'odata.type'"):
        model = getattr(_module(model), kind.rpartition(".")[2])
    yield from _object_problems(_fields(model), value, names, place)


def _object_problems(fields: Fields, value: Mapping[str, Any], names: frozenset[str], place: str) -> Iterator[str]:
    for written, item in value.items():
        key = written.strip("'")
        if key not in fields:
            yield f"{place}{key}"
            continue
        for one in _values(item):
            yield from _value_problems(fields[key], one, names, f"{place}{key}.")


def _value_problems(known: Any, value: Any, names: frozenset[str], place: str) -> Iterator[str]:
    if isinstance(value, dict) and _is_expression(value):
        return
    if isinstance(known, dict) and isinstance(value, dict):
        yield from _object_problems(known, value, names, place)
    elif isinstance(known, type) and isinstance(value, dict):
        yield from problems(known, value, names, place)
    elif isinstance(known, frozenset) and isinstance(value, str) and value not in names and value.lower() not in known:
        yield f"{place.removesuffix('.')}={value}"


def _values(value: Any) -> Iterator[Any]:
    """The value itself, those of a list or loop, and both of a condition."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item)
    elif isinstance(value, dict) and "loop_type" in value:
        yield from _values(value["config"])
    elif isinstance(value, dict) and _is_expression(value) and value.get("operator", {}).get("type") == "conditional":
        operands = value["operator"]["operands"]
        yield from _values(operands["true_value"])
        yield from _values(operands["false_value"])
    else:
        yield value


def _is_expression(value: Mapping[str, Any]) -> bool:
    """Whether it is no object: those may have a property of that name, which is a text."""
    return any(isinstance(value.get(word), dict) for word in ("operator", "function"))


def _fields(model: type) -> Fields:
    if attributes := getattr(model, "_attribute_map", None):
        return _older_fields(model, attributes)
    fields: Fields = {}
    for base in reversed(model.__mro__):
        for name, field in vars(base).items():
            if type(field).__name__ == "_RestField" and field._visibility != ["read"]:
                fields[field._rest_name_input or name] = _known(base, str(base.__annotations__[name]))
    return fields


def _older_fields(model: type, attributes: Mapping[str, Mapping[str, str]]) -> Fields:
    """In the older form nested properties are flat: `properties.criteria`."""
    fields: Fields = {}
    for attribute in attributes.values():
        *outer, last = attribute["key"].replace("\\.", "\0").split(".")
        within = fields
        for part in outer:
            within = within.setdefault(part, {})
        within[last.replace("\0", ".")] = _known(model, attribute["type"])
    return fields


def _known(model: type, annotation: str) -> Any:
    if "dict[" in annotation or annotation.startswith("{"):
        return None  # whatever keys it has are somebody's own
    module = _module(model)
    for name in re.findall(r"[A-Z]\w+", annotation):
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, enum.Enum):
            return frozenset(str(member.value).lower() for member in found)
        if isinstance(found, type):
            return found
    return None


def _module(model: type) -> Any:
    return sys.modules[model.__module__.rpartition(".")[0]]

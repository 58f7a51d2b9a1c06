"""The Bicep of infra/, read once, and ways to what the tests ask of it."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pycep import BicepParser

ROOT = Path(__file__).parent.parent.parent
INFRA = ROOT / "infra"
MAIN = INFRA / "main.bicep"
TEMPLATES = sorted(INFRA.rglob("*.bicep"))
PARAMETER_FILES = sorted((INFRA / "environments").glob("*.bicepparam"))


@cache
def _parser() -> BicepParser:
    return BicepParser()


@cache
def parsed(path: Path) -> Mapping[str, Any]:
    """One template: names and literal texts are both `str` there."""
    result: Mapping[str, Any] = _parser().parse(text=path.read_text(encoding="utf-8"))
    return result


@cache
def parameters(path: Path) -> Mapping[str, Any]:
    """The values in one file of parameters."""
    text = re.sub(r"^param (\w+) =", r"var \1 =", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    variables = _parser().parse(text=text.replace("using ", "// using ", 1))["variables"]
    return {name: variable["value"] for name, variable in variables.items()}


def body(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a resource or module is made of, whatever loop or condition stands before it."""
    config: Mapping[str, Any] = declaration["config"]
    while "config" in config:
        config = config["config"]
    return config


def resources(kind: str = "") -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
    """The resources that are made: file, name, declaration; those of one type where it is named."""
    for path in TEMPLATES:
        for name, declaration in parsed(path).get("resources", {}).items():
            if not declaration["existing"] and kind in {"", declaration["type"]}:
                yield path, name, declaration


def resource(module: str, name: str) -> Mapping[str, Any]:
    """What one resource of a module is made of."""
    return body(parsed(INFRA / "modules" / f"{module}.bicep")["resources"][name])


def written(value: Any) -> str:
    """An expression of names alone, as it is written: `a.b.c`."""
    if isinstance(value, dict) and value.get("operator", {}).get("type") == "property_accessor":
        return ".".join(written(part) for part in value["operator"]["operands"].values())
    assert isinstance(value, str), value
    return value

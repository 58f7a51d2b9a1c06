"""Checks Bicep without Azure: every file is read whole, by two parsers that know nothing of each other, and scanned.

Neither tool fails by itself on what it cannot read: checkov reports a parsing error and succeeds, and pycep leaves out
what it does not know. So the declarations that both have found are compared, and what checkov says is read closely.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from pycep import BicepParser
from tree_sitter import Language, Node, Parser

from scripts import bicep_symbols

KINDS = {"parameters": "parameter", "variables": "variable", "resources": "resource", "modules": "module"}
"""What is declared, as pycep and as tree-sitter (`…_declaration`) call it."""

EXTENSIONS = {"entra/main.bicep": "extension microsoftGraphV1\n"}
"""The only files with a line that a parser does not know: both are given an empty one instead."""

_tree_sitter = Parser(Language(tree_sitter_bicep.language()))
_pycep = BicepParser()


def main() -> int:
    """Checks the folder that is named, and tells every problem."""
    root = Path(sys.argv[1]).resolve()
    problems = [*template_problems(root), *scan_problems(root)]
    for problem in problems:
        print(problem.replace(f"{root.parent}/", ""), file=sys.stderr)
    return 1 if problems else 0


def template_problems(root: Path) -> Iterator[str]:
    """What is wrong with the files below `root`, by what they say themselves."""
    sources = {path: source(root, path) for suffix in ("bicep", "bicepparam") for path in root.rglob(f"*.{suffix}")}
    trees = {path: _tree_sitter.parse(text.encode()).root_node for path, text in sorted(sources.items())}
    for path, tree in trees.items():
        yield from reading_problems(path, sources[path], tree)
        yield from name_problems(path, trees)


def source(root: Path, path: Path) -> str:
    """A file as both parsers take it: parameters as the variables of a template, and without an extension's line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".bicepparam":
        return re.sub(r"^param (\w+) =", r"var \1 =", text, flags=re.MULTILINE).replace("using ", "// using ", 1)
    first_line = EXTENSIONS.get(path.relative_to(root).as_posix(), "")
    return text.replace(first_line, "\n", 1) if first_line else text


def reading_problems(path: Path, text: str, tree: Node) -> Iterator[str]:
    """What could not be read of one file, or was read by one parser alone."""
    yield from (f"{path}:{node.start_point.row + 1}: not understood (tree-sitter)" for node in faults(tree))
    try:
        parsed: Mapping[str, Any] = _pycep.parse(text=text)
    except Exception as fault:  # noqa: BLE001  # lark and pycep raise what they like
        yield f"{path}: not understood (pycep): {str(fault).splitlines()[0]}"
        return
    for kind, word in KINDS.items():
        declared = sorted(bicep_symbols.declarations(tree, word))
        if declared != sorted(parsed.get(kind, {})):
            yield f"{path}: the parsers have found other {kind}: {declared} and {sorted(parsed.get(kind, {}))}"


def name_problems(path: Path, trees: Mapping[Path, Node]) -> Iterator[str]:
    """What is wrong with the names in one file."""
    if path.suffix == ".bicep":
        yield from bicep_symbols.template_problems(path, trees)
        return
    used = re.search(r"^using '([^']+)'$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    template = (path.parent / used[1]).resolve() if used else path
    if template.suffix != ".bicep" or template not in trees:
        yield f"{path}: uses no template that is here"
        return
    yield from bicep_symbols.parameter_file_problems(path, trees[path], trees[template])


def faults(node: Node) -> Iterator[Node]:
    """The places that tree-sitter could not read."""
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from faults(child)


def scan_problems(root: Path) -> Iterator[str]:
    """What checkov finds, and whether it has looked at all."""
    checkov = Path(sys.executable).with_name("checkov")
    command = [str(checkov), "--config-file", str(root / "checkov.yaml"), "-d", str(root), "-o", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    for line in ended.stderr.splitlines():
        if re.search(r"\[(ERROR|WARNING) *\]|Traceback", line):
            yield f"checkov: {line.strip()}"
    try:
        report = json.loads(ended.stdout)
        summary, results = report["summary"], report["results"]
    except (ValueError, KeyError, TypeError):
        yield f"checkov has reported nothing (exit code {ended.returncode})"
        return
    for check in results["failed_checks"]:
        place = f"{root}{check['file_path']}:{check['file_line_range'][0]}"
        yield f"{place}: {check['check_id']} {check['check_name']} ({check['resource']})"
    yield from (f"checkov could not read {path}" for path in results.get("parsing_errors", []))
    if summary["parsing_errors"] or not summary["resource_count"] or not summary["passed"]:
        yield f"checkov has not looked at everything: {summary}"


if __name__ == "__main__":
    sys.exit(main())

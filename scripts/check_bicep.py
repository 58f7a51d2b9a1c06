"""Checks Bicep without Azure: every file is read whole, by two parsers that know nothing of each other, and scanned.

Neither tool fails by itself on what it cannot read: checkov reports a parsing error and succeeds, and pycep leaves out
what it does not know. So the declarations that both have found are compared, and what checkov says is read closely.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import tree_sitter_bicep
from pycep import BicepParser
from tree_sitter import Language, Node, Parser

KINDS = {"parameters": "parameter", "variables": "variable", "resources": "resource", "modules": "module"}
"""What is declared, as pycep and as tree-sitter (`…_declaration`) call it."""

EXTENSIONS = {"entra/main.bicep": "extension microsoftGraphV1\n"}
"""The only files with a first line that tree-sitter does not know: it is given the others."""

_tree_sitter = Parser(Language(tree_sitter_bicep.language()))
_pycep = BicepParser()


def main() -> int:
    """Checks the folder that is named, and tells every problem."""
    root = Path(sys.argv[1])
    problems = [problem for path in sorted(root.rglob("*.bicep")) for problem in template_problems(root, path)]
    problems += [problem for path in sorted(root.rglob("*.bicepparam")) for problem in parameter_problems(path)]
    problems += scan_problems(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def template_problems(root: Path, path: Path) -> Iterator[str]:
    """What is wrong with one template."""
    text = path.read_text(encoding="utf-8")
    first_line = EXTENSIONS.get(path.relative_to(root).as_posix(), "")
    if not text.startswith(first_line):
        yield f"{path}: no longer starts with {first_line.strip()!r}"
    tree = _tree_sitter.parse(("\n" + text.removeprefix(first_line) if first_line else text).encode())
    yield from (f"{path}:{node.start_point.row + 1}: not understood (tree-sitter)" for node in faults(tree.root_node))
    try:
        parsed = _pycep.parse(text=text)
    except Exception as fault:  # noqa: BLE001  # lark and pycep raise what they like
        yield f"{path}: not understood (pycep): {str(fault).splitlines()[0]}"
        return
    for kind, word in KINDS.items():
        declared = sorted(names(tree.root_node, f"{word}_declaration"))
        if declared != sorted(parsed.get(kind, {})):
            yield f"{path}: the parsers have found other {kind}: {declared} and {sorted(parsed.get(kind, {}))}"


def parameter_problems(path: Path) -> Iterator[str]:
    """What is wrong with one file of parameters: read as a template in which they are variables."""
    text, used = re.subn(r"^using '([^']+)'$", "", path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    if not used:
        yield f"{path}: uses no template"
    text = re.sub(r"^param (\w+) =", r"var \1 =", text, flags=re.MULTILINE)
    tree = _tree_sitter.parse(text.encode())
    yield from (f"{path}:{node.start_point.row + 1}: not understood (tree-sitter)" for node in faults(tree.root_node))
    try:
        found = sorted(_pycep.parse(text=text).get("variables", {}))
    except Exception as fault:  # noqa: BLE001  # as above
        yield f"{path}: not understood (pycep): {str(fault).splitlines()[0]}"
        return
    if found != sorted(names(tree.root_node, "variable_declaration")):
        yield f"{path}: the parsers have found other parameters"


def faults(node: Node) -> Iterator[Node]:
    """The places that tree-sitter could not read."""
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from faults(child)


def names(node: Node, kind: str) -> Iterator[str]:
    """The names of declarations of one kind, wherever they are: those within another one are what pycep loses."""
    if node.type == kind:
        yield next(child.text.decode() for child in node.children if child.type == "identifier" and child.text)
    for child in node.children:
        yield from names(child, kind)


def scan_problems(root: Path) -> Iterator[str]:
    """What checkov finds, and whether it has looked at all."""
    checkov = Path(sys.executable).with_name("checkov")
    command = [checkov, "--config-file", root / "checkov.yaml", "-d", root, "-o", "json"]
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

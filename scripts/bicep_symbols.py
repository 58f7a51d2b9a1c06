"""What the compiler of Bicep would say of names: each one is declared, used, and what a module really has."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tree_sitter import Node

FUNCTIONS = {
    "cidrSubnet", "concat", "empty", "endsWith", "environment", "guid", "items", "loadTextContent", "replace",
    "resourceGroup", "string", "subscription", "subscriptionResourceId", "take", "tenant", "toLower", "union",
    "uniqueString",
}  # fmt: skip
"""The functions that are in use: a misspelt one is not among them. Another one has to be added here."""

DECORATORS = {"allowed", "description", "maxLength", "maxValue", "minLength", "minValue"}
PARAMETER_FUNCTIONS = {"bool", "int", "json", "readEnvironmentVariable"}

type Tree = Node


def template_problems(path: Path, trees: Mapping[Path, Tree]) -> Iterator[str]:
    """What is wrong with the names in one template, and with the modules that it calls."""
    tree = trees[path]
    declared = {name: node for kind in ("parameter", "variable", "resource", "module", "type") for name, node in
                declarations(tree, kind).items()}  # fmt: skip
    local, used = local_names(tree), list(uses(tree))
    called = {text(node.named_children[0]) for node in every(tree, "call_expression")}
    yield from (f"{path}: no function {name}" for name in sorted(called - FUNCTIONS - DECORATORS))
    yield from (f"{path}: {name} is not declared" for name in sorted(set(used) - set(declared) - local - FUNCTIONS))
    owned = declarations(tree, "parameter") | declarations(tree, "variable")
    yield from (f"{path}: {name} is not used" for name in sorted(set(owned) - set(used)))
    for kind in ("parameter", "output"):
        yield from (f"{path}: {kind} {name} is not described" for name, node in declarations(tree, kind).items()
                    if not described(node))  # fmt: skip
    for name, module in declarations(tree, "module").items():
        yield from module_problems(path, name, module, trees)


def module_problems(path: Path, name: str, module: Tree, trees: Mapping[Path, Tree]) -> Iterator[str]:
    """Whether the module is there, is given what it wants, and has the outputs that are read of it."""
    target = (path.parent / text(module.named_children[1]).strip("'")).resolve()
    if target not in trees:
        yield f"{path}: module {name} has no file {target.name}"
        return
    given = {key for node in every(module, "object_property") if text(node.named_children[0]) == "params"
             for key in keys(node.named_children[1])}  # fmt: skip
    yield from argument_problems(f"{path}: module {name}", given, trees[target])
    read = {
        text(node.named_children[1])
        for node in every(trees[path], "member_expression")
        if text(node.named_children[0]).replace("!", "") == f"{name}.outputs"
    }
    outputs = declarations(trees[target], "output")
    yield from (f"{path}: module {name} has no output {output}" for output in sorted(read - set(outputs)))


def argument_problems(place: str, given: set[str], template: Tree) -> Iterator[str]:
    """What is given to a template that it does not take, and what it wants that is not given."""
    parameters = declarations(template, "parameter")
    yield from (f"{place} is given {name}, which it does not take" for name in sorted(given - set(parameters)))
    needed = {name for name, node in parameters.items() if node.named_children[-1].type == "type"}
    yield from (f"{place} is not given {name}" for name in sorted(needed - given))


def parameter_file_problems(path: Path, tree: Tree, template: Tree) -> Iterator[str]:
    """What is wrong with a file of parameters, read as a template in which they are variables."""
    yield from argument_problems(str(path), set(declarations(tree, "variable")), template)
    called = {text(node.named_children[0]) for node in every(tree, "call_expression")}
    yield from (f"{path}: no function {name}" for name in sorted(called - PARAMETER_FUNCTIONS))
    yield from (f"{path}: {name} is not declared" for name in sorted(set(uses(tree))))


def declarations(tree: Tree, kind: str) -> dict[str, Tree]:
    """The declarations of one kind, by name, wherever they are: those within another one are what pycep loses."""
    return {text(node.named_children[0]): node for node in every(tree, f"{kind}_declaration")}


def described(declaration: Tree) -> bool:
    """Whether `@description` stands before the declaration."""
    before = declaration.prev_named_sibling
    return before is not None and before.type == "decorators" and "@description(" in text(before)


def local_names(tree: Tree) -> set[str]:
    """The names within loops: `for x in` is written otherwise in the tree than `for (x, index) in`."""
    names = {text(node) for kind in ("loop_variable", "loop_enumerator") for node in every(tree, kind)}
    return names | {text(node.named_children[0]) for node in every(tree, "for_statement")}


def uses(tree: Tree) -> Iterator[str]:
    """The names that are read: not those of declarations, properties and functions."""
    for node in every(tree, "identifier"):
        parent = node.parent
        first = parent is not None and parent.named_children[0] == node
        if parent is None:
            continue
        names_itself = parent.type.endswith("_declaration") or parent.type in {"object_property", "call_expression"}
        if not (first and names_itself):
            yield text(node)


def keys(node: Tree) -> Iterator[str]:
    """The names of an object's properties."""
    yield from (text(child.named_children[0]) for child in node.named_children if child.type == "object_property")


def every(node: Tree, kind: str) -> Iterator[Tree]:
    """All nodes of one kind."""
    if node.type == kind:
        yield node
    for child in node.children:
        yield from every(child, kind)


def text(node: Tree) -> str:
    """How the node is written."""
    return (node.text or b"").decode()

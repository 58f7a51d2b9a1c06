"""The check of Bicep sees what the compiler would refuse, and what its tools would pass over in silence."""

import shutil
from pathlib import Path

import pytest

from scripts.check_bicep import template_problems
from tests.infra.bicep import INFRA

MAIN, PRODUCTION, VAULT = "main.bicep", "environments/production.bicepparam", "modules/vault.bicep"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The templates, to be spoiled."""
    return Path(shutil.copytree(INFRA, tmp_path / "infra"))


def problems(root: Path) -> list[str]:
    """What is found, without the way to the folder."""
    return [problem.replace(f"{root}/", "") for problem in template_problems(root)]


def test_the_templates_have_no_fault() -> None:
    """As they are."""
    assert problems(INFRA) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "found"),
    [
        (MAIN, "name: 'identity'", "name: 'identity", "main.bicep: not understood (pycep)"),
        (MAIN, "tags: allTags", "tags: allTag", "main.bicep: allTag is not declared"),
        (MAIN, "toLower(", "tolower(", "main.bicep: no function tolower"),
        (MAIN, "    roles\n", "    rolls\n", "main.bicep: rolls is not declared"),
        (MAIN, "identity.outputs.principalId", "identity.outputs.id_", "main.bicep: module identity has no output id_"),
        (MAIN, "modules/vault.bicep", "modules/vaults.bicep", "main.bicep: module vault has no file vaults.bicep"),
        (
            MAIN,
            "    purgeProtection: purgeProtection\n",
            "",
            "main.bicep: module vault is not given purgeProtection",
        ),
        (
            MAIN,
            "    purgeProtection: ",
            "    protection: ",
            "main.bicep: module vault is given protection, which it does not take",
        ),
        (VAULT, "param location string", "param location string\nparam spare string", f"{VAULT}: spare is not used"),
        (VAULT, "@description('Region.')\n", "", f"{VAULT}: parameter location is not described"),
        (PRODUCTION, "param clientId = ", "param client = ", f"{PRODUCTION} is given client, which it does not take"),
        (PRODUCTION, "param clientId = ", "param client = ", f"{PRODUCTION} is not given clientId"),
        (PRODUCTION, "deleteLocks = true", "deleteLocks = yes", f"{PRODUCTION}: yes is not declared"),
        (PRODUCTION, "json(", "Json(", f"{PRODUCTION}: no function Json"),
        (PRODUCTION, "using '../main.bicep'", "using '../mains.bicep'", f"{PRODUCTION}: uses no template that is here"),
    ],
    ids=str,
)
def test_a_fault_is_found(copy: Path, *, file: str, before: str, after: str, found: str) -> None:
    """One at a time."""
    text = (copy / file).read_text(encoding="utf-8")
    assert before in text
    (copy / file).write_text(text.replace(before, after), encoding="utf-8")
    assert any(problem.startswith(found) for problem in problems(copy)), problems(copy)


def test_a_resource_within_another_one_is_not_lost(copy: Path) -> None:
    """Pycep keeps the last one only, and so would every check that is built on it."""
    children = "".join(f"  resource {name} 'z' = {{\n    name: '{name}'\n  }}\n" for name in "bc")
    nested = f"resource a 'x/y@2020-01-01' = {{\n  name: 'a'\n{children}}}\n"
    with (copy / VAULT).open("a", encoding="utf-8") as file:
        file.write(f"\n{nested}")
    assert any("the parsers have found other resources" in problem for problem in problems(copy))


def test_an_extension_is_known_in_one_file_alone(copy: Path) -> None:
    """Elsewhere the line is what it is for the parser: not understood."""
    text = (copy / VAULT).read_text(encoding="utf-8")
    (copy / VAULT).write_text(f"extension microsoftGraphV1\n{text}", encoding="utf-8")
    assert any(problem.startswith(f"{VAULT}:1: not understood") for problem in problems(copy))

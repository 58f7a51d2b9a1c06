"""What the workflows promise: no stored credential, nothing rebuilt on the way, nobody's code but main's deployed."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import package
from scripts.package import ROOT

WORKFLOWS = {file.stem: file for file in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
ENVIRONMENTS = sorted((ROOT / "infra" / "environments").glob("*.bicepparam"))
PERMISSIONS = {
    ("ci", "keep"): {"contents": "write", "id-token": "write", "attestations": "write"},
    ("ci", "deploy"): {"contents": "read", "id-token": "write", "attestations": "read"},
    ("deploy", "staging"): {"contents": "read", "id-token": "write", "attestations": "read"},
    ("deploy", "production"): {"contents": "read", "id-token": "write", "attestations": "read"},
    ("rollback", "rollback"): {"contents": "read", "id-token": "write", "attestations": "read"},
    ("environment", "release"): {"contents": "read", "id-token": "write", "attestations": "read"},
    ("codeql", "analyze"): {"contents": "read", "security-events": "write"},
}
"""What a job may do; every other one may read the repository."""
AZ = """#!/bin/sh
env > "$CALLED/$(date +%s%N).env"
echo "$@" >> "$CALLED/calls"
outputs='{"appName": {"value": "gw"}, "publicBaseUrl": {"value": "https://gw.example"}}'
case "$*" in *"group create"*) echo "$outputs";; esac
"""
GH = """#!/bin/sh
echo "$@" >> "$CALLED/calls"
case "$*" in "release view"*) exit "$NOT_THERE";; esac
"""


def read(name: str) -> dict[str, Any]:
    """A workflow; YAML 1.1 takes its `on` for true."""
    workflow: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    return {str(key): value for key, value in workflow.items()}


def jobs() -> dict[tuple[str, str], dict[str, Any]]:
    """All jobs, by workflow and name."""
    return {(name, job): content for name in WORKFLOWS for job, content in read(name)["jobs"].items()}


def script(workflow: str, job: str, words: str) -> str:
    """The script of the step in whose name or text these words stand."""
    steps = read(workflow)["jobs"][job]["steps"]
    text: str = next(step["run"] for step in steps if "run" in step and words in f"{step.get('name')} {step['run']}")
    return text


def run(text: str, folder: Path, programs: Mapping[str, str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a step as a runner would, with stand-ins for some programs; what they are called with is in `calls`."""
    for name, content in programs.items():
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(content, encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    known = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLED": str(folder), "RUNNER_TEMP": str(folder)}
    known |= {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_REPOSITORY": "contoso/gateway", "HOME": str(folder)}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    return subprocess.run(shell, cwd=folder, env=known | environ, capture_output=True, text=True, check=False)


def calls(folder: Path) -> list[str]:
    """What the stand-ins were called with."""
    return (folder / "calls").read_text(encoding="utf-8").splitlines() if (folder / "calls").exists() else []


def test_each_job_may_do_what_it_needs_and_nothing_else() -> None:
    """The workflow as a whole may nothing; a job that is new has its permissions stated here too."""
    for name in WORKFLOWS:
        assert read(name)["permissions"] == {}, name
    for key, job in jobs().items():
        assert job["permissions"] == PERMISSIONS.get(key, {"contents": "read"}), key


def test_there_is_no_credential_to_steal() -> None:
    """No secret of the repository, no publish profile, no checkout that leaves its token behind."""
    for name, file in WORKFLOWS.items():
        text = file.read_text(encoding="utf-8")
        assert re.search(r"\$\{\{[^}]*secrets", text) is None, name
        assert "publish-profile" not in text, name
        assert "pull_request_target" not in text, name
    for key, job in jobs().items():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, key


def test_what_goes_to_production_has_been_on_staging() -> None:
    """One commit, one package, one after the other; the approval belongs to the environment's settings."""
    deploy = read("deploy")["jobs"]
    assert [(job["with"]["environment"], job.get("needs")) for job in deploy.values()] == [
        ("staging", None),
        ("production", "staging"),
    ]
    called = [*deploy.values(), read("rollback")["jobs"]["rollback"]]
    assert {job["uses"] for job in called} == {"./.github/workflows/environment.yml"}
    assert {job["with"]["commit"] for job in called} == {"${{ inputs.commit }}"}
    release = read("environment")["jobs"]["release"]
    assert release["environment"]["name"] == "${{ inputs.environment }}"
    assert release["concurrency"] == {"group": "environment-${{ inputs.environment }}", "cancel-in-progress": False}
    assert release["if"] == "github.ref == 'refs/heads/main'"


def test_only_what_has_passed_everything_is_kept_and_only_what_is_kept_is_deployed() -> None:
    """The package is made in one job; on its way nothing is made again."""
    ci = read("ci")["jobs"]
    assert set(ci["keep"]["needs"]) == {"lint", "test", "infra", "audit", "package"}
    assert ci["deploy"]["needs"] == "keep"
    makers = [key for key, job in jobs().items() if "scripts.package" in str(job)]
    assert makers == [("ci", "package")]
    for words in ("docker build", "make ", "remote true", "actions/cache"):
        assert words not in WORKFLOWS["environment"].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_script_is_one_that_bash_can_read(name: str) -> None:
    """And holds no expression, which would become part of it before bash sees it."""
    for job in read(name)["jobs"].values():
        for step in job.get("steps", []):
            if "run" in step:
                subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
                assert "${{" not in step["run"]


@pytest.fixture
def history(tmp_path: Path) -> dict[str, str]:
    """A repository with two commits on main, and one beside it; main as its remote has it."""
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@contoso.example", "-c", "commit.gpgsign=false")
    package.git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commits = {}
    for name in ("old", "new", "aside"):
        package.git(tmp_path, *who, "commit", "--quiet", "--allow-empty", "--message", name)
        commits[name] = package.git(tmp_path, "rev-parse", "HEAD")
    package.git(tmp_path, "update-ref", "refs/remotes/origin/main", commits["new"])
    package.git(tmp_path, "tag", "release", commits["old"])
    return commits


@pytest.mark.parametrize(("commit", "deployed"), [("old", True), ("new", True), ("aside", False)])
def test_only_a_commit_of_main_is_deployed(
    commit: str, deployed: bool, history: dict[str, str], tmp_path: Path
) -> None:
    """A branch that nobody has reviewed cannot be named in its place."""
    package.git(tmp_path, "checkout", "--quiet", history[commit])
    done = run(script("environment", "release", "one of main"), tmp_path, {}, COMMIT=history[commit])
    assert (done.returncode == 0) is deployed


@pytest.mark.parametrize("named", ["main", "release", "HEAD", ""])
def test_a_commit_is_named_by_itself(named: str, history: dict[str, str], tmp_path: Path) -> None:
    """A branch or tag may be another commit tomorrow, and the package is found by the commit's own name."""
    package.git(tmp_path, "checkout", "--quiet", history["old"])
    assert run(script("environment", "release", "one of main"), tmp_path, {}, COMMIT=named).returncode != 0


def test_the_package_must_be_signed_by_ci_for_this_very_commit_of_main(tmp_path: Path) -> None:
    """Whoever can write a release can put another zip there; nobody but CI on main can sign it."""
    text = script("environment", "release", "made and signed")
    assert run(text, tmp_path, {"gh": GH}, COMMIT="c" * 40).returncode == 0
    download, verify = calls(tmp_path)
    assert download.startswith(f"release download package-{'c' * 40} ")
    assert verify.startswith(f"attestation verify {tmp_path}/gateway.zip --repo contoso/gateway")
    for words in (
        "--signer-workflow contoso/gateway/.github/workflows/ci.yml",
        "--source-ref refs/heads/main",
        f"--source-digest {'c' * 40}",
        "--deny-self-hosted-runners",
    ):
        assert words in verify


def test_what_the_environment_does_not_set_keeps_the_default_of_the_parameters(tmp_path: Path) -> None:
    """A variable that GitHub does not know is empty, which for JSON or a number would be no value at all."""
    parameters = tmp_path / "infra" / "environments" / "staging.bicepparam"
    parameters.parent.mkdir(parents=True)
    names = ("GATEWAY_CLIENT_ID", "DATA_AGENTS", "BUDGET_AMOUNT")
    parameters.write_text("".join(f"param a = readEnvironmentVariable('{name}', '')\n" for name in names), "utf-8")
    given = {"GATEWAY_CLIENT_ID": "1", "DATA_AGENTS": "", "BUDGET_AMOUNT": ""}
    known = {"ENVIRONMENT": "staging", "COMMIT": "c" * 40, "RESOURCE_GROUP": "rg", "GITHUB_RUN_ID": "7"}
    text = script("environment", "release", "group what-if")
    done = run(text, tmp_path, {"az": AZ}, GITHUB_RUN_ATTEMPT="1", **given, **known)
    assert done.returncode == 0, done.stderr
    seen = [file.read_text(encoding="utf-8").splitlines() for file in tmp_path.glob("*.env")]
    assert len(seen) == 2
    for lines in seen:
        assert [line for line in lines if line.partition("=")[0] in names] == ["GATEWAY_CLIENT_ID=1"]
    assert [call.split()[2] for call in calls(tmp_path)] == ["what-if", "create"]
    assert "--name gateway-cccccccccccc-7-1" in calls(tmp_path)[1]
    assert (tmp_path / "output").read_text(encoding="utf-8") == "app=gw\nurl=https://gw.example\n"


@pytest.mark.parametrize("parameters", ENVIRONMENTS, ids=lambda file: file.stem)
def test_every_value_that_the_parameters_read_can_be_set(parameters: Path) -> None:
    """A name that the workflow does not hand on would silently keep its default."""
    read_there = set(re.findall(r"readEnvironmentVariable\('(\w+)'", parameters.read_text(encoding="utf-8")))
    steps = read("environment")["jobs"]["release"]["steps"]
    handed_on = next(step["env"] for step in steps if step.get("id") == "infra")
    assert read_there - set(handed_on) == set()
    assert {name: f"${{{{ vars.{name} }}}}" for name in handed_on} == handed_on


def test_the_package_is_deployed_as_it_is(tmp_path: Path) -> None:
    """A build on Azure's side would make another one, of whatever the registry has by then."""
    done = run(script("environment", "release", "config-zip"), tmp_path, {"az": AZ}, RESOURCE_GROUP="rg", APP="gw")
    assert done.returncode == 0
    assert "--build-remote false" in calls(tmp_path)[0]
    assert f"--src {tmp_path}/gateway.zip" in calls(tmp_path)[0]


@pytest.mark.parametrize(("not_there", "creations"), [("0", 0), ("1", 1)], ids=["kept already", "new"])
def test_a_package_is_kept_once(not_there: str, creations: int, tmp_path: Path) -> None:
    """A run that is repeated leaves the first package alone."""
    known = {"NOT_THERE": not_there, "GITHUB_SHA": "c" * 40}
    assert run(script("ci", "keep", "Kept for as long"), tmp_path, {"gh": GH}, **known).returncode == 0
    created = [call for call in calls(tmp_path) if call.startswith("release create")]
    assert len(created) == creations
    assert all(f"package-{'c' * 40} gateway.zip gateway.json" in call for call in created)

"""The container, as far as it can be known without Docker: its build steps run, its context is what it needs."""

import os
import re
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from scripts.package import PACKAGES, ROOT

DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
STAGES = [stage.splitlines() for stage in re.split(r"\n(?=FROM )", DOCKERFILE)[1:]]
BUILDER, FINAL = STAGES[-2:]
SCRATCH = "/tmp/"  # noqa: S108  # the image's


def arguments(stage: list[str], instruction: str) -> list[str]:
    """What stands behind an instruction, for each of its lines in a stage."""
    return [line.removeprefix(f"{instruction} ") for line in stage if line.startswith(f"{instruction} ")]


def test_the_steps_of_the_builder_install_by_hash_and_compile(tmp_path: Path) -> None:
    """Its own command lines, one after another; of the locked packages one, since test_package.py tries all."""
    for name in ("lib", "web", "function_app.py", "host.json"):
        (tmp_path / name).symlink_to(ROOT / name)
    work, scratch = tmp_path / "wwwroot", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    lock = (ROOT / "requirements-lock.txt").read_text(encoding="utf-8")
    entry = next(entry for entry in re.split(r"\n(?=[a-z])", lock) if entry.startswith("mdurl=="))
    (tmp_path / "requirements-lock.txt").write_text(f"{entry}\n", encoding="utf-8")
    known = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in BUILDER:
        instruction, _, rest = line.partition(" ")
        there = rest.replace(SCRATCH, f"{scratch}/")
        if instruction == "COPY":
            *sources, target = there.split()
            subprocess.run(["cp", "-rL", *(str(tmp_path / source) for source in sources), target], cwd=work, check=True)
        elif instruction == "RUN":
            subprocess.run(["sh", "-c", there], cwd=work, env=known, check=True)
    assert (work / PACKAGES / "mdurl" / "__init__.py").is_file()
    for module in (work / "function_app.py", work / "lib" / "gateway.py"):
        compiled = module.parent / "__pycache__" / f"{module.stem}.cpython-313.pyc"
        assert compiled.read_bytes()[:8] == MAGIC_NUMBER + (1).to_bytes(4, "little")


def test_the_context_is_what_is_copied_and_nothing_else() -> None:
    """All is left out but what is named; a file with settings or a history has no way in."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    copied = {word for line in arguments(BUILDER, "COPY") for word in line.split()[:-1]}
    assert patterns[0] == "*"
    assert {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")} == copied
    assert patterns[-1] == "**/__pycache__"
    assert [line for line in arguments(FINAL, "COPY") if not line.startswith("--from=builder ")] == []


def test_the_container_runs_as_nobody_on_a_port_that_needs_no_root() -> None:
    """A number, so that Kubernetes can tell that it is not root."""
    assert arguments(FINAL, "USER") == ["10001:10001"]
    assert arguments(FINAL, "EXPOSE") == ["8080"]
    assert "ASPNETCORE_URLS=http://+:8080 " in arguments(FINAL, "ENV")[0]
    assert "http://127.0.0.1:8080/api/health" in DOCKERFILE.partition("HEALTHCHECK")[2]
    order = [line.split()[0] for line in FINAL]
    assert "COPY" not in order[order.index("USER") :]
    assert "chown" not in str(arguments(FINAL, "COPY")), "the app belongs to root: it cannot change itself"

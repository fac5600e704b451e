"""What a checkout holds, what the locks pin, and what an installed package brings along."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import health_pipeline

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "health_pipeline"
LOCKS = ("requirements.lock", "requirements-dev.lock")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` builds, by the build backend itself."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def entries(lock: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with the rest of its logical line, split at spaces."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    split = [line.partition(" --hash=") for line in lines]
    return [(Requirement(head.strip()), f"{mark}{tail}".split()) for head, mark, tail in split]


def pins(lock: str) -> dict[str, set[Version]]:
    """Locked versions by package; more than one where they differ by Python version."""
    found: dict[str, set[Version]] = {}
    for requirement, _ in entries(lock):
        (specifier,) = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), set()).add(Version(specifier.version))
    return found


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "README.md",
        "workspace.yaml",
        "dagster.yaml",
        "health_pipeline",
        "health_pipeline_tests",
    ],
)
def test_the_top_level_is_as_agreed(name: str) -> None:
    assert (ROOT / name).exists()


def test_continuous_integration_can_be_started() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_version_is_the_same_everywhere(pyproject: dict[str, Any]) -> None:
    assert pyproject["project"]["version"] == health_pipeline.__version__
    assert f"## [{health_pipeline.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_is_pinned_with_hashes(lock: str) -> None:
    for requirement, hashes in entries(lock):
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes, f"{requirement} has no hash"
        assert all(HASH.fullmatch(value) for value in hashes), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_no_path(lock: str) -> None:
    """Whoever installs chooses the index; a lock made behind a mirror must not send others there."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "/" not in text
    assert "index" not in re.sub(HASH, "", text).replace("importlib", "")
    assert all(requirement.url is None for requirement, _ in entries(lock))


@pytest.mark.parametrize(("lock", "extras"), [("requirements.lock", []), ("requirements-dev.lock", ["dev"])])
def test_the_locks_are_up_to_date_with_the_declared_dependencies(
    lock: str, extras: list[str], pyproject: dict[str, Any]
) -> None:
    """After a change to the dependencies: `make lock`."""
    project = pyproject["project"]
    declared = [*project["dependencies"], *pyproject["build-system"]["requires"]]
    declared += [line for extra in extras for line in project["optional-dependencies"][extra]]
    locked = pins(lock)
    for requirement in map(Requirement, declared):
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement} is not in {lock}"
        assert all(version in requirement.specifier for version in versions), f"{requirement}, locked at {versions}"


def test_the_tests_run_on_the_versions_that_users_run() -> None:
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: dev.get(name) for name in runtime} == runtime


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Catalog, sample and templates too: without them an installed package can't run."""
    shipped = set(zipfile.ZipFile(wheel).namelist())
    here = {
        file.relative_to(ROOT).as_posix()
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
    }
    assert here - shipped == set()
    assert {
        "health_pipeline/eu_dsa/catalog/metrics.yaml",
        "health_pipeline/eu_dsa/sample/eu_dsa_daily.parquet",
    } <= shipped


def test_the_wheel_holds_nothing_but_the_package_and_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    info = f"health_pipeline-{health_pipeline.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"health_pipeline", info}
    assert f"{info}/licenses/LICENSE" in names


def test_an_installed_package_finds_its_catalog_and_sample_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import health_pipeline\n"
        "from health_pipeline.catalog import load_catalog\n"
        "assert health_pipeline.__file__.startswith(sys.argv[1]), health_pipeline.__file__\n"
        "print(load_catalog('eu_dsa').ecosystem.name)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "eu_dsa"

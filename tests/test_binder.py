"""Binder: its own steps, run on a copy of the project, end in an environment that works as it must there."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the project, built by postBuild in an environment where the requirements are at hand, torch with them.

    Binder takes torch from conda and the rest from pip; here all come from the environment of the tests, so that pip
    finds every pin fulfilled, or fails.
    """
    home = tmp_path_factory.mktemp("binder")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (home / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / "project" / name)
    venv.create(home / "env", with_pip=True)
    inner = sysconfig.get_path("purelib", vars={"base": str(home / "env")})
    outer = sysconfig.get_path("purelib")
    (Path(inner) / "outer.pth").write_text(f"{outer}\n", encoding="utf-8")
    path = [home / "env" / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(map(str, path)), "PIP_NO_INPUT": "1"}
    environment.pop("PYTHONPATH", None)

    def run(*command, **more):
        return subprocess.run(
            command,
            cwd=home / "project",
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    return run, run("binder/postBuild")


def test_the_build_ends_well_with_a_torch_for_cpus_and_the_bundled_models(built):
    run, build = built
    assert build.returncode == 0, build.stdout + build.stderr
    assert "starter, starter-multilingual, starter-reranker" in build.stdout
    where = run("python", "-c", "import workbench; print(workbench.__file__)").stdout
    assert "/binder" in where
    assert "/project/workbench/" in where, "the copy is what was installed"
    torch = run("python", "-c", "import torch; print(torch.version.cuda)").stdout
    assert torch.strip() == "None"


def test_a_build_that_fails_says_so(built):
    run, _ = built
    failed = run("binder/postBuild", PIP_CONSTRAINT="there-is-no-such-file.txt")
    assert failed.returncode != 0


@pytest.mark.parametrize(("limit", "threads"), [({}, "1"), ({"CPU_LIMIT": "2.0"}, "2"), ({"CPU_LIMIT": "0.5"}, "1")])
def test_the_session_starts_offline_with_as_many_threads_as_there_are_cpus(built, limit, threads):
    run, _ = built
    code = "import os; print(os.environ['HF_HUB_OFFLINE'], os.environ['OMP_NUM_THREADS'])"
    assert run("binder/start", "python", "-c", code, **limit).stdout.split() == ["1", threads]


def test_the_session_has_jupyterlab_voila_and_a_meter_of_memory(built):
    run, _ = built
    assert run("binder/start", "jupyter", "lab", "--version").stdout.startswith("4.")
    answer = run("jupyter", "server", "extension", "list")
    extensions = re.sub("\x1b\\[[0-9;]*m", "", answer.stdout + answer.stderr)
    for name in ("jupyterlab", "voila.server_extension", "jupyter_resource_usage"):
        assert f"{name} enabled" in extensions


def test_the_python_is_pinned():
    text = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
    assert "- python=3.11" in text
    assert sys.version_info >= (3, 11)

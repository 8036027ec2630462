"""The command line: what it starts, what it prints, and how it fails."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench import cli

RUNNER = CliRunner()


@pytest.fixture
def started(monkeypatch):
    """The argument lists of the programs that the command line would have become."""
    calls = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: calls.append(arguments))
    return calls


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "my notes" / "first.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.parametrize("command", ["lab", "doctor", "models"])
def test_help_names_every_command_and_each_explains_itself(command):
    assert command in RUNNER.invoke(cli.app, ["--help"]).output
    help_ = RUNNER.invoke(cli.app, [command, "--help"])
    assert help_.exit_code == 0
    assert getattr(cli, command).__doc__.split()[0] in help_.output


def test_the_version_is_the_package_s():
    import workbench

    assert workbench.__version__ in RUNNER.invoke(cli.app, ["--version"]).output


def test_lab_listens_on_this_machine_only_and_keeps_the_token(started, notebook):
    assert RUNNER.invoke(cli.app, ["lab", str(notebook), "--port", "9123", "--no-browser"]).exit_code == 0
    [arguments] = started
    assert arguments[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--ServerApp.ip=127.0.0.1" in arguments
    assert "--ServerApp.port=9123" in arguments
    assert "--no-browser" in arguments
    assert "--LabApp.default_url=/lab/tree/first.ipynb" in arguments
    assert f"--ServerApp.root_dir={notebook.parent}" in arguments
    assert not re.search("token|password|disable_check_xsrf", " ".join(arguments))


def test_lab_shows_the_working_directory_when_the_notebook_lies_in_it(started, notebook, monkeypatch):
    monkeypatch.chdir(notebook.parent.parent)
    RUNNER.invoke(cli.app, ["lab", str(notebook)])
    assert f"--ServerApp.root_dir={notebook.parent.parent}" in started[0]
    assert "--LabApp.default_url=/lab/tree/my%20notes/first.ipynb" in started[0]
    assert "--no-browser" not in started[0]


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_lab_allows_root_only_to_root(started, notebook, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    RUNNER.invoke(cli.app, ["lab", str(notebook)])
    assert ("--allow-root" in started[0]) is allowed


def test_lab_opens_the_quickstart_by_default(started):
    assert RUNNER.invoke(cli.app, ["lab"]).exit_code == 0
    assert any(argument.endswith("notebooks/00_quickstart.ipynb") for argument in started[0])


def test_a_missing_notebook_is_one_line_and_exit_code_1(started):
    result = RUNNER.invoke(cli.app, ["lab", "nowhere.ipynb"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "nowhere.ipynb" in result.stderr
    assert not started


def test_a_missing_jupyterlab_names_the_extra(monkeypatch, notebook):
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    result = RUNNER.invoke(cli.app, ["lab", str(notebook)])
    assert result.exit_code == 1
    assert "sentence-workbench[lab]" in result.stderr


def _wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.25)
        else:
            return
    pytest.fail(f"Nothing answers on port {port}.")


def test_jupyterlab_really_starts_and_asks_for_its_token(notebook):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "workbench", "lab", str(notebook), "--no-browser", "--port", str(port)]
    root = Path(cli.__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\S+token=\w+", line)))
            assert f"127.0.0.1:{port}/lab/tree/first.ipynb?token=" in address
            contents = f"http://127.0.0.1:{port}/api/contents"
            _wait_for(port)
            with pytest.raises(urllib.error.HTTPError, match="403") as refused:
                urllib.request.urlopen(contents, timeout=120)
            refused.value.close()
            with urllib.request.urlopen(f"{contents}?token={address.partition('token=')[2]}", timeout=120) as answer:
                assert "first.ipynb" in answer.read().decode()
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
    assert server.returncode is not None


def test_doctor_reports_the_machine_and_what_to_run_for_what_is_missing(monkeypatch):
    monkeypatch.setattr(cli, "_extras", lambda: {"search": ["no-such-package", "numpy"], "lab": ["numpy"]})
    result = RUNNER.invoke(cli.app, ["doctor"])
    assert result.exit_code == 0
    for word in ("Python", "torch", "cores", "memory", "GiB", "bundled models", "starter"):
        assert word in result.output
    assert re.search(
        r"missing +extra search +lacks no-such-package -> \S+ -m pip install 'sentence-workbench\[search\]'",
        result.output,
    )
    assert re.search(r"ok +extra lab +complete\n", result.output)


def test_doctor_knows_the_extras_that_the_package_declares():
    extras = cli._extras()
    assert "faiss-cpu" in extras["search"]
    assert "jupyterlab" in extras["lab"]


def test_models_lists_the_bundled_model_as_being_here():
    result = RUNNER.invoke(cli.app, ["models"])
    assert result.exit_code == 0
    assert re.search(r"^here +starter\n +bi-encoder, 256 dim", result.output, re.MULTILINE)
    assert max(map(len, result.output.splitlines())) <= 80


def listed(*options):
    result = RUNNER.invoke(cli.app, ["models", *options])
    assert result.exit_code == 0, result.output
    return re.findall(r"^(?:here|-) +(\S+)$", result.output, re.MULTILINE)


def test_models_can_be_narrowed_down_to_what_fits():
    every = listed()
    assert len(every) > 60
    assert listed("--here") == ["starter", "starter-multilingual", "starter-reranker"]
    assert set(listed("--kind", "cross-encoder")) | set(listed("--kind", "bi-encoder")) == set(every)
    assert "sentence-transformers/LaBSE" in listed("--language", "fi")
    assert "sentence-transformers/all-MiniLM-L6-v2" not in listed("--language", "fi")
    small = listed("--max-mb", "50", "--kind", "bi-encoder")
    assert small == ["starter", "starter-multilingual", "minishlab/potion-base-8M"]
    assert listed("E5-SMALL") == ["intfloat/e5-small-v2", "intfloat/multilingual-e5-small"]
    assert listed("no such model") == []


def test_models_tells_the_details_with_their_source():
    output = RUNNER.invoke(cli.app, ["models", "e5-base-v2", "--details"]).output
    assert "query prompt: 'query: '\n" in output
    assert "15 MTEB search tasks nDCG@10 (model cards): 50.29\n" in output
    assert "source: https://huggingface.co/intfloat/e5-base-v2\n" in output


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--kind", "encoder", "'bi-encoder', 'cross-encoder'"),
        ("--language", "German", "such as de"),
        ("--max-mb", "-1", "max-mb"),
    ],
)
def test_models_refuses_a_filter_that_means_nothing(option, value, says):
    result = RUNNER.invoke(cli.app, ["models", option, value])
    assert result.exit_code != 0
    assert says in result.output

"""Names become folders in the promised order, from a stand-in hub server or without any network."""

import hashlib
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_server import Hub
from workbench import hub
from workbench.errors import Cancelled, ModelFormatError, ModelNotFoundError, UnsafeModelError
from workbench.progress import Bar, listen

MODEL = {"modules.json": b"[]", "model.safetensors": b"weights" * 10_000, "1_Pooling/config.json": b"{}"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub().running() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SENTENCE_TRANSFORMERS_HOME", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ── on this disk ──


def test_a_local_folder_is_found_without_the_network(cache: Path, no_network: None) -> None:
    folder = write(cache.parent / "own", MODEL)
    assert hub.resolve("own") == Path("own")
    assert hub.resolve(folder) == folder
    assert hub.resolve(str(folder), revision="v9", token="t", cache_folder=cache) == folder
    assert hub.available("own")
    assert hub.is_sentence_transformer_model(folder)


def test_a_home_folder_is_expanded(cache: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(cache.parent))
    write(cache.parent / "own", MODEL)
    assert hub.resolve("~/own") == cache.parent / "own"


@pytest.mark.parametrize("name", ["./gone", "../gone", "/gone/model", "~/gone", r"C:\gone", "a/b/c", Path("org/name")])
def test_a_path_that_is_not_there_asks_nobody(name: str | Path, cache: Path, no_network: None) -> None:
    with pytest.raises(ModelNotFoundError, match=r"not there.*path, neither cache nor hub was asked"):
        hub.resolve(name)
    assert not hub.available(name)


def test_a_file_in_place_of_a_folder_is_named_so(cache: Path, no_network: None) -> None:
    Path("weights.bin").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="is a file"):
        hub.resolve("weights.bin")


@pytest.mark.parametrize(("name", "error"), [(None, TypeError), (7, TypeError), (b"x", TypeError), ("", ValueError)])
def test_a_name_that_is_no_text_or_empty_is_refused(name: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="name is"):
        hub.resolve(name)  # type: ignore[arg-type]


def test_a_bundled_model_is_found_by_its_plain_name(
    cache: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_ASSETS", cache.parent / "assets")
    folder = write(cache.parent / "assets" / "small", MODEL)
    write(cache.parent / "assets" / "notes", {"README.md": b""})
    assert hub.bundled() == {"small": folder}
    assert hub.resolve("small") == folder
    assert hub.available("small")


def test_a_damaged_bundled_model_says_how_to_repair_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_ASSETS", cache.parent)
    table = {name: hashlib.sha256(content).hexdigest() for name, content in MODEL.items()}
    folder = write(cache.parent / "small", MODEL | {"sha256.json": json.dumps(table).encode()})
    assert hub.resolve("small") == Path("small")  # a folder of that name in the working directory comes first
    monkeypatch.chdir("/")
    assert hub.resolve("small") == folder
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelFormatError, match=r"model\.safetensors.* is damaged.*pip install --force-reinstall"):
        hub.resolve("small")
    assert not hub.available("small")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFormatError, match="is missing"):
        hub.verify(folder)


def test_every_model_that_came_along_is_whole() -> None:
    for folder in hub.bundled().values():
        hub.verify(folder)


# ── from the hub ──


def test_a_model_is_downloaded_once_and_then_needs_no_hub(server: Hub, cache: Path) -> None:
    sha = server.add("org/model", MODEL)
    folder = hub.resolve("org/model")
    assert folder == cache / "models--org--model" / "snapshots" / sha
    assert contents(folder) == MODEL
    server.asked.clear()
    assert hub.resolve("org/model") == folder
    assert hub.resolve("org/model", revision=sha) == folder
    assert hub.resolve("org/model", local_files_only=True) == folder
    assert hub.available("org/model")
    assert server.asked == []


def test_the_cache_serves_when_the_hub_is_gone(server: Hub, cache: Path) -> None:
    server.add("org/model", MODEL)
    folder = hub.resolve("org/model")
    server.stop()
    assert hub.resolve("org/model") == folder
    assert hub.resolve("org/model", revision="main") == folder
    with pytest.raises(ModelNotFoundError, match=r"other is not there\n.*hub: org/other ConnectError"):
        hub.resolve("org/other")


def test_an_export_that_was_left_out_is_fetched_when_it_is_wanted(server: Hub, cache: Path) -> None:
    server.add("owner/m", {**MODEL, "onnx/model.onnx": b"graph", "onnx/model_O4.onnx": b"another"})
    folder = hub.resolve("owner/m")
    assert not (folder / "onnx").exists()
    hub.complete(folder, ["onnx/model.onnx", "onnx/model.onnx_data"], local_files_only=True)
    assert not (folder / "onnx").exists()
    hub.complete(folder, ["onnx/model.onnx", "onnx/model.onnx_data"])
    assert contents(folder) == {**MODEL, "onnx/model.onnx": b"graph"}
    own = write(cache.parent / "own", MODEL)
    asked = len(server.asked)
    hub.complete(own, ["onnx/model.onnx"])
    assert len(server.asked) == asked


def test_the_token_is_sent_as_bearer(server: Hub, cache: Path) -> None:
    server.add("org/secret", MODEL, token="hf_right")
    with pytest.raises(ModelNotFoundError, match=r"(?s)was found: .*token=.* is private$"):
        hub.resolve("org/secret", token="hf_wrong")
    hub.resolve("org/secret", token="hf_right")
    assert {sent for _, path, sent in server.asked if "/resolve/" in path} == {"Bearer hf_right"}


def test_the_cache_folder_is_used(server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("org/model", MODEL)
    own = cache.parent / "own cache"
    assert hub.resolve("org/model", cache_folder=own).is_relative_to(own)
    assert not cache.exists()
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(cache.parent / "home"))
    assert hub.resolve("org/model").is_relative_to(cache.parent / "home")


def test_a_plain_name_is_looked_for_in_the_organization_and_then_as_it_is(server: Hub, cache: Path) -> None:
    server.add("sentence-transformers/known", MODEL)
    server.add("classic-uncased", MODEL)
    assert "models--sentence-transformers--known" in str(hub.resolve("known"))
    assert "models--classic-uncased" in str(hub.resolve("classic-uncased"))
    server.asked.clear()
    hub.resolve("known")
    hub.resolve("classic-uncased")
    assert server.asked == []
    server.add("cross-encoder/known", MODEL)
    assert "models--cross-encoder--known" in str(hub.resolve("known", organization="cross-encoder"))


def test_a_revision_that_is_not_cached_is_asked_for(server: Hub, cache: Path) -> None:
    first = server.add("org/model", MODEL)
    second = server.add("org/model", MODEL | {"README.md": b"new"}, ref="v2")
    assert hub.resolve("org/model").name == first
    assert hub.resolve("org/model", revision="v2").name == second
    assert hub.resolve("org/model", revision=second).name == second
    with pytest.raises(ModelNotFoundError, match=r"(?s)was found: check revision=.* has no such revision$"):
        hub.resolve("org/model", revision="v3")
    with pytest.raises(ModelNotFoundError, match="has no such revision"):
        hub.resolve("org/model", revision="0" * 40)


def test_a_branch_is_asked_for_anew_and_its_cached_state_serves_offline(server: Hub, cache: Path) -> None:
    first = server.add("org/model", MODEL)
    assert hub.resolve("org/model", revision="main").name == first
    second = server.add("org/model", MODEL | {"README.md": b"new"})
    assert hub.resolve("org/model").name == first
    assert hub.resolve("org/model", revision="main").name == second
    server.broken = True
    assert hub.resolve("org/model", revision="main").name == second


@pytest.mark.parametrize("offline", [True, False])
def test_offline_asks_nobody_and_says_which_setting_forbids_it(
    offline: bool, server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("org/model", MODEL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    setting = "HF_HUB_OFFLINE" if offline else "local_files_only"
    with pytest.raises(ModelNotFoundError, match=rf"(?s)was found: .* download it once without {setting}.*not asked"):
        hub.resolve("org/model", local_files_only=not offline)
    assert server.asked == []


def test_all_that_was_tried_is_listed_in_order(server: Hub, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        hub.resolve("nonsense")
    words = [
        "1. local folder",
        "2. bundled",
        "3. cache",
        "sentence-transformers/nonsense",
        "4. cache",
        "5. hub",
        "6. hub",
    ]
    places = [str(caught.value).index(word) for word in words]
    assert places == sorted(places)
    assert "check the spelling" in str(caught.value)


@pytest.mark.parametrize("name", ["has space", "org/-x-", "org/na..me", "nul\0"])
def test_an_impossible_name_is_called_so(name: str, server: Hub, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="is not a possible name"):
        hub.resolve(name)
    assert server.asked == []


def test_a_gated_model_says_how_to_get_access(server: Hub, cache: Path) -> None:
    server.add("org/gated", MODEL, gated=True)
    with pytest.raises(ModelNotFoundError, match=r"(?s)was found: ask for access .*hf auth login.* is gated$"):
        hub.resolve("org/gated")
    assert not hub.available("org/gated")


def test_a_broken_or_slow_hub_is_an_error_that_says_so(
    server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.broken = True
    with pytest.raises(ModelNotFoundError, match=r"(?s)was found: check network.*500"):
        hub.resolve("org/model")
    monkeypatch.setattr(hub, "_TIMEOUT", 0.1)
    server.delay = 0.5
    with pytest.raises(ModelNotFoundError, match="Timeout"):
        hub.resolve("org/model")


# ── which files, and all of them ──


def test_safetensors_are_preferred_folder_by_folder(server: Hub, cache: Path) -> None:
    others = [
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "openvino/openvino_model.bin",
        "flax_model.msgpack",
    ]
    server.add("org/model", MODEL | dict.fromkeys(others, b"x") | {"2_Dense/pytorch_model.bin": b"kept"})
    assert contents(hub.resolve("org/model")) == MODEL | {"2_Dense/pytorch_model.bin": b"kept"}
    server.add("org/old", {"config.json": b"{}", "pytorch_model.bin": b"weights", "training_args.bin": b"x"})
    assert contents(hub.resolve("org/old")) == {"config.json": b"{}", "pytorch_model.bin": b"weights"}


@pytest.mark.parametrize("cut", ["model.safetensors", "1_Pooling/config.json"])
def test_an_interrupted_download_does_not_count_as_present(
    cut: str, server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.add("org/model", MODEL)
    server.cut = cut
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(ModelNotFoundError, match=r"(?s)was found: check network.*hub: org/model "):
        hub.resolve("org/model")
    assert (cache / "models--org--model" / "snapshots").is_dir() or (cache / "models--org--model" / "refs").is_dir()
    server.cut = None
    assert contents(hub.resolve("org/model")) == MODEL


def test_a_snapshot_without_weights_or_configuration_or_shards_is_not_available(cache: Path, no_network: None) -> None:
    snapshot = cache / "models--org--model" / "snapshots" / ("a" * 40)
    write(cache / "models--org--model", {"refs/main": b"a" * 40})
    for missing in ("config.json", "model.safetensors"):
        write(snapshot, {name: b"{}" for name in ("config.json", "model.safetensors") if name != missing})
        assert not hub.available("org/model")
        (snapshot / ({"config.json", "model.safetensors"} - {missing}).pop()).unlink()
    write(snapshot, {"config.json": b"{}", "model-00001-of-00002.safetensors": b""})
    assert not hub.available("org/model")
    write(snapshot, {"model-00002-of-00002.safetensors": b""})
    assert hub.available("org/model")
    assert hub.resolve("org/model") == snapshot


def test_a_usable_snapshot_that_lacks_a_side_file_is_completed_or_serves_offline(server: Hub, cache: Path) -> None:
    server.add("org/model", MODEL | {"README.md": b"card"})
    folder = hub.resolve("org/model")
    (folder / "README.md").unlink()
    server.broken = True
    assert hub.resolve("org/model") == folder
    server.broken = False
    assert hub.resolve("org/model") == folder
    assert (folder / "README.md").read_bytes() == b"card"


@pytest.mark.parametrize("name", ["../../escaped", "1_Pooling/../../../escaped", "/escaped"])
def test_a_listed_file_name_that_climbs_out_is_not_downloaded(name: str, server: Hub, cache: Path) -> None:
    server.add("org/model", MODEL | {name: b"payload"})
    assert contents(hub.resolve("org/model")) == MODEL
    assert "escaped" not in str(server.asked)
    assert list(cache.parent.rglob("*escaped*")) == []


def test_a_download_reports_its_bytes_and_can_be_cancelled(server: Hub, cache: Path) -> None:
    server.add("org/model", MODEL)
    seen: list[tuple[float, float]] = []
    with listen(lambda bar: seen.append((bar.done, bar.total))):
        hub.resolve("org/model")
    assert seen[-1] == (sum(map(len, MODEL.values())),) * 2

    def cancel(bar: Bar) -> None:
        raise Cancelled

    server.add("org/other", MODEL)
    with listen(cancel), pytest.raises(Cancelled):
        hub.resolve("org/other")
    assert not hub.available("org/other")


def test_a_download_draws_nothing_where_nobody_looks(
    server: Hub, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.add("org/model", MODEL)
    hub.resolve("org/model")
    assert capfd.readouterr() == ("", "")


# ── single files, and the way back ──


def test_one_file_or_folder_of_a_model_is_fetched_alone(server: Hub, cache: Path) -> None:
    server.add("org/model", MODEL)
    server.add("org/plain", {"config.json": b"{}", "model.safetensors": b"w"})
    assert hub.is_sentence_transformer_model("org/model")
    assert server.downloads() == ["modules.json"]
    assert not hub.is_sentence_transformer_model("org/plain")
    assert not hub.is_sentence_transformer_model("org/none")
    assert not hub.available("org/model")
    pooling = hub.load_dir_path("org/model", "1_Pooling")
    assert pooling is not None
    assert contents(Path(pooling)) == {"config.json": b"{}"}
    assert hub.load_dir_path("org/model", "3_Dense") is None
    assert hub.load_dir_path("org/none", "1_Pooling") is None
    assert hub.load_file_path("org/model", "modules.json", local_files_only=True) is not None


def test_a_file_of_a_local_model_cannot_lie_outside_of_it(cache: Path, no_network: None) -> None:
    folder = write(cache.parent / "own", MODEL)
    assert hub.load_file_path(folder, "1_Pooling/config.json") == str(folder / "1_Pooling/config.json")
    assert hub.load_file_path(folder, "gone.json") is None
    assert hub.load_dir_path(folder, "1_Pooling") == str(folder / "1_Pooling")
    for name in ("../x", "/etc/passwd", r"..\x"):
        with pytest.raises(UnsafeModelError, match="leaves the model folder"):
            hub.load_file_path(folder, name)
        with pytest.raises(UnsafeModelError, match="leaves the model folder"):
            hub.load_file_path("org/model", name)


def test_a_folder_is_pushed_and_comes_back(server: Hub, cache: Path) -> None:
    folder = write(cache.parent / "own", MODEL)
    url = hub.push(folder, "me/mine", token="hf_me", private=True, commit_message="First")
    assert url.startswith(f"{server.url}/me/mine/commit/")
    assert contents(hub.resolve("me/mine", token="hf_me")) == MODEL
    with pytest.raises(OSError, match="409"):
        hub.push(folder, "me/mine", token="hf_me")


def test_a_push_to_a_branch_can_spare_the_card_that_is_there(server: Hub, cache: Path) -> None:
    folder = write(cache.parent / "own", MODEL | {"README.md": b"first"})
    hub.push(folder, "me/mine", token="hf_me", keep_card=True)
    (folder / "README.md").write_bytes(b"second")
    for keep, card in ((True, b"first"), (False, b"second")):
        hub.push(folder, "me/mine", token="hf_me", exist_ok=True, revision="draft", keep_card=keep)
        assert (hub.resolve("me/mine", revision="draft") / "README.md").read_bytes() == card
    assert (hub.resolve("me/mine", revision="main") / "README.md").read_bytes() == b"first"


def test_a_pull_request_gives_its_own_address(server: Hub, cache: Path) -> None:
    server.add("them/theirs", MODEL)
    folder = write(cache.parent / "own", {"README.md": b"card"})
    assert hub.push(folder, "them/theirs", token="hf_me", create_pr=True) == f"{server.url}/them/theirs/discussions/1"
    assert contents(hub.resolve("them/theirs")) == MODEL

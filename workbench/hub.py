"""Names to model folders: a local folder, a bundled model, the local hub cache, then the hub; and back to the hub."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

from workbench.errors import ModelFormatError, ModelNotFoundError
from workbench.folders import write_json
from workbench.progress import track

__all__ = [
    "available", "bundled", "complete", "is_sentence_transformer_model", "load_dir_path", "load_file_path", "push",
    "repo_of", "resolve", "seal", "verify",
]  # fmt: skip

_Token = str | bool | None
_ASSETS = Path(__file__).parent / "assets"
_LARGE = 50_000  # bytes of a file from which its checksum is kept
_TIMEOUT = 10.0  # seconds to wait for the hub's first answer
_UNWANTED = [  # never downloaded: weights of other frameworks, training leftovers, names that climb out of the folder
    *("*.onnx", "*.onnx_data", "*openvino*", "*.h5", "*.ot", "*.msgpack", "*.tflite", "*.gguf", "coreml/*", "*.pt"),
    *("*.pth", "*.ckpt", "*.pkl", "*.pickle", "*training_args.bin", "*optimizer.bin", "*scheduler.bin"),
    *("/*", "../*", "*/../*"),
]
_ANSWERS = {  # what huggingface_hub raises: what it means, and what to do
    "RepositoryNotFoundError": ("does not exist, or is private", "check the spelling, or pass token= if it is private"),
    "HFValidationError": ("is not a possible name", "check the spelling; `workbench models` lists known names"),
    "RevisionNotFoundError": ("has no such revision", "check revision=, which is a branch, a tag or a commit hash"),
    "GatedRepoError": ("is gated", "ask for access on its page, then run `hf auth login` or pass token="),
}


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    token: _Token = None,
    cache_folder: str | Path | None = None,
    local_files_only: bool = False,
    organization: str = "sentence-transformers",
) -> Path:
    """Return the folder of the model ``name``, downloading it only when it is nowhere on this machine.

    Tries a local folder and a bundled model (where ``revision`` means nothing), the local hub cache, and the hub. A
    name without a slash is looked for in ``organization``, then as it is. A branch or tag given as ``revision`` may
    have moved, so the hub is asked first and the cache serves when the hub does not.

    Raises:
        ModelNotFoundError: says what to do, and lists in order what was tried and why each failed.
        ModelFormatError: a bundled model is damaged.
    """
    if (folder := _at_hand(name)) is not None:
        return folder
    from huggingface_hub import constants

    text, cache = str(name), _cache(cache_folder)
    tried = [f"local folder {text}: not there", f"bundled models ({', '.join(bundled()) or 'none'}): not among them"]
    repos = [text] if "/" in text else [f"{organization}/{text}", text]
    moving = revision is not None and not re.fullmatch("[0-9a-f]{40}", revision)
    fallback: Path | None = None
    for repo in repos:
        folder, lack = _cached(repo, revision, cache)
        if folder is not None and not lack and not moving:
            return folder
        fallback = fallback or folder
        tried.append(f"cache {cache or constants.HF_HUB_CACHE}: {repo} {lack or 'may have changed on the hub since'}")
    advice, setting = "", "local_files_only=True" if local_files_only else "HF_HUB_OFFLINE"
    if local_files_only or constants.HF_HUB_OFFLINE:
        advice = f"check its name, give a local folder, or download it once without {setting}"
        tried.append(f"hub: not asked because of {setting}")
        repos = []
    if repos:
        from huggingface_hub import errors  # not before it is needed: it brings an HTTP client
    for repo in repos:
        try:
            return _download(repo, revision, cache, token)
        except (OSError, ValueError, errors.HTTPError) as error:  # type: ignore[attr-defined]
            kind, line = type(error).__name__, str(error).strip().partition("\n")[0]
            why, advice = _ANSWERS.get(kind, (f"{kind}: {line}", "check network and disk space, then try again"))
            tried.append(f"hub: {repo} {why}")
            if kind not in ("RepositoryNotFoundError", "HFValidationError"):
                break
    if fallback is not None:
        return fallback
    steps = "".join(f"\n  {number}. {line}" for number, line in enumerate(tried, 1))
    raise ModelNotFoundError(f"No model {text!r} was found: {advice}.\nTried, in order:{steps}")


def available(name: str | Path, **where: Any) -> bool:
    """Whether ``resolve(name, **where)`` finds the model without the network."""
    try:
        resolve(name, **where, local_files_only=True)
    except (ModelNotFoundError, ModelFormatError):
        return False
    return True


def repo_of(folder: Path) -> str | None:
    """Return the name on the hub of a model whose folder ``resolve`` found in the hub's cache; None for others."""
    names = [part.removeprefix("models--") for part in folder.parts if part.startswith("models--")]
    return names[-1].replace("--", "/") if names else None


def bundled() -> dict[str, Path]:
    """The models that came with the package: name → folder."""
    configs = (path for pattern in ("*/modules.json", "*/config.json") for path in _ASSETS.glob(pattern))
    return {folder.name: folder for folder in sorted({path.parent for path in configs})}


def verify(folder: Path) -> None:
    """Check the files of a bundled model against the table file → SHA-256 in its ``sha256.json``, when it has one.

    Raises:
        ModelFormatError: a file is missing or damaged; says how to repair the installation.
    """
    table = folder / "sha256.json"
    for name, digest in json.loads(table.read_text(encoding="utf-8")).items() if table.is_file() else ():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ModelFormatError(
                f"{path}, part of a bundled model, is {'damaged' if path.is_file() else 'missing'}. "
                "Repair it with: pip install --force-reinstall --no-deps sentence-workbench"
            )


def seal(folder: str | Path) -> None:
    """Write the table of the large files of ``folder`` that ``verify`` checks."""
    large = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in (".safetensors", ".json")]
    large = [path for path in large if path.stat().st_size > _LARGE]
    sums = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in large}
    write_json(Path(folder) / "sha256.json", sums)


def push(
    folder: str | Path,
    repo_id: str,
    *,
    token: _Token = None,
    private: bool | None = None,
    exist_ok: bool = False,
    keep_card: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    **options: Any,
) -> str:
    """Upload ``folder`` to the hub as ``repo_id`` and return the address of the commit or of the pull request.

    The repository is created, and may exist only with ``exist_ok`` or ``create_pr``. The branch ``revision`` is made
    where it is missing; ``keep_card`` spares a README.md that is there; ``options`` go to ``HfApi.upload_folder``.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="sentence-workbench")
    repo_id = api.create_repo(repo_id, private=private, exist_ok=exist_ok or create_pr).repo_id
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    options.update(revision=revision, create_pr=create_pr)
    if keep_card and api.file_exists(repo_id, "README.md", revision=revision):
        options["ignore_patterns"] = ["README.md"]
    commit = api.upload_folder(repo_id=repo_id, folder_path=folder, **options)
    return str(commit.pr_url or commit.commit_url)


def load_file_path(model_name_or_path: str | Path, filename: str, subfolder: str = "", **where: Any) -> str | None:
    """Return where one file of a model lies here, downloading no more than that; None if the model has none such.

    ``where`` is ``token``, ``cache_folder``, ``revision`` and ``local_files_only``, as in ``resolve``.

    Raises:
        UnsafeModelError: the name leaves the model's folder.
    """
    from huggingface_hub import errors, hf_hub_download

    from workbench.folders import inside

    folder = _at_hand(model_name_or_path)
    path = inside(folder or ".", f"{subfolder}/{filename}" if subfolder else filename)
    if folder is not None:
        return str(path) if path.is_file() else None
    where["cache_dir"] = _cache(where.pop("cache_folder", None))
    try:
        return str(hf_hub_download(str(model_name_or_path), path.as_posix(), **where))
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.HFValidationError):
        return None


def complete(folder: Path, names: Iterable[str], *, token: _Token = None, local_files_only: bool = False) -> None:
    """Download files that ``resolve`` leaves out into a snapshot of the hub's cache; those that there are not stay out.

    A folder that is no such snapshot is left alone. ``names`` are relative to ``folder``.
    """
    from huggingface_hub import constants, errors, hf_hub_download

    root = next((parent for parent in (folder, *folder.parents) if parent.parent.name == "snapshots"), None)
    repo = root.parents[1].name if root is not None else ""
    if root is None or not repo.startswith("models--") or local_files_only or constants.HF_HUB_OFFLINE:
        return
    where: dict[str, Any] = {"revision": root.name, "cache_dir": root.parents[2], "token": token}
    for name in names:
        path = (folder.relative_to(root) / name).as_posix()
        try:
            hf_hub_download(repo.removeprefix("models--").replace("--", "/"), path, **where)
        except (errors.EntryNotFoundError, errors.RepositoryNotFoundError):
            continue


def load_dir_path(model_name_or_path: str | Path, subfolder: str, **where: Any) -> str | None:
    """Return where one folder of a model lies here; ``where`` as in ``load_file_path``."""
    from workbench.folders import inside

    try:
        path = inside(resolve(model_name_or_path, **where), subfolder)
    except ModelNotFoundError:
        return None
    return str(path) if path.is_dir() else None


def is_sentence_transformer_model(model_name_or_path: str | Path, **where: Any) -> bool:
    """Whether the model was saved as a SentenceTransformer; ``where`` as in ``load_file_path``."""
    return load_file_path(model_name_or_path, "modules.json", **where) is not None


def _at_hand(name: str | Path) -> Path | None:
    """The local folder or bundled model of that name; None when only the cache or the hub may have it."""
    if not isinstance(name, str | Path):
        raise TypeError(f"A model's name is a str or a Path, not {type(name).__name__}.")
    text, path = str(name), Path(name).expanduser()
    if not text.strip():
        raise ValueError("The model's name is empty. Give a folder, a bundled name or a hub name such as 'owner/name'.")
    if path.is_dir():
        return path
    if name in bundled():
        verify(bundled()[text])
        return bundled()[text]
    if isinstance(name, Path) or path.exists() or re.match(r"[./~]|.*\\|.*/.*/", text):
        raise ModelNotFoundError(
            f"No model folder at {text!r}: {path.absolute()} is {'a file' if path.exists() else 'not there'}. As "
            "this is a path, neither cache nor hub was asked. Give the folder that holds modules.json or config.json."
        )
    return None


def _cache(folder: str | Path | None) -> str | Path | None:
    return folder or os.environ.get("SENTENCE_TRANSFORMERS_HOME")  # None is the hub's own cache


def _cached(repo: str, revision: str | None, cache: str | Path | None) -> tuple[Path | None, str]:
    """A repository's snapshot in the cache, None if it cannot be loaded; and what is wrong with it, if anything."""
    from huggingface_hub import constants

    if not (Path(cache or constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}").is_dir():
        return None, "is not there"  # the usual answer, without the HTTP client that the next import brings
    from huggingface_hub import snapshot_download

    lookup = partial(snapshot_download, repo, revision=revision, cache_dir=cache, local_files_only=True)
    folder: Path | None = None
    try:
        folder = Path(lookup(allow_patterns=[]))
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        weights = Counter(re.findall(r"(?m)^(.*?)(?:-\d+-of-(\d+))?\.(?:safetensors|bin)$", "\n".join(files)))
        short = not weights or any(found < int(shards or 1) for (_, shards), found in weights.items())
        if short or not {"modules.json", "config.json", "adapter_config.json"} & set(files):
            return None, "lacks weights or configuration"
        lookup(ignore_patterns=_unwanted(files))  # complains when a listed file is missing
    except (OSError, ValueError):
        return folder, "is not there" if folder is None else "is not complete"
    return folder, ""


def _unwanted(files: Iterable[str]) -> list[str]:
    """Patterns of files not to download from a repository: pickles only count where there are no safetensors."""
    safe = {escape(name[: name.rfind("/") + 1]) for name in files if name.endswith(".safetensors")}
    return [*_UNWANTED, *(place + name for place in sorted(safe) for name in ("pytorch_model*", "adapter_model.bin"))]


def _download(repo: str, revision: str | None, cache: str | Path | None, token: _Token) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from tqdm.auto import tqdm

    info = HfApi(token=token).model_info(repo, revision=revision, timeout=_TIMEOUT)
    unwanted = _unwanted(file.rfilename for file in info.siblings or [])
    fetch = partial(snapshot_download, repo, revision=revision, cache_dir=cache, token=token, ignore_patterns=unwanted)
    with track(0, unit="B", desc=f"Downloading {repo}") as bar:

        class Feed(tqdm):  # type: ignore[type-arg]
            """A bar that is not drawn: the bytes it counts go to ``bar``."""

            def __init__(self, *args: Any, unit: str = "", **options: Any) -> None:
                super().__init__(*args, **options | {"disable": True})
                self.unit = unit

            def update(self, n: float | None = 1) -> None:
                self.n += n or 0
                if self.unit == "B" and self.n > bar.done:
                    bar.update(self.n - bar.done, total=self.total)

        return Path(fetch(library_name="sentence-workbench", tqdm_class=Feed))

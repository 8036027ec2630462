"""A stand-in for the model hub: the few endpoints that huggingface_hub asks for, served from memory on loopback."""

import base64
import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Repo:
    """One repository: files by commit, commits by branch or tag."""

    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    token: str | None = None  # who may see a private repository

    def commit(self, files: Files, ref: str = "main") -> str:
        sha = hashlib.sha1(json.dumps(sorted((n, hashlib.sha1(b).hexdigest()) for n, b in files.items())).encode())
        self.commits[sha.hexdigest()] = files
        self.refs[ref] = sha.hexdigest()
        return sha.hexdigest()


class Hub:
    """The server's contents and what was asked of it."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[tuple[str, str, str]] = []  # method, path, Authorization
        self.delay = 0.0
        self.broken = False  # answer everything with 500
        self.cut: str | None = None  # break off in the middle of this file
        self.url = ""

    def add(self, name: str, files: Files, ref: str = "main", **options: Any) -> str:
        repo = self.repos.setdefault(name, Repo(**options))
        return repo.commit(files, ref)

    def downloads(self) -> list[str]:
        """File names whose content was asked for."""
        return [path.split("/", 5)[5] for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]

    @contextmanager
    def running(self) -> Iterator["Hub"]:
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that hangs up is no error of the server
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self._answer(b"")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Authorization", "")))
        time.sleep(self.hub.delay)
        if self.hub.broken:
            return self._json({"error": "broken"}, 500)
        if self.command == "POST":
            return self._post(path, body)
        if path.startswith("/api/models/"):
            return self._api(path.removeprefix("/api/models/").split("/"))
        return self._file(path)

    def _repo(self, name: str, ref: str, content: bool) -> tuple[Files, str] | None:
        repo = self.hub.repos.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None or (repo.token is not None and token != repo.token):
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif content and repo.gated:
            self._json({"error": "Access is restricted"}, 403, {"X-Error-Code": "GatedRepo"})
        elif (sha := repo.refs.get(ref, ref)) not in repo.commits:
            self._json({"error": f"Invalid rev id: {ref}"}, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return repo.commits[sha], sha
        return None

    def _api(self, parts: list[str]) -> None:
        if parts[-2:] == ["discussions", "1"]:
            repo = {"name": "/".join(parts[:-2]), "type": "model"}
            request = {"isPullRequest": True, "changes": {"base": "refs/heads/main"}, "filesWithConflicts": []}
            about = {"title": "New", "num": 1, "createdAt": "2026-01-01T00:00:00.000Z", "status": "draft", "events": []}
            return self._json(request | about | {"repo": repo})
        cut = next((i for i, part in enumerate(parts) if part in ("revision", "tree")), len(parts))
        name, ref = "/".join(parts[:cut]), "/".join(parts[cut + 1 :]) or "main"
        if (found := self._repo(name, ref, content=False)) is None:
            return None
        files, sha = found
        if parts[cut : cut + 1] == ["tree"]:
            return self._json([{"type": "file", "path": n, "size": len(b), "oid": _etag(b)} for n, b in files.items()])
        siblings = [{"rfilename": n, "size": len(b), "blobId": _etag(b)} for n, b in files.items()]
        return self._json({"id": name, "sha": sha, "siblings": siblings, "private": False, "tags": [], "downloads": 0})

    def _file(self, path: str) -> None:
        name, _, rest = path.lstrip("/").partition("/resolve/")
        ref, _, file = rest.partition("/")
        if (found := self._repo(name, ref, content=True)) is None:
            return None
        files, sha = found
        if file not in files:
            return self._json(
                {"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}
            )
        body = files[file]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_etag(body)}"')
        self.send_header("X-Repo-Commit", sha)
        self.end_headers()
        if self.command == "GET":
            if file == self.hub.cut:
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return None
            self.wfile.write(body)
        return None

    def _post(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = "/".join(filter(None, [wanted.get("organization") or "someone", wanted["name"]]))
            if name in self.hub.repos:
                return self._json({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
            self.hub.add(name, {})
            return self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        name, verb, ref = self._split(path.removeprefix("/api/models/"))
        repo = self.hub.repos[name]
        if verb == "branch":
            repo.refs.setdefault(ref, repo.refs["main"])
            return self._json({})
        if verb == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self._json({"files": files, "commitOid": repo.refs[ref]})
        if verb == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            new = {v["value"]["path"]: base64.b64decode(v["value"]["content"]) for v in lines if v["key"] == "file"}
            sha = repo.commit(repo.commits[repo.refs[ref]] | new, ref)
            return self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})
        if verb == "discussions":
            repo.refs["refs/pr/1"] = repo.refs["main"]
            return self._json({"num": 1})
        return self._json({})

    @staticmethod
    def _split(path: str) -> tuple[str, str, str]:
        for verb in ("branch", "preupload", "commit", "discussions"):
            name, found, ref = path.partition(f"/{verb}")
            if found:
                return name, verb, ref.lstrip("/")
        return path, "", ""

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()

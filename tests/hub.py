"""Hubs on this machine, one of a model and one of a data set, for tests of what is fetched from one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Local(ThreadingHTTPServer):
    """A server on this machine, at `address` until it is left."""

    def __init__(self, answers: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), answers)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        super().__exit__(*error)


class Hub(Local):
    """A hub on this machine that has one file, and notes what it is asked for."""

    def __init__(self, file: bytes) -> None:
        self.file = file
        self.asked: list[str] = []
        super().__init__(Answers)


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        has = self.path.endswith("/resolve/main/model.safetensors")
        self.send_response(200 if has or self.path == "/" else 404)
        headers = {"Content-Length": "0", "X-Error-Code": "EntryNotFound"}
        if has:
            self.server.asked.append(self.path)
            digest = hashlib.sha256(self.server.file).hexdigest()
            headers = {"Content-Length": str(len(self.server.file)), "ETag": f'"{digest}"', "X-Repo-Commit": "b" * 40}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.endswith("model.safetensors"):
            self.wfile.write(self.server.file)

    def log_message(self, format: str, *args: object) -> None:
        pass


class DataHub(Local):
    """A hub on this machine that has one data set, owner/reviews, of text files at its only commit."""

    def __init__(self, files: Mapping[str, str], commit: str) -> None:
        self.files = {name: text.encode() for name, text in files.items()}
        self.commit = commit
        super().__init__(DataAnswers)


class DataAnswers(BaseHTTPRequestHandler):
    server: DataHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        """Send the header of what is asked for, and return the rest."""
        place, files = self.path.partition("?")[0], self.server.files
        wrong, body = "", b""
        if place.startswith("/api/datasets/owner/reviews/tree/"):
            listed = [{"type": "file", "path": n, "size": len(f), "oid": _oid(f)} for n, f in files.items()]
            body = json.dumps(listed).encode()
        elif place.startswith("/api/datasets/owner/reviews"):
            body = json.dumps({"id": "owner/reviews", "sha": self.server.commit, "siblings": []}).encode()
        elif place.startswith("/datasets/owner/reviews/resolve/"):
            revision, name = place.split("/")[5:]
            known = revision in ("main", self.server.commit)
            wrong = "" if known and name in files else "EntryNotFound" if known else "RevisionNotFound"
            body = b"" if wrong else files[name]
        elif place != "/":
            wrong = "RepoNotFound"
        self.send_response(404 if wrong else 200)
        headers = {"X-Error-Code": wrong} if wrong else {"ETag": f'"{_oid(body)}"', "X-Repo-Commit": self.server.commit}
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        return body

    def log_message(self, format: str, *args: object) -> None:
        pass


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()

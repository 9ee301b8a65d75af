"""A hub of models on this machine, for tests of what is fetched from one."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """A hub on this machine that has one file, and notes what it is asked for."""

    def __init__(self, file: bytes) -> None:
        self.file = file
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Answers)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        super().__exit__(*error)


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

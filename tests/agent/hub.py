"""A model hub on loopback: the endpoints that huggingface_hub asks when it fetches a snapshot, over real sockets."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_a_known_account"


class MiniHub(ThreadingHTTPServer):
    """Serves one repository from a folder.

    Attributes:
        files: by name; change them to change the repository.
        is_gated: whether its files are for known accounts only; its description is for all.
        cut_after_bytes: closes the connection after so many bytes of each safetensors file.
        asked: every request, as "GET /path".
        refuse_with: a status to answer everything with.
    """

    daemon_threads = True

    def __init__(self, repository: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repository = repository
        self.files = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        self.is_gated = False
        self.cut_after_bytes: int | None = None
        self.refuse_with: int | None = None
        self.lie_about_sums = False
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of the hub."""

    def fetched(self) -> list[str]:
        """Names the files that were sent."""
        return [
            line.rpartition("/")[2] for line in self.asked if line.startswith("GET") and "/resolve/" in line
        ]

    def entry(self, name: str) -> dict:
        """Describes one file; safetensors and binaries lie in large-file storage, with their sha256."""
        content = self.files[name]
        described = {"size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if name.endswith((".safetensors", ".bin")):
            digest = "0" * 64 if self.lie_about_sums else hashlib.sha256(content).hexdigest()
            described["lfs"] = {"size": len(content), "sha256": digest, "oid": digest, "pointerSize": 130}
        return described


class _Answers(BaseHTTPRequestHandler):
    server: MiniHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {unquote(urlsplit(self.path).path)}")
        path = unquote(urlsplit(self.path).path)
        api, files = f"/api/models/{self.server.repository}/", f"/{self.server.repository}/resolve/"
        if self.server.refuse_with:
            self._error(self.server.refuse_with, "")
        elif path.startswith(api):
            kind, _, revision = path.removeprefix(api).partition("/")
            self._describe(kind, revision)
        elif path.startswith(files):
            self._file(*path.removeprefix(files).split("/", 1))
        else:
            self._error(404, "RepoNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _describe(self, kind: str, revision: str) -> None:
        if revision not in ("main", COMMIT):
            self._error(404, "RevisionNotFound")
        elif kind == "tree":
            entries = [{"type": "file", "path": n} | self.server.entry(n) for n in self.server.files]
            self._send(json.dumps(entries).encode(), {"Content-Type": "application/json"})
        else:
            siblings = [{"rfilename": n, "blobId": "0"} | self.server.entry(n) for n in self.server.files]
            about = {"id": self.server.repository, "sha": COMMIT, "siblings": siblings}
            self._send(json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _file(self, commit: str, name: str) -> None:
        if self.server.is_gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._error(401, "GatedRepo")
            return
        content, entry = self.server.files[name], self.server.entry(name)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{entry.get("lfs", entry)["oid"]}"'}
        cut = self.server.cut_after_bytes if name.endswith(".safetensors") else None
        self._send(content, headers, cut)

    def _send(self, content: bytes, headers: dict[str, str], cut_after_bytes: int | None = None) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        for name, value in (headers | {"Content-Length": str(len(content) - start)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:] if cut_after_bytes is None else content[start:cut_after_bytes])
        self.close_connection = cut_after_bytes is not None

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def a_hub(repository: str, folder: Path) -> Iterator[MiniHub]:
    """Serves a folder as a repository while this is open."""
    hub = MiniHub(repository, folder)
    thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()

"""OHIF as a radiologist has it: the published viewer in Chromium, with Orthanc behind it."""

import contextlib
import json
import mimetypes
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.end_to_end.real_archives import Orthanc

DIST = Path(".viewers/package/dist")
"""The viewer, as `make screenshots` fetches it from the package index of npm."""
SECONDS_MAX = 60_000
THUMBNAILS = '[data-cy="study-browser-thumbnail"], [data-cy="study-browser-thumbnail-no-image"]'

_CONFIG = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "customizationService": [{"ohif.tours": {"$set": []}}],
    "maxNumberOfWebWorkers": 1,
    "showStudyList": False,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "wadoUriRoot": "/dicom-web",
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "qidoSupportsIncludeField": False,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": False},
            },
        }
    ],
}


@contextlib.contextmanager
def served(orthanc: Orthanc) -> Iterator[str]:
    """Serves the viewer, and Orthanc's DICOMweb beside it as a browser demands; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, content_type, body = _answer(self.path, self.headers.get("Accept", "*/*"), orthanc)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the page may have been left
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)


def _answer(path: str, accept: str, orthanc: Orthanc) -> tuple[int, str, bytes]:
    if path.startswith("/dicom-web"):
        request = urllib.request.Request(
            f"http://127.0.0.1:{orthanc.http_port}{path}", headers={"Accept": accept}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, "text/plain", error.read()
    name = path.partition("?")[0].lstrip("/")
    if name == "app-config.js":
        return 200, "text/javascript", f"window.config = {json.dumps(_CONFIG)};".encode()
    file = DIST / name if name and (DIST / name).is_file() else DIST / "index.html"
    content_type = "application/wasm" if file.suffix == ".wasm" else mimetypes.guess_type(file.name)[0]
    return 200, content_type or "application/octet-stream", file.read_bytes()


class Reader:
    """One study open in the viewer, and what a person can see and do there.

    Attributes:
        faults: errors that the page met and nobody caught.
    """

    def __init__(self, page: Any, address: str, study_instance_uid: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(f"{address}/viewer?StudyInstanceUIDs={study_instance_uid}")
        page.wait_for_selector("canvas", timeout=SECONDS_MAX)
        page.wait_for_selector(THUMBNAILS, timeout=SECONDS_MAX)

    def series(self) -> list[str]:
        """The descriptions of the study's series, as they are listed."""
        return [one.inner_text() for one in self.page.query_selector_all(THUMBNAILS)]

    def open(self, description: str) -> None:
        """Opens the series of this description by a double click."""
        self.page.locator(THUMBNAILS).filter(has_text=description).first.dblclick()

    def sees(self, words: str) -> bool:
        """Waits until these words stand somewhere on the page; False if they never do."""
        from playwright.sync_api import TimeoutError as NeverSeen

        try:
            self.page.get_by_text(words).first.wait_for(timeout=15_000)
        except NeverSeen:
            return False
        return True

    def has_an_image(self) -> bool:
        return bool(self.page.locator("canvas").first.is_visible())

"""Archives and worklists on loopback that can be asked: whole ones, and such that misbehave as told."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from socketserver import BaseServer
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, QueryRetrievePresentationContexts, StoragePresentationContexts, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification
from pynetdicom.transport import ThreadedAssociationServer

from agent.demo.pacs import connection_opened
from config.settings import ArchiveSettings
from tests.agent.archives import SYNTAXES

Answer = tuple[int, Dataset | None]


@dataclass
class QueryArchive:
    """What an archive holds, and what it was asked. The `on_...` replace its way of answering.

    Attributes:
        moves_to: port of the listener that C-MOVE sends to.
        leaves_out: keywords that it answers no value for.
    """

    holds: list[Dataset] = field(default_factory=list)
    moves_to: int = 0
    leaves_out: frozenset[str] = frozenset()
    on_find: Callable[[evt.Event], Iterator[Answer]] | None = None
    on_move: Callable[[evt.Event], Iterator[Any]] | None = None
    on_get: Callable[[evt.Event], Iterator[Any]] | None = None
    queries: list[Dataset] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def find(self, event: evt.Event) -> Iterator[Answer]:
        self.queries.append(event.identifier)
        answers = self.on_find(event) if self.on_find else self._answers(event.identifier)
        for answer in answers:
            if event.is_cancelled:
                self.cancelled.set()
                yield 0xFE00, None
                return
            yield answer

    def _answers(self, query: Dataset) -> Iterator[Answer]:
        key = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
        seen = set()
        for held in self.holds:
            uid = held.get(key[query.QueryRetrieveLevel])
            wrong_patient = query.get("PatientID") not in (None, "", held.PatientID)
            wrong_study = query.get("StudyInstanceUID") not in (None, "", held.StudyInstanceUID)
            if uid not in seen and not wrong_patient and not wrong_study:
                seen.add(uid)
                yield 0xFF00, self._answer(query, held)

    def _answer(self, query: Dataset, held: Dataset) -> Dataset:
        answer = Dataset()
        answer.SpecificCharacterSet = held.get("SpecificCharacterSet", "")
        of_study = [one for one in self.holds if one.StudyInstanceUID == held.StudyInstanceUID]
        counted = {
            "ModalitiesInStudy": sorted({one.Modality for one in of_study}),
            "NumberOfStudyRelatedInstances": len(of_study),
        }
        for element in query:
            if element.keyword == "QueryRetrieveLevel":
                answer.QueryRetrieveLevel = query.QueryRetrieveLevel
            elif element.keyword not in self.leaves_out:
                value = counted.get(element.keyword, held.get(element.keyword))
                setattr(answer, element.keyword, value)
        return answer

    def _asked_for(self, event: evt.Event) -> list[Dataset]:
        uid = event.identifier.StudyInstanceUID
        self.moved.append(uid)
        return [held for held in self.holds if held.StudyInstanceUID == uid]

    def destination(self, datasets: Sequence[Dataset]) -> tuple[str, int, dict[str, Any]]:
        """What a C-MOVE handler yields first, so that the archive sends these to the listener."""
        opened = [(evt.EVT_CONN_OPEN, connection_opened)]
        associate = {"ae_title": "PREREAD", "contexts": _contexts(datasets), "evt_handlers": opened}
        return "127.0.0.1", self.moves_to, associate

    def move(self, event: evt.Event) -> Iterator[Any]:
        asked_for = self._asked_for(event)
        if self.on_move:
            yield from self.on_move(event)
            return
        yield self.destination(asked_for)
        yield len(asked_for)
        yield from ((0xFF00, held) for held in asked_for)

    def get(self, event: evt.Event) -> Iterator[Any]:
        asked_for = self._asked_for(event)
        if self.on_get:
            yield from self.on_get(event)
            return
        yield len(asked_for)
        yield from ((0xFF00, held) for held in asked_for)


def _contexts(datasets: Sequence[Dataset]) -> list[Any]:
    ae = AE()
    for dataset in datasets:
        ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    return ae.requested_contexts


@contextlib.contextmanager
def a_query_archive(
    *holds: Dataset, ae_title: str = "ARCH", takes_get: bool = True, **ways: Any
) -> Iterator[QueryArchive]:
    """Serves an archive on loopback; `ways` are fields of `QueryArchive`."""
    archive = QueryArchive(list(holds), **ways)
    ae = AE(ae_title=ae_title)
    for context in (*QueryRetrievePresentationContexts, *StoragePresentationContexts):
        if takes_get or "GET" not in context.abstract_syntax.name:
            ae.add_supported_context(context.abstract_syntax, list(SYNTAXES), scu_role=True, scp_role=True)
    for sop_class in (ModalityWorklistInformationFind, Verification):
        ae.add_supported_context(sop_class, list(SYNTAXES))
    handlers = [
        (evt.EVT_C_FIND, archive.find),
        (evt.EVT_C_MOVE, archive.move),
        (evt.EVT_C_GET, archive.get),
        (evt.EVT_CONN_OPEN, connection_opened),
    ]
    server = ae.make_server(("127.0.0.1", 0), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    archive.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        BaseServer.shutdown(server)
        server.server_close()
        thread.join(10)


def archive_settings(port: int, **values: Any) -> ArchiveSettings:
    """How the archive at a port of this machine is asked."""
    known = {"name": "arch", "ae_title": "ARCH", "host": "127.0.0.1", "port": port}
    return ArchiveSettings(**(known | {"connect_seconds": 20.0, "answer_seconds": 20.0} | values))

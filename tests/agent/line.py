"""The straight line on a real store with a real receiver; only the clock is turned and the model scripted."""

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom import Dataset
from sqlalchemy.exc import OperationalError

from agent.admission import Sender, role_of
from agent.delivering import noting_commitments
from agent.demo.pacs import MiniPacs
from agent.dicom.headers import read_headers
from agent.listener import Commitments, Listener
from agent.patience import Patience
from agent.peers import Peers
from agent.steps import Tools, settle
from agent.worker import Worker
from config.settings import (
    AdapterSettings,
    AgentSettings,
    ArchiveSettings,
    CalibrationSettings,
    DestinationSettings,
    OutputKind,
    PeersSettings,
    ReadingSettings,
    RuleSettings,
    SenderSettings,
    Settings,
    StudySettings,
)
from storage.database import connect
from storage.files import Files
from storage.index import Index
from storage.jobs import Jobs
from storage.orders import Orders
from storage.records import Instance, Job, Stage
from storage.reports import Reports
from storage.requests import PriorRequests
from tests.agent.archives import Archive
from tests.builders import write
from tests.scripted_engine import ScriptedEngine

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PATIENCE = Patience(
    attempts_max=3,
    retry_seconds_min=5,
    retry_seconds_max=60,
    lease_seconds=60,
    wait_seconds=dict.fromkeys(Stage, 3600.0),
)


@dataclass
class Line:
    """A hospital in one thread: what arrives is put by hand, time passes when told to."""

    folder: Path
    pacs: MiniPacs | Archive
    now: datetime = NOON
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    calibrations: tuple[CalibrationSettings, ...] = ()
    outputs: tuple[OutputKind, ...] = ()
    archives: tuple[ArchiveSettings, ...] = ()
    senders: tuple[SenderSettings, ...] = ()
    destination: Mapping[str, object] = field(default_factory=dict)
    rules: tuple[RuleSettings, ...] = ()
    adapters: tuple[AdapterSettings, ...] = ()
    receivers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        database = connect(f"sqlite:///{self.folder / 'preread.sqlite'}")
        destination = DestinationSettings(
            name="pacs",
            ae_title="TESTPACS",
            host="127.0.0.1",
            port=self.pacs.port,
            connect_seconds=20.0,
            outputs=self.outputs,
            **self.destination,
        )
        study = StudySettings(settle_seconds=60, complete_when_views=())
        self.listener = Listener(
            listener=AgentSettings().listener.model_copy(update={"port": 0}),
            ae_title="PREREAD",
            senders=[],
            files=Files(self.folder / "files"),
            index=Index(database),
            clock=lambda: self.now,
            commitments=Commitments(
                (Sender("TESTPACS"),),
                noting_commitments((destination,), Jobs(database).deliveries, lambda: self.now, PATIENCE),
            ),
        )
        self.tools = Tools(
            clock=lambda: self.now,
            files=Files(self.folder / "files"),
            index=Index(database),
            jobs=Jobs(database),
            reports=Reports(database),
            requests=PriorRequests(database),
            orders=Orders(database),
            peers=Peers("PREREAD"),
            engine=self.engine,
            settings=Settings(
                agent=AgentSettings(),
                peers=PeersSettings(
                    destinations=(destination,),
                    archives=self.archives,
                    senders=self.senders,
                    **self.receivers,
                ),
                reading=ReadingSettings(
                    study=study,
                    calibrations=self.calibrations,
                    rules=self.rules,
                    adapters=self.adapters,
                ),
            ),
            take=self.listener.take,
        )
        self.gatherer = Worker("gather", self.tools, PATIENCE, stages=(Stage.GATHER,))
        self.worker = Worker(
            "worker",
            self.tools,
            PATIENCE,
            stages=(Stage.COMPOSE, Stage.READ),
            leaves_alone=(),
            leaves_unasked=(),
            batch_max=4,
        )

    def arrive(self, *objects: Dataset, calling_ae_title: str = "XRAY") -> str:
        """Puts objects into the store as the listener does; gives the Study Instance UID."""
        for dataset in objects:
            path = f"studies/{dataset.StudyInstanceUID}/{dataset.SOPInstanceUID}.dcm"
            whole = write(dataset, self.folder / "arriving.dcm")
            self.tools.files.put(path, whole.read_bytes())
            charset = self.tools.settings.assumed_charset(calling_ae_title)
            headers = read_headers(whole, assume_charset=charset)
            instance = Instance(
                number=0,
                sop_instance_uid=headers.sop_instance_uid,
                series_instance_uid=headers.series_instance_uid,
                study_instance_uid=headers.study_instance_uid,
                sop_class_uid=headers.sop_class_uid,
                transfer_syntax_uid=headers.transfer_syntax_uid,
                modality=headers.modality,
                view_group=headers.view_group,
                calling_ae_title=calling_ae_title,
                called_ae_title="PREREAD",
                path=path,
                sha256=hashlib.sha256(whole.read_bytes()).hexdigest(),
                size_bytes=whole.stat().st_size,
                received_at=self.now,
                role=role_of(headers.sop_class_uid),
            )
            self.tools.index.put(instance, headers.study())
        return str(objects[0].StudyInstanceUID)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def gather(self) -> None:
        """Settles, then gathers until nothing is due."""
        settle(self.tools)
        while self.gatherer.work_once():
            pass

    def run(self) -> None:
        """Gathers, then works until nothing is due."""
        self.gather()
        while self.worker.work_once():
            pass

    def job(self, study_instance_uid: str) -> Job:
        return self.tools.jobs.jobs_of_study(study_instance_uid)[-1]


class Away:
    """A part of the store whose database is away for some of its methods, until `is_away` is False."""

    def __init__(self, own: Any, *methods: str) -> None:
        self._own, self._methods = own, methods
        self.is_away = True

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._own, name)
        if name not in self._methods:
            return method

        def called(*arguments: Any, **keywords: Any) -> Any:
            if self.is_away:
                raise OperationalError("UPDATE x", {}, sqlite3.OperationalError("database or disk is full"))
            return method(*arguments, **keywords)

        return called

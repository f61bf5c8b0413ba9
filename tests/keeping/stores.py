"""A store on disk with studies whose files and rows are as old as a test wants."""

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent.keeping.retention import Retention
from agent.store import Store, open_store
from config.settings import AgentSettings, ListenerSettings, RetentionSettings, Settings, StorageSettings
from tests.storage.builders import NOW, a_study, an_instance, done

__all__ = ["NOW", "Kept"]


@dataclass
class Kept:
    """Its clock stands at `now`; what is put is as old as that says when it is put."""

    folder: Path
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    now: datetime = NOW

    def __post_init__(self) -> None:
        storage = StorageSettings(folder=self.folder / "data")
        listener = ListenerSettings(free_bytes_min=0)
        agent = AgentSettings(storage=storage, listener=listener, retention=self.retention)
        self.settings = Settings(agent=agent)
        self.store: Store = open_store(self.settings)
        self.turns = Retention(
            lambda: self.settings, self.store.deletions, self.store.files, self.store.index, lambda: self.now
        )

    def put(
        self, study: str, *, patient: str = "A1", date: str = "20260301", content: bytes = b"image"
    ) -> Path:
        """An image with its file; unread."""
        path = f"received/00/{study}.7.dcm"
        self.store.files.put(path, content)
        image = an_instance(f"{study}.7", study=study, path=path, content=content, received_at=self.now)
        self.store.index.put(image, a_study(study, patient_id=patient, study_date=date))
        return self.aged(path)

    def done(self, study: str, **fields: str) -> Path:
        """A study that was read and delivered, with its files; where its image is."""
        path = self.put(study, **fields)
        job = done(self.store.index, self.store.jobs, study, self.now)
        for result in self.store.jobs.results_of_job(job.number):
            self.store.files.put(result.path, b"report")
            self.aged(result.path)
        return path

    def aged(self, path: str) -> Path:
        """Gives a file the time that our clock shows."""
        place = self.store.files.absolute(path)
        os.utime(place, (self.now.timestamp(), self.now.timestamp()))
        return place

    def stored(self) -> set[str]:
        """The paths of all files that have a name."""
        root = self.store.files.absolute("x").parent
        return {
            str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.match(".*")
        }

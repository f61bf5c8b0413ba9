"""`preread probe`: which of our objects does a destination take, and what is to be written in peers.toml for it?"""

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from agent.demo.studies import demo_patient
from agent.dicom.uids import derived_uid
from agent.peers import SOP_CLASS_OF, STORAGE_COMMITMENT, Offered, Peers, StoreKind, StoreOutcome
from config.effective import toml_value
from config.peers_settings import PROFILES
from config.settings import DestinationSettings, OutputKind, Settings
from config.values import Profile

if TYPE_CHECKING:
    from pydicom import Dataset

MARK = "TEST, no patient"
_WORDS = (
    f"{MARK}. Made by preread probe, to see whether this system takes objects of this kind. There is no such person, "
    "and nothing on the picture was seen by anybody. It may be deleted."
)
_PREFERRED: tuple[Profile, ...] = ("default", "ohif", "legacy_pacs", "sc_only", "strict_air")
"""In this order: the first profile of which everything is taken is proposed. weasis has the forms of default."""

_SYNTAX_NAMES = {"1.2.840.10008.1.2.1": "Explicit VR", "1.2.840.10008.1.2": "Implicit VR"}


@dataclass(frozen=True, slots=True)
class TestObject:
    """One object of one kind, marked as a test."""

    kind: OutputKind
    content: bytes


@dataclass(frozen=True, slots=True)
class Probe:
    """What a destination said.

    Attributes:
        offer: None for a DICOMweb destination, which negotiates nothing.
        outcomes: by kind, of its test object; empty if none was sent.
        problem: why it could not be asked, a sentence, or None.
    """

    destination: DestinationSettings
    offer: Offered | None
    outcomes: Mapping[OutputKind, StoreOutcome]
    problem: str | None = None

    def takes(self, kind: OutputKind) -> bool:
        """Says whether it takes objects of a kind, as far as it was asked."""
        if self.outcomes:
            return self.outcomes[kind].kind is StoreKind.TAKEN
        return self.offer is not None and bool(self.syntaxes(kind))

    @property
    def takes_anything(self) -> bool:
        """Says whether it takes objects of any kind."""
        return any(self.takes(kind) for kind in SOP_CLASS_OF)

    def syntaxes(self, kind: OutputKind) -> list[str]:
        """Names the transfer syntaxes that it accepts for a kind."""
        accepted = () if self.offer is None else self.offer.encodings
        return [name for uid, name in _SYNTAX_NAMES.items() if (SOP_CLASS_OF[kind], uid) in accepted]


def probe(settings: Settings, name: str, now: datetime, *, send_objects: bool) -> Probe:
    """Asks a destination what it takes.

    Args:
        send_objects: also send a marked test object of each kind; the same ones all day long.

    Raises:
        LookupError: if peers.toml has no such destination.
        ValueError: if nothing can be found out, since it negotiates nothing and is to be sent nothing.
    """
    destination = settings.destination(name)
    if destination is None:
        known = ", ".join(one.name for one in settings.peers.destinations) or "none"
        raise LookupError(f'destination "{name}" is not in peers.toml; there: {known}')
    is_web = destination.protocol == "dicomweb"
    if is_web and not send_objects:
        raise ValueError(
            f'destination "{name}" is reached by STOW-RS, which tells nothing before objects are sent'
        )
    peers = Peers(settings.agent.device.ae_title)
    offer = None if is_web else peers.offer(destination, [*SOP_CLASS_OF.values(), STORAGE_COMMITMENT])
    if offer is not None and offer.problem is not None:
        return Probe(destination, offer, {}, offer.problem)
    objects = _test_objects(destination.name, now, settings) if send_objects else []
    return Probe(destination, offer, _sent(objects, destination, peers) if objects else {})


def _sent(
    objects: Sequence[TestObject], destination: DestinationSettings, peers: Peers
) -> dict[OutputKind, StoreOutcome]:
    with tempfile.TemporaryDirectory(prefix="preread-probe-") as folder:
        paths = [Path(folder) / f"{one.kind}.dcm" for one in objects]
        for path, one in zip(paths, objects, strict=True):
            path.write_bytes(one.content)
        outcomes = peers.store(destination, paths)
    return {one.kind: outcome for one, outcome in zip(objects, outcomes, strict=True)}


def proposal(takes: Collection[OutputKind], settings: Settings) -> str:
    """Gives the line of peers.toml that fits what a destination takes; a comment if it takes nothing."""
    for profile in _PREFERRED:
        if set(PROFILES[profile] or settings.reading.outputs.defaults) <= set(takes):
            return f"profile = {toml_value(profile)}"
    if takes:
        return f"outputs = {toml_value(tuple(takes))}"
    return "# It takes none of our objects: nothing to propose."


def probe_text(result: Probe, settings: Settings) -> Iterator[str]:
    """Writes what was found as TOML: comments, and the line to write into the table of the destination."""
    destination = result.destination
    place = destination.url or f"{destination.ae_title} at {destination.host}:{destination.port}"
    yield f'# destination "{destination.name}" ({place})'
    for kind, sop_class in SOP_CLASS_OF.items():
        syntaxes = (
            f"{', '.join(result.syntaxes(kind)) or 'not accepted'}" if result.offer is not None else "STOW-RS"
        )
        outcome = result.outcomes.get(kind)
        sent = "" if outcome is None else f"; test object {outcome.kind.replace('_', ' ')}"
        why = (
            f": {outcome.problem}"
            if outcome is not None and outcome.problem and not result.takes(kind)
            else ""
        )
        yield f"# {kind} ({sop_class}): {syntaxes}{sent}{why}"
    if result.offer is not None:
        commits = any(sop_class == STORAGE_COMMITMENT for sop_class, _ in result.offer.encodings)
        yield f"# storage commitment: {'offered' if commits else 'not offered'}"
    if result.outcomes:
        yield f"# The test objects are of the patient PREREAD-TEST, {MARK}; they may be deleted there."
    yield proposal([kind for kind in SOP_CLASS_OF if result.takes(kind)], settings)


def _test_objects(destination_name: str, now: datetime, settings: Settings) -> list[TestObject]:
    """Makes one object of each kind, of a synthetic image; the same bytes all day."""
    # highdicom takes a second to import
    from agent.dicom.pixels import render
    from agent.outputs import Device, Narrative, Sources, Stamp, build, encode
    from inference.reading import Box, EngineIdentity, Finding, Reading, Status

    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    header = _test_image(destination_name, noon)
    key = str(header.SOPInstanceUID)
    box = Box(key, 60.0, 60.0, 120.0, 140.0)
    engine = EngineIdentity("preread probe", version("preread"), MARK, "none", is_demo=True)
    reading = Reading((Finding("pleural effusion", Status.PRESENT, boxes=(box,)),), _WORDS, (), engine)
    device = settings.agent.device
    uid = derived_uid("device", device.ae_title, device.device_serial_number)
    stamp = Stamp(noon, Device(version("preread"), device.device_serial_number, uid))
    sources = Sources((header,), pixels={key: render(header)})
    return [
        TestObject(kind, encode(dataset))
        for kind in SOP_CLASS_OF
        for dataset in build(kind, sources, reading, Narrative(), stamp)
    ]


def _test_image(destination_name: str, noon: datetime) -> "Dataset":
    """A synthetic radiograph whose every text says that there is no patient."""
    header = demo_patient(0, noon, rows=256, columns=256).current_objects[0]
    parts = ("probe", destination_name, noon.date().isoformat())
    header.PatientName, header.PatientID, header.IssuerOfPatientID = (
        "TEST^NO PATIENT",
        "PREREAD-TEST",
        "PREREAD",
    )
    header.PatientBirthDate, header.PatientSex, header.AccessionNumber = "", "O", ""
    header.StudyDescription = header.SeriesDescription = MARK
    header.StudyInstanceUID = derived_uid(*parts, "study")
    header.SeriesInstanceUID = derived_uid(*parts, "series")
    header.SOPInstanceUID = derived_uid(*parts, "image")
    return header

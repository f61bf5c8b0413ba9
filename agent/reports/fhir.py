"""Reports as FHIR R4 resources: a DiagnosticReport, by itself or in a Bundle, to a report version. Pure.

Models of our own for the dozen elements that are read, strict in these and blind to all others: R4, R4B and R5
agree on them, and the 700 kB of models in fhir.resources would refuse a report for a fault in what nobody reads.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.hl7.times import date_digits, local_digits
from agent.reports.rows import RowError, checked
from storage.outside_records import Report, ReportSource, ReportStatus
from storage.records import PatientIdentifier

# https://hl7.org/fhir/R4/valueset-diagnostic-report-status.html; whatever else is no claim to be final.
_STATUSES = {
    "final": ReportStatus.FINAL,
    "amended": ReportStatus.CORRECTED,
    "corrected": ReportStatus.CORRECTED,
    "appended": ReportStatus.CORRECTED,
}
_WITHDRAWN = ("cancelled", "entered-in-error")
"""The statuses of a report, and of an Observation in it, whose words do not hold."""

_ACCESSION, _FILLER = "ACSN", "FILL"  # HL7 Table 0203


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Coding(_Model):
    code: str = ""
    display: str = ""


class _Concept(_Model):
    coding: list[_Coding] = []
    text: str = ""

    def words(self) -> list[str]:
        return [word for word in (self.text, *(one.display or one.code for one in self.coding)) if word]


class _Identifier(_Model):
    type: _Concept = _Concept()
    system: str = ""
    value: str = ""

    def is_a(self, code: str) -> bool:
        return any(one.code == code for one in self.type.coding)


class _Reference(_Model):
    reference: str = ""
    identifier: _Identifier = _Identifier()


class _Period(_Model):
    start: str = ""


class _Attachment(_Model):
    content_type: str = Field("", alias="contentType")
    data: str = ""


class _DiagnosticReport(_Model):
    id: str = ""
    identifier: list[_Identifier] = []
    based_on: list[_Reference] = Field([], alias="basedOn")
    status: str
    code: _Concept = _Concept()
    subject: _Reference = _Reference()
    effective: str = Field("", alias="effectiveDateTime")
    period: _Period = Field(_Period(), alias="effectivePeriod")
    issued: str = ""
    result: list[_Reference] = []
    imaging_study: list[_Reference] = Field([], alias="imagingStudy")
    study: list[_Reference] = []  # its name in R5
    conclusion: str = ""
    presented_form: list[_Attachment] = Field([], alias="presentedForm")


class _Observation(_Model):
    status: str = ""
    code: _Concept = _Concept()
    value_string: str = Field("", alias="valueString")
    value_concept: _Concept = Field(_Concept(), alias="valueCodeableConcept")

    @property
    def is_withdrawn(self) -> bool:
        return self.status in _WITHDRAWN

    def line(self) -> str:
        value = self.value_string or next(iter(self.value_concept.words()), "")
        name = next(iter(self.code.words()), "")
        return f"{name}: {value}" if name and value else value


class _Identified(_Model):
    """A Patient, an ImagingStudy or a ServiceRequest, as far as it says which one it is."""

    identifier: list[_Identifier] = []
    birth_date: str = Field("", alias="birthDate")


Resources = Mapping[str, Mapping[str, Any]]
"""Resources by the references that others use for them."""


def reports_of_resource(
    resource: Mapping[str, Any], origin: str, received_at: datetime
) -> list[Report | RowError]:
    """Makes a report version of each DiagnosticReport in a resource, or says why there is none of it."""
    found = [report_of(one, whole, origin, received_at) for one, whole in each_with_its_resources(resource)]
    return found or [RowError("it holds no DiagnosticReport")]


def report_of(
    diagnostic_report: Mapping[str, Any], whole: Mapping[str, Any], origin: str, received_at: datetime
) -> Report | RowError:
    """Makes a report version of one DiagnosticReport, or says why not.

    Args:
        whole: the Bundle that has what it refers to, or itself.
    """
    resources = dict(_referable(whole)) | dict(_referable(diagnostic_report))
    try:
        return _report(diagnostic_report, resources, origin, received_at)
    except RowError as error:
        return error
    except ValidationError as error:
        places = sorted({".".join(map(str, one["loc"])) for one in error.errors(include_input=False)})
        return RowError(f"it is no FHIR R4 DiagnosticReport: {', '.join(places[:5])}")


def each_with_its_resources(
    resource: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each DiagnosticReport of a resource, with a Bundle of itself and what it refers to there."""
    if resource.get("resourceType") != "Bundle":
        yield from ((one, one) for one in _diagnostic_reports(resource))
        return
    entries = [entry for entry in _objects(resource.get("entry")) if not _diagnostic_reports(_inner(entry))]
    for diagnostic_report in _diagnostic_reports(resource):
        named = _references_in(diagnostic_report)
        beside = [entry for entry in entries if named & {name for name, _ in _names_of(entry)}]
        bundle = {"resourceType": "Bundle", "type": "collection"}
        yield diagnostic_report, bundle | {"entry": [{"resource": diagnostic_report}, *beside]}


def _references_in(value: Any) -> set[str]:
    """Every reference in a resource, however deep."""
    found: set[str] = set()
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            if isinstance(reference := one.get("reference"), str):
                found.add(reference)
            rest += one.values()
        elif isinstance(one, list):
            rest += one
    return found


def uids_of(diagnostic_report: Mapping[str, Any]) -> list[str]:
    """The OIDs that a DiagnosticReport is identified by."""
    told = _objects(diagnostic_report.get("identifier"))
    values = [value for one in told if isinstance(value := one.get("value"), str)]
    return [value.removeprefix("urn:oid:") for value in values]


def changed_at(diagnostic_report: Mapping[str, Any]) -> str:
    """When its server last changed it, a FHIR instant as sent; "" if it does not say."""
    meta = diagnostic_report.get("meta")
    told = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return told if isinstance(told, str) else ""


def _diagnostic_reports(resource: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    is_bundle = resource.get("resourceType") == "Bundle"
    inner = [_inner(entry) for entry in _objects(resource.get("entry"))] if is_bundle else [resource]
    return [one for one in inner if one.get("resourceType") == "DiagnosticReport"]


def _referable(resource: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for entry in _objects(resource.get("entry")):
        yield from _names_of(entry)
    for inner in _objects(resource.get("contained")):
        yield f"#{inner.get('id')}", inner


def _names_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    inner = _inner(entry)
    yield str(entry.get("fullUrl")), inner
    yield f"{inner.get('resourceType')}/{inner.get('id')}", inner


def _inner(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = entry.get("resource")
    return inner if isinstance(inner, dict) else {}


def _objects(values: Any) -> list[Mapping[str, Any]]:
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _report(resource: Mapping[str, Any], resources: Resources, origin: str, received_at: datetime) -> Report:
    told = _DiagnosticReport.model_validate(resource)
    orders = [*told.identifier, *_identifiers(told.based_on, resources)]
    accession = next((one.value for one in orders if one.is_a(_ACCESSION)), "")
    filler = next((one.value for one in orders if one.is_a(_FILLER)), "")
    own = next((one.value for one in told.identifier if one.value), "")
    subject = _identified(told.subject, resources)
    status, text = _status_and_text(told, resources)
    study = next(_study_uids(_identifiers([*told.imaging_study, *told.study], resources)), "")
    return checked(
        Report(
            number=0,
            report_key=filler or accession or own or study or told.id,
            status=status,
            source=ReportSource.FHIR,
            text=text,
            # Without the system: it is a URI, and no Issuer of Patient ID in DICOM is; birth dates still count.
            patients=tuple(
                PatientIdentifier(one.value, "")
                for one in (*subject.identifier, told.subject.identifier)
                if one.value
            ),
            birth_date=date_digits(subject.birth_date),
            accession_number=accession,
            study_instance_uid=study,
            observed_at=local_digits(told.effective or told.period.start),
            reported_at=local_digits(told.issued),
            procedure="\n".join(dict.fromkeys(told.code.words())),
            origin=f"{origin} {told.id}".strip(),
            received_at=received_at,
        )
    )


def _identified(reference: _Reference, resources: Resources) -> _Identified:
    return _Identified.model_validate(resources.get(reference.reference, {}))


def _identifiers(references: Sequence[_Reference], resources: Resources) -> list[_Identifier]:
    """What references say of what they point to, and what that says of itself if it is at hand."""
    return [
        identifier
        for one in references
        for identifier in (one.identifier, *_identified(one, resources).identifier)
        if identifier.value
    ]


def _study_uids(identifiers: Sequence[_Identifier]) -> Iterator[str]:
    for one in identifiers:
        if one.system == "urn:dicom:uid" or one.value.startswith("urn:oid:"):
            yield one.value.removeprefix("urn:oid:")


def _status_and_text(told: _DiagnosticReport, resources: Resources) -> tuple[ReportStatus, str]:
    """The report without the observations that are withdrawn; withdrawn itself if nothing else is in it.

    Of a withdrawn report all words: nobody is shown them, and by them a withdrawal of ours is known.
    """
    observations = [
        _Observation.model_validate(resources.get(reference.reference, {})) for reference in told.result
    ]
    text = _text(told, [one for one in observations if not one.is_withdrawn])
    if told.status in _WITHDRAWN or (not text and any(one.is_withdrawn for one in observations)):
        return ReportStatus.CANCELLED, _text(told, observations)
    return _STATUSES.get(told.status, ReportStatus.PRELIMINARY), text


def _text(told: _DiagnosticReport, observations: Sequence[_Observation]) -> str:
    """The report as it was presented; else its observations and its conclusion, under headings."""
    for kind, reading in (("text/plain", str), ("text/html", _plain_of_html)):
        for form in told.presented_form:
            media_type, _, parameters = form.content_type.lower().partition(";")
            if media_type.strip() == kind and (text := reading(_decoded(form.data, parameters)).strip()):
                return text
    lines = [line for one in observations if (line := one.line())]
    if told.conclusion:
        lines.append(f"IMPRESSION: {told.conclusion}")
    return "\n".join(lines)


def _decoded(data: str, parameters: str) -> str:
    charset = parameters.partition("charset=")[2].strip(' ";') or "utf-8"
    try:
        return base64.b64decode(data, validate=True).decode(charset)
    except (binascii.Error, LookupError, UnicodeDecodeError):
        raise RowError("its presentedForm is no base64 text in the character set that it names") from None


class _Words(HTMLParser):
    """Collects text, with a line feed where HTML begins a block."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("style", "script", "title")
        if tag in ("p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4"):
            self.words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script", "title")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(" ".join(data.split()) + " " * data[-1:].isspace())


def _plain_of_html(text: str) -> str:
    words = _Words()
    words.feed(text)
    return "".join(words.words)

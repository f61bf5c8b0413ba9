"""A draft as HL7 v2.5.1 ORU^R01 (7.3.1, IHE RAD TF-2 4.28 and the RAD-128 way of naming the study). Pure."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from agent.hl7.message import codec_of
from agent.hl7.writing import components, escaped, message, segment
from agent.outgoing.draft import (
    Draft,
    Section,
    is_named_present,
    patient_sex_of,
    score_of,
    sections_of,
    study_date_of,
    study_time_of,
)
from agent.outputs.codes import change_code, code, finding_code, side_code, site_code, status_code
from agent.outputs.wording import certainty_percent, remark
from config.receiver_settings import Hl7ReceiverSettings
from inference.reading import Finding
from storage.identity import whole_date
from storage.records import Study

UTF8 = "UNICODE UTF-8"
_CONTROL_ID_CHARACTERS = 20  # MSH-10 of 2.5.1
_REPORT = ("18748-4", "Diagnostic imaging study", "LN")
_SUFFIXES = {"findings": "GDT", "impression": "IMP"}
_ALPHABETS = ("A", "I", "P")  # HL7 Table 0465: alphabetic, ideographic, phonetic


def oru_of(draft: Draft, receiver: Hl7ReceiverSettings) -> bytes:
    """Writes the message: the same draft for the same receiver gives the same bytes.

    The control ID (MSH-10) is derived from all the rest, so a message that is sent again has the one it had, and
    no other message has it.
    """
    head = [*_patient(draft.study), _common_order(draft), _observation_request(draft, receiver)]
    segments = [*_overridden(head, draft, receiver.fields), *_observations(draft, receiver)]
    charset = receiver.charset if _holds("".join(segments), receiver.charset) else UTF8
    unnamed = message([_header(draft, receiver, charset, ""), *segments])
    control_id = sha256(unnamed.encode()).hexdigest()[:_CONTROL_ID_CHARACTERS]
    return message([_header(draft, receiver, charset, control_id), *segments]).encode(codec_of(charset))


def _holds(text: str, charset: str) -> bool:
    try:
        text.encode(codec_of(charset))
    except UnicodeEncodeError:
        return False
    return True


def _header(draft: Draft, receiver: Hl7ReceiverSettings, charset: str, control_id: str) -> str:
    return segment(
        "MSH",
        {
            3: escaped(receiver.sending_application),
            4: escaped(receiver.sending_facility),
            5: escaped(receiver.receiving_application),
            6: escaped(receiver.receiving_facility),
            7: _made_at(draft),
            9: "ORU^R01^ORU_R01",
            10: control_id,
            11: receiver.processing_id,
            12: "2.5.1",
            18: charset,
        },
    )


def _patient(study: Study) -> list[str]:
    identifier = components(study.patient_id, "", "", study.issuer_of_patient_id, "MR")
    fields = {
        1: "1",
        3: identifier if study.patient_id else "",
        5: "~".join(_names(study.patient_name)),
        7: whole_date(study.birth_date),
        8: patient_sex_of(study) or "U",
    }
    return [segment("PID", fields), segment("PV1", {1: "1", 2: "U"})]


def _names(person_name: str) -> Iterator[str]:
    """The groups of a PN (PS3.5 6.2.1) as XPN, whose suffix comes before the prefix."""
    for group, alphabet in zip(person_name.split("="), _ALPHABETS, strict=False):
        if group.strip("^ "):
            parts = [part.strip() for part in group.split("^")][:5]
            family, given, middle, prefix, suffix = [*parts, *[""] * (5 - len(parts))]
            yield components(family, given, middle, suffix, prefix, "", "L", alphabet)


def _common_order(draft: Draft) -> str:
    placer, filler = _order_numbers(draft)
    # RE: observations follow. Never CA or OC: a draft that is withdrawn cancels nobody's order.
    return segment("ORC", {1: "RE", 2: placer, 3: filler, 5: "IP"})


def _observation_request(draft: Draft, receiver: Hl7ReceiverSettings) -> str:
    placer, filler = _order_numbers(draft)
    withdrawn = draft.withdrawn_because is not None
    fields = {
        1: "1",
        2: placer,
        3: filler,
        4: _procedure(draft),
        7: _observed_at(draft.study),
        18: escaped(draft.study.accession_number.strip()),
        22: _made_at(draft),
        24: "RAD",
        25: _withdrawn_order_status(receiver) if withdrawn else receiver.status,
    }
    return segment("OBR", fields)


def _withdrawn_order_status(receiver: Hl7ReceiverSettings) -> str:
    return "C" if receiver.withdrawal_status == "C" else "X"  # HL7 Table 0123 has no D and no W


def _order_numbers(draft: Draft) -> tuple[str, str]:
    """Placer and filler order number; without an order the filler's is the accession number, else the study UID."""
    order, study = draft.order, draft.study
    filler = order.filler_order_number if order is not None else ""
    placer = order.placer_order_number if order is not None else ""
    return escaped(placer), escaped(filler or study.accession_number.strip() or study.study_instance_uid)


def _procedure(draft: Draft) -> str:
    value, meaning, system = _REPORT
    return components(value, draft.procedure or meaning, system)


def _made_at(draft: Draft) -> str:
    return draft.made_at.strftime("%Y%m%d%H%M%S%z")


def _observed_at(study: Study) -> str:
    """Study date and time as a TS, local: the time only with a date."""
    date = study_date_of(study)
    return date and date + study_time_of(study)


def _overridden(segments: Sequence[str], draft: Draft, rules: Sequence[str]) -> list[str]:
    """The segments with what the rules of the site put into their fields."""
    rows = [one.split("|") for one in segments]
    for rule in rules:
        place, _, source = rule.partition(" = ")
        name, _, numbers = place.partition("-")
        number, _, component = numbers.partition(".")
        for row in rows:
            if row[0] == name:
                row += [""] * (int(number) + 1 - len(row))
                row[int(number)] = _put(row[int(number)], component, escaped(_value(source, draft)))
    return ["|".join(row).rstrip("|") for row in rows]


def _put(field: str, component: str, value: str) -> str:
    if not component:
        return value
    parts = field.split("^")
    parts += [""] * (int(component) - len(parts))
    parts[int(component) - 1] = value
    return "^".join(parts).rstrip("^")


def _value(source: str, draft: Draft) -> str:
    if source.startswith("'"):
        return source.strip("'")
    order = draft.order
    return {
        "accession_number": draft.study.accession_number.strip(),
        "placer_order_number": "" if order is None else order.placer_order_number,
        "filler_order_number": "" if order is None else order.filler_order_number,
        "study_instance_uid": draft.study.study_instance_uid,
        "report_uid": draft.report_uid,
        "requested_procedure": draft.procedure,
        "revision": str(draft.revision),
        "nothing": "",
    }[source]


def _observations(draft: Draft, receiver: Hl7ReceiverSettings) -> list[str]:
    """The OBX segments: the study, the report line by line, then the findings as codes."""
    withdrawn = draft.withdrawn_because is not None
    status = receiver.withdrawal_status if withdrawn else receiver.status
    # O: it describes the order and is no result (HL7 Table 0085).
    rows = [("ST", "113014^DICOM Study^DCM", "1", escaped(draft.study.study_instance_uid), "", "O")]
    for section in sections_of(draft, with_reasons=receiver.reasons):
        name = _name_of(section, receiver)
        rows += [("TX", name, "1", escaped(line), "", status) for line in section.lines]
    if receiver.findings and not withdrawn:
        for number, finding in enumerate(draft.reading.findings, start=1):
            coded = _coded(finding, draft)
            rows += [(kind, name, str(number), value, unit, status) for kind, name, value, unit in coded]
    equipment = components(draft.device.model_name, draft.device.manufacturer, draft.device.uid, "ISO")
    return [
        segment("OBX", {1: str(place), 2: kind, 3: name, 4: sub, 5: value, 6: unit, 11: row, 18: equipment})
        for place, (kind, name, sub, value, unit, row) in enumerate(rows, start=1)
    ]


def _name_of(section: Section, receiver: Hl7ReceiverSettings) -> str:
    if receiver.observation_codes == "suffix":
        return f"{_REPORT[0]}&{_SUFFIXES.get(section.key, 'GDT')}^{escaped(section.title)}^{_REPORT[2]}"
    if section.key == "findings":
        return _code(codes.LN.Findings)
    if section.key == "impression":
        return _code(codes.LN.Impressions)
    return _code(code("heading", section.key))


def _coded(finding: Finding, draft: Draft) -> Iterator[tuple[str, str, str, str]]:
    """Value type, identifier, value and unit of each coded line of one finding.

    A present one is the value of "Finding"; of any other the finding is asked and the answer is its value, so that
    nobody who overlooks a status takes an absent one for present.
    """
    concept = finding_code(finding.name)
    if is_named_present(finding):
        yield "CWE", _code(codes.DCM.Finding), _code(concept), ""
    else:
        yield "CWE", _code(concept), _code(status_code(finding.status)), ""
    site = site_code(finding.name)
    if site is not None:
        yield "CWE", _code(codes.SCT.FindingSite), _code(site), ""
    if finding.side is not None:
        yield "CWE", _code(codes.SCT.Laterality), _code(side_code(finding.side)), ""
    if finding.change is not None:
        yield "CWE", _code(codes.DCM.QualitativeDifference), _code(change_code(finding.change)), ""
    score = score_of(draft, finding)
    if score is not None:
        unit = components("%", "Percent", "UCUM")
        yield "NM", _code(codes.DCM.CertaintyOfFinding), f"{certainty_percent(score):.1f}", unit
        # A line of its own: receivers keep the name of a code once (OBX-3) and often drop what NTE holds.
        yield "TX", _code(codes.DCM.Comment), escaped(remark(finding, score, draft.reading.engine)), ""


def _code(value: Code) -> str:
    return components(value.value, value.meaning, value.scheme_designator)

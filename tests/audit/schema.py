"""The grammar of an audit message (PS3.15 A.5.1), written down as what may stand where."""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring

TOKEN = r"\S(.*\S)?"
CODED = {"csd-code": TOKEN, "codeSystemName": TOKEN, "originalText": TOKEN, "displayName?": TOKEN}
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
BASE64 = r"[A-Za-z0-9+/]*={0,2}"

# Element: (attributes, "?" = may be missing; children in order with how often: 1, "?", "*" or "+").
GRAMMAR: dict[str, tuple[dict[str, str], tuple[tuple[str, str], ...]]] = {
    "AuditMessage": (
        {},
        (
            ("EventIdentification", "1"),
            ("ActiveParticipant", "+"),
            ("AuditSourceIdentification", "1"),
            ("ParticipantObjectIdentification", "*"),
        ),
    ),
    "EventIdentification": (
        {"EventActionCode?": "[CRUDE]", "EventDateTime": MOMENT, "EventOutcomeIndicator": "0|4|8|12"},
        (("EventID", "1"), ("EventTypeCode", "*"), ("EventOutcomeDescription", "?")),
    ),
    "ActiveParticipant": (
        {
            "UserID": ".*",
            "AlternativeUserID?": ".*",
            "UserName?": ".*",
            "UserIsRequestor": "true|false|0|1",
            "NetworkAccessPointID?": TOKEN,
            "NetworkAccessPointTypeCode?": "[1-5]",
        },
        (("RoleIDCode", "*"), ("MediaIdentifier", "?")),
    ),
    "MediaIdentifier": ({}, (("MediaType", "1"),)),
    "AuditSourceIdentification": (
        {"AuditEnterpriseSiteID?": TOKEN, "AuditSourceID": TOKEN},
        (("AuditSourceTypeCode", "*"),),
    ),
    "AuditSourceTypeCode": ({"csd-code": "[1-9]"}, ()),
    "ParticipantObjectIdentification": (
        {
            "ParticipantObjectID": TOKEN,
            "ParticipantObjectTypeCode?": "[1-4]",
            "ParticipantObjectTypeCodeRole?": "[1-9]|1[0-9]|2[0-6]",
            "ParticipantObjectDataLifeCycle?": "[1-9]|1[0-5]",
        },
        (
            ("ParticipantObjectIDTypeCode", "1"),
            ("ParticipantObjectName|ParticipantObjectQuery", "1"),
            ("ParticipantObjectDescription", "*"),
        ),
    ),
    "ParticipantObjectDescription": ({}, (("SOPClass", "*"),)),
    "SOPClass": ({"UID?": r"[0-9.]+", "NumberOfInstances": r"\d+"}, ()),
    **dict.fromkeys(
        ("EventID", "EventTypeCode", "RoleIDCode", "MediaType", "ParticipantObjectIDTypeCode"), (CODED, ())
    ),
    **dict.fromkeys(("EventOutcomeDescription", "ParticipantObjectName", "ParticipantObjectQuery"), ({}, ())),
}


def breaches(message: str) -> list[str]:
    """What in a message is not as the grammar wants it; [] if nothing."""
    root = fromstring(message)
    wrong_root = [] if root.tag == "AuditMessage" else [f"root is {root.tag}"]
    return [*wrong_root, *_of(root)]


def _of(element: Element) -> Iterator[str]:
    attributes, children = GRAMMAR[element.tag]
    for name, pattern in attributes.items():
        value = element.get(name.rstrip("?"))
        if value is None and not name.endswith("?"):
            yield f"{element.tag} has no {name}"
        elif value is not None and not re.fullmatch(pattern, value):
            yield f"{element.tag} {name}={value!r}"
    unknown = set(element.attrib) - {name.rstrip("?") for name in attributes}
    yield from (f"{element.tag} has {name}" for name in sorted(unknown))
    order = "".join(f"({tag}) ".join(("(", ")")) + _often(count) for tag, count in children)
    found = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(order, found):
        yield f"{element.tag} holds {found or 'nothing'}"
    if element.tag == "ParticipantObjectQuery" and not re.fullmatch(BASE64, element.text or ""):
        yield "query is not base64"
    for child in element:
        yield from _of(child)


def _often(count: str) -> str:
    return "" if count == "1" else count

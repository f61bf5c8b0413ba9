"""HL7 messages for tests; each builder takes only what a test is about."""

from datetime import UTC, datetime

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def an_obx(text: str, *, kind: str = "TX", code: str = "", status: str = "F") -> str:
    return f"OBX|1|{kind}|{code}||{text}||||||{status}"


def an_oru(
    *observations: str,
    control_id: str = "MSG1",
    sender: str = "RIS|CLINIC",
    charset: str = "",
    patients: str = "A1^^^ABC^MR",
    birth_date: str = "19500101",
    placer: str = "",
    filler: str = "F100",
    accession: str = "",
    procedure: str = "XRCH^XR CHEST^L",
    observed_at: str = "20260301083000",
    reported_at: str = "20260301100000",
    status: str = "F",
    interpreter: str = "",
    more: tuple[str, ...] = (),
    ending: str = "\r",
) -> str:
    """An ORU^R01 of one order; without observations its text is "FINDINGS: Clear."."""
    order = ["OBR", "1", placer, filler, procedure, "", "", observed_at, *[""] * 10, accession, "", "", ""]
    order += [reported_at, "", "RAD", status, *[""] * 6, interpreter]
    lines = [
        f"MSH|^~\\&|{sender}|PREREAD|HERE|20260301100001||ORU^R01^ORU_R01|{control_id}|P|2.5.1||||||{charset}",
        f"PID|1||{patients}||DOE^JANE||{birth_date}|F",
        "|".join(order),
        *(observations or (an_obx("FINDINGS: Clear."),)),
        *more,
    ]
    return ending.join(lines) + ending

"""The table of Annex A.1 of the conformance statement, from objects as made: `python -m tests.docs.attributes`."""

from pydicom import Dataset
from pydicom.datadict import dictionary_description, tag_for_keyword

from tests.outputs.drafts import KINDS, KOREAN, a_full_reading, a_source, built, sources_of

SHORT = {
    "report_sr": "TXT",
    "findings_sr": "FND",
    "presentation_state": "PR",
    "secondary_capture": "SC",
    "key_object_selection": "KO",
    "segmentation": "SEG",
    "encapsulated_pdf": "PDF",
    "findings_sr_air": "AIR",
}
SETTING = {
    "InstitutionName": "setting, else study",
    "DeviceSerialNumber": "setting",
    "SeriesNumber": "setting",
}


def table() -> str:
    """One line for each attribute at the top level: name, tag, the objects that have it, where its value comes from."""
    sources = (
        a_source(accession="ACC7", days_ago=3, number=7),
        a_source(charset="\\ISO 2022 IR 149", name=KOREAN, sex="M", days_ago=5, number=8),
    )
    drafts = [_made(source) for source in sources]
    keywords = {e.keyword for made in drafts for dataset in made.values() for e in dataset if e.keyword}
    lines = ["| attribute | tag | in | from |", "|---|---|---|---|"]
    for keyword in sorted(keywords, key=lambda keyword: tag_for_keyword(keyword) or 0):
        having = [SHORT[kind] for kind in KINDS if keyword in drafts[0][kind]]
        where = "all" if len(having) == len(KINDS) else ", ".join(having)
        tag = tag_for_keyword(keyword) or 0
        is_copied = all(_is_copied(keyword, *pair) for pair in zip(sources, drafts, strict=True))
        origin = SETTING.get(keyword) or ("study" if is_copied else "preread")
        name = dictionary_description(tag)
        lines.append(f"| {name} | ({tag >> 16:04X},{tag & 0xFFFF:04X}) | {where} | {origin} |")
    return "\n".join(lines)


def _made(source: Dataset) -> dict[str, Dataset]:
    prior = a_source(days_ago=300)
    sources = sources_of(source, priors=(prior,))
    return {kind: built(kind, sources, a_full_reading(source))[0] for kind in KINDS}


def _is_copied(keyword: str, source: Dataset, made: dict[str, Dataset]) -> bool:
    values = [dataset[keyword].value for dataset in made.values() if keyword in dataset]
    return keyword in source and bool(values[0]) and all(value == source[keyword].value for value in values)


if __name__ == "__main__":
    print(table())

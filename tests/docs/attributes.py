"""The table of Annex A.1 of the conformance statement, from objects as made: `python -m tests.docs.attributes`."""

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_description, tag_for_keyword

from agent.outputs import Predecessor
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
    sources = _sources()
    drafts = [_made(source) for source in sources]
    keywords = {e.keyword for made in drafts for dataset in made.values() for e in dataset if e.keyword}
    lines = ["| attribute | tag | in | from |", "|---|---|---|---|"]
    for keyword in sorted(keywords, key=lambda keyword: tag_for_keyword(keyword) or 0):
        pairs = [pair for pair in zip(sources, drafts, strict=True) if _having(keyword, pair[1])]
        kinds = {kind for _, made in pairs for kind in _having(keyword, made)}
        where = (
            "all" if len(kinds) == len(KINDS) else ", ".join(SHORT[kind] for kind in KINDS if kind in kinds)
        )
        tag = tag_for_keyword(keyword) or 0
        is_copied = all(_is_copied(keyword, *pair) for pair in pairs)
        origin = SETTING.get(keyword) or ("study" if is_copied else "preread")
        name = dictionary_description(tag)
        lines.append(f"| {name} | ({tag >> 16:04X},{tag & 0xFFFF:04X}) | {where} | {origin} |")
    return "\n".join(lines)


def _sources() -> tuple[Dataset, Dataset]:
    """Two images with nothing in common that an object might have of itself, such as CHEST or a rescale by 1 and 0."""
    rescaled = {"RescaleSlope": 2, "RescaleIntercept": -7, "RescaleType": "OD", "InstitutionName": "North"}
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 12,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    table = Dataset()
    table.ModalityLUTType = "OD"
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    return (
        a_source(issuer="CLINIC", days_ago=3, number=7, body_part="THORAX", change={**rescaled, **lossy}),
        a_source(
            issuer="OTHER",
            charset="\\ISO 2022 IR 149",
            name=KOREAN,
            sex="M",
            days_ago=5,
            number=8,
            modality="CR",
            photometric="MONOCHROME1",
            body_part="LUNG",
            change={"ModalityLUTSequence": [table], "PatientOrientation": ["R", "F"]},
        ),
    )


def _made(source: Dataset) -> dict[str, Dataset]:
    earlier = tuple(
        Predecessor(kind, str(source.StudyInstanceUID), "1.2.3", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3.4")
        for kind in KINDS
    )
    sources = sources_of(source, priors=(a_source(days_ago=300),), predecessors=earlier)
    return {kind: built(kind, sources, a_full_reading(source), revision=2)[0] for kind in KINDS}


def _having(keyword: str, made: dict[str, Dataset]) -> list[str]:
    return [kind for kind, dataset in made.items() if keyword in dataset]


def _is_copied(keyword: str, source: Dataset, made: dict[str, Dataset]) -> bool:
    values = [dataset[keyword].value for dataset in made.values() if keyword in dataset]
    return keyword in source and bool(values[0]) and all(value == source[keyword].value for value in values)


if __name__ == "__main__":
    print(table())

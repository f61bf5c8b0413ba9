"""The models that preread can run: where their weights are published, under which licence, and for what."""

import re
from dataclasses import dataclass
from pathlib import Path

DEMO_FOLDER = Path(__file__).parent / "phantom" / "weights"
"""The weights that come with the package, trained on synthetic images only."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One row of the table.

    Attributes:
        name: what `preread models` calls it; also of its engine in reading.toml, but for the demo.
        title: what its publisher calls it.
        engine: the key in `inference.engine.ENGINES` that runs it.
        repository: on the Hugging Face hub; None for the demo.
        seen_commit: the newest commit that preread's authors have seen described; a revision to start from.
        licence: what an administrator accepts, spelt as in `accepted_licence` of reading.toml.
        licence_notes: what else binds who uses it.
        does: what it takes and what comes out.
        intended_use: what its publisher made it for, and what it does not allow.
        gigabytes: size of the weights as published, 10^9 bytes; bfloat16 (float16 for the demo).
        is_gated: whether the hub asks for an account that has agreed to the terms.
    """

    name: str
    title: str
    engine: str
    repository: str | None
    seen_commit: str | None
    licence: str
    licence_notes: str
    does: str
    intended_use: str
    gigabytes: float
    is_gated: bool = False

    def fits_licence(self, accepted: str) -> bool:
        """Is the licence that somebody accepted this one? Spaces, hyphens and letter case do not count."""
        return _plain(accepted) == _plain(self.licence)


PUBLISHED = (
    PublishedModel(
        name="demo",
        title="preread synthetic demo model",
        engine="m4cxr",
        repository=None,
        seen_commit=None,
        licence="Apache-2.0",
        licence_notes="part of this package",
        does="the questions and answers of M4CXR in miniature, so that everything runs without a download",
        intended_use="tests and demonstrations; it has seen synthetic images only and knows nothing of patients",
        gigabytes=0.0065,
    ),
    PublishedModel(
        name="m4cxr",
        title="M4CXR",
        engine="m4cxr",
        repository="Deepnoid/M4CXR-TNNLS",
        seen_commit=None,
        licence="CC-BY-NC-4.0",
        licence_notes="made from RAD-DINO (Microsoft MSRLA, research only) and Mistral-7B-Instruct-v0.2 (Apache-2.0)",
        does="findings, a report and boxes from several images and one prior exam with its report",
        intended_use="research; no commercial use, and RAD-DINO is not meant for clinical practice",
        gigabytes=14.73,
    ),
    PublishedModel(
        name="cxr_llava",
        title="CXR-LLaVA v2",
        engine="cxr_llava",
        repository="ECOFRI/CXR-LLAVA-v2",
        seen_commit="b2224786bb90d54b1e1291171866706cfbb44e2b",
        licence="CC-BY-NC-4.0",
        licence_notes="made from LLaMA-2-7B-chat, so the LLaMA 2 Community License binds as well",
        does="a report on six findings from one frontal image; no prior exam, no boxes",
        intended_use="research; no commercial use",
        gigabytes=14.09,
    ),
    PublishedModel(
        name="medgemma",
        title="MedGemma 4B",
        engine="medgemma",
        repository="google/medgemma-4b-it",
        seen_commit="290cda5eeccbee130f987c4ad74a59ae6f196408",
        licence="health-ai-developer-foundations",
        licence_notes="terms and prohibited uses: developers.google.com/health-ai-developer-foundations/terms",
        does="findings and a report from several images; prior exams only in free words, no boxes",
        intended_use="a base for developers; its publisher asks for validation before any clinical use",
        gigabytes=8.6,
        is_gated=True,
    ),
)


def folder_called(name: Path) -> Path:
    """Where the weights are that a command calls so: "demo" lies in the package, unless a folder here is called so."""
    return DEMO_FOLDER if name == Path("demo") and not name.exists() else name


def published_model(name: str) -> PublishedModel:
    """Finds a model by its name.

    Raises:
        ValueError: if there is none; the message lists what there is.
    """
    for model in PUBLISHED:
        if model.name == name:
            return model
    raise ValueError(f'model "{name}" is not known; expected one of {", ".join(m.name for m in PUBLISHED)}')


def in_bytes(count: int) -> str:
    """Writes a size as people say it: 14.73 GB, 131 KB; decimal, as disks and the hub count."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


def _plain(licence: str) -> str:
    return re.sub(r"[\s_-]+", "-", licence.strip()).casefold()

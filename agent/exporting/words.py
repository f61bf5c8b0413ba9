"""Words that may not leave: takes them out of sentences, and finds them again in what was written."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agent.dicom.deidentifying import Identity, texts_of
from agent.dicom.headers import Unreadable
from agent.dicom.opening import CONTENT_ERRORS

TEXT_CHARACTERS_MIN = 3
"""A Latin word or number shorter than this is found everywhere ("Li", "12") and not looked for by itself."""

BYTES_MIN = 5
"""Shorter ones are found in pixels by chance: 4 bytes once in 400 images of 10 MB, 5 bytes once in 100,000."""

DIGIT_BYTES_MIN = 7
"""The same for numbers, which headers are full of."""

_DOTTED = re.compile(r"(?<![\w.])\d+(?:\.\d+){2,}(?::\d+)?(?![\w.]*\w)")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|'[^']*'(?!\w)")
_QUOTED_WHOLE = re.compile(r"[\"“].*[\"”]", re.DOTALL)
_DATE = re.compile(
    r"\b(?:19|20)\d\d-\d\d-\d\d(?:[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?|\b(?:19|20)\d{6}(?:\d{2,6}(?:\.\d+)?)?\b"
)
_NUMBER = re.compile(r"(?<![\w.])\d{5,}(?![\w.]*\w)")
_DIFFERS = re.compile(r"\bdiffers: .*?, current study [^;,.]*")  # birth date, sex, issuer of two exams
_OPERATOR = re.compile(r"\boperator (?:with user ID )?[^\s:;,]+")


@dataclass(frozen=True)
class Words:
    """What is known of who a study is about and whose it is.

    Attributes:
        identity: of the patient and of everybody else whom the objects name.
        replaced: UID as it was to UID as it is.
        spoken: what persons have written about the study: why it was held or withdrawn.
        site: names of systems and machines here: taken out of sentences, and not looked for, since a draft's own
            words may hold them ("PACS").
    """

    identity: Identity
    replaced: Mapping[str, str]
    spoken: frozenset[str] = frozenset()
    site: frozenset[str] = frozenset()

    def without(self, sentence: str) -> str:
        """Gives a sentence of ours without the values in it: UIDs are the new ones, the rest is named by its kind."""
        for words in self.spoken:
            sentence = sentence.replace(words, "[words of a person]")
        sentence = _DOTTED.sub(self._dotted, _DIFFERS.sub("differs", sentence))
        sentence = _QUOTED.sub("[value]", sentence)
        sentence = _OPERATOR.sub("operator", sentence)
        for pattern in (self._names, self._numbers):
            sentence = pattern.sub("[removed]", sentence)
        sentence = self._site.sub("[system]", sentence)
        return _NUMBER.sub("[number]", _DATE.sub("[date]", sentence))

    def without_answers(self, sentence: str) -> str:
        """The same for a sentence about an answer of a model, which may hold quotation marks of its own."""
        return self.without(_QUOTED_WHOLE.sub("[answer]", sentence))

    def found_in(self, name: str, content: bytes) -> str | None:
        """Says what of all this stands in a file, without saying it; None if nothing does.

        Args:
            name: of the file; its ending says what is in it, DICOM or JSON.
        """
        try:
            texts = tuple(_strings(json.loads(content)) if name.endswith(".json") else texts_of(content))
        except CONTENT_ERRORS as error:
            raise Unreadable(f"{name} cannot be read back ({type(error).__name__})") from None
        kinds = (
            ("a part of a name", self._names, self.identity.names),
            ("a patient ID or another number of the patient or the exam", self._numbers, self._identifiers),
        )
        for kind, pattern, words in kinds:
            if any(pattern.search(text) for text in texts) or any(
                _stands_in(content, word) for word in self._as_bytes(words)
            ):
                return kind
        uids = set(self.replaced)
        if any(text in uids for text in texts) or any(_stands_in(content, uid.encode()) for uid in uids):
            return "a UID as it was"
        return None

    @cached_property
    def _identifiers(self) -> frozenset[str]:
        dates = {date for birth in self.identity.birth_dates for date in (birth, _iso(birth))}
        return self.identity.identifiers | dates

    @cached_property
    def _names(self) -> re.Pattern[str]:
        return _pattern(self.identity.names)

    @cached_property
    def _numbers(self) -> re.Pattern[str]:
        return _pattern(self._identifiers)

    @cached_property
    def _site(self) -> re.Pattern[str]:
        return _pattern(self.site, lambda name: (name,))

    def _dotted(self, found: re.Match[str]) -> str:
        """A UID, the address of a machine, or a version."""
        text = found.group()
        if text in self.replaced:
            return self.replaced[text]
        if text.count(".") == 3:
            return "[address]"
        is_known = text.startswith("1.2.840.10008.") or len(text) < 20  # the Standard's own; or a version
        return text if is_known else "[UID]"

    def _as_bytes(self, words: Collection[str]) -> Iterator[bytes]:
        for word in words:
            for form in _forms(word):
                for encoding in {"utf-8", *self.identity.encodings}:
                    try:
                        encoded = form.encode(encoding)
                    except (UnicodeEncodeError, LookupError):
                        continue
                    if len(encoded) >= (DIGIT_BYTES_MIN if form.isdigit() else BYTES_MIN):
                        yield encoded


def _iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else date


def _forms(word: str) -> tuple[str, ...]:
    """As it was written, and in the two ways that a program may change it; "long" is no form of the name Long."""
    return tuple(dict.fromkeys((word, word.upper(), word.title())))


def _pattern(words: Collection[str], forms: Callable[[str], tuple[str, ...]] = _forms) -> re.Pattern[str]:
    """Finds any of the words as a whole one; one in letters that need no blanks between words also within others."""
    alternatives = [
        rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])" if form.isascii() else re.escape(form)
        for word in sorted(words, key=len, reverse=True)
        for form in forms(word)
        if not form.isascii() or len(form) >= TEXT_CHARACTERS_MIN
    ]
    return re.compile("|".join(alternatives) or r"(?!)")


def _stands_in(content: bytes, word: bytes) -> bool:
    """Whether bytes stand in a file, not as a part of a longer word or number."""
    start = content.find(word)
    while start >= 0:
        around = content[start - 1 : start] if start else b"", content[start + len(word) :][:1]
        if not word.isascii() or not any(side.isalnum() or side == b"." for side in around):
            return True
        start = content.find(word, start + 1)
    return False


def _strings(value: Any) -> Iterator[str]:
    """Every string in JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for key, inner in value.items() for text in (key, *_strings(inner)))
    elif isinstance(value, Iterable):
        yield from (text for inner in value for text in _strings(inner))

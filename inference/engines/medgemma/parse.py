"""What MedGemma's list of findings says, read strictly: what is not understood is kept, and nothing raises.

The model was asked for names and may write anything. A finding that is not named is not called absent; and where
an answer begins to say what is *not* there, nothing after it is taken for a finding.
"""

import re

from inference.engines.listed import listed
from inference.engines.medgemma.prompts import remove_structure
from inference.engines.report_words import FindingList

_SENTENCE_END = re.compile(r"(?<!\b\d)(?<!\b\d\d)\.(?=\s|$)|\n\s*\n")
"""Full stops, but not those behind the number of a line; and empty lines."""
_SEPARATOR = re.compile(r"[,;\n]|\(?\b\d{1,2}[.)]\s")
"""Between two entries of a list: commas, line ends, numbers of lines."""
_BULLET = re.compile(r"^[-*+•–—]\s*")
_MARKUP = re.compile(r"[*_`#\"“”]+")
_LEAD = re.compile(
    r"^\W*(?:here are )?(?:the )?(?:following )?(?:present )?findings?(?: (?:that are )?present)?"
    r"(?: in the current exam)?(?: are)?(?: present)?\s*:",
    re.IGNORECASE,
)
"""Words before a list that say no more than that it follows."""
_NOTHING = re.compile(
    r"(?:none|no findings|none of (?:the|these)(?: (?:listed|following|above))?(?: findings)?)"
    r"(?: (?:is|are) present)?(?: in the current exam)?"
)


def tidy(answer: str) -> str:
    """Takes the conversation's structure off an answer, and spaces at its ends."""
    return remove_structure(answer).strip()


def parse_findings(answer: str) -> FindingList:
    """Reads `cardiomegaly, pleural effusion`, a list with bullets or numbers, or `none`.

    Every name is one of FINDING_NAMES; "possible edema" or "edema (mild)" is none, and kept as a problem.
    """
    text = tidy(answer)
    if not text:
        return FindingList(problems=("The model gave no answer to the question for findings.",))
    sentences = [
        [entry for entry in map(_plain, _SEPARATOR.split(sentence)) if entry]
        for sentence in _SENTENCE_END.split(_LEAD.sub("", text))
    ]
    entries = [entry for sentence in sentences for entry in sentence]
    if len(entries) == 1 and _NOTHING.fullmatch(entries[0]):
        return FindingList()
    return listed(sentences, text)


def _plain(piece: str) -> str:
    """Brings one entry of a list to a bare name in lower case: "- **Edema**" to "edema", "and edema" to "edema"."""
    bare = _MARKUP.sub("", _BULLET.sub("", piece.strip())).strip(" .").lower()
    return " ".join(bare.removeprefix("and ").split())

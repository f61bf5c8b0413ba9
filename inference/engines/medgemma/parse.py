"""What MedGemma's list of findings says, read strictly: what is not understood is kept, and nothing raises.

The model was asked for names and may write anything. A finding that is not named is not called absent; and where
an answer begins to say what is *not* there, nothing after it is taken for a finding.
"""

import re

from inference.engines.medgemma.prompts import remove_structure
from inference.engines.report_words import FINDING_NAMES, FindingList, quoted

_SEPARATOR = re.compile(r"[,;\n]|\(?\b\d{1,2}[.)]\s|\.(?=\s|$)")
"""Between two entries of a list: commas, line ends, numbers of lines, full stops."""
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
_TURNS_ROUND = re.compile(
    r":|n't\b|\b(?:no|not|none|without|absent|absence|negative|neither|nor|except|excluded|ruled out|free of)\b"
)
"""After these a name may stand for what is not there: "no edema, pneumonia", "Unlikely: edema"."""


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
    pieces = [piece for piece in map(_plain, _SEPARATOR.split(_LEAD.sub("", text))) if piece]
    if len(pieces) == 1 and _NOTHING.fullmatch(pieces[0]):
        return FindingList()
    end = next((number for number, piece in enumerate(pieces) if _TURNS_ROUND.search(piece)), len(pieces))
    names = tuple(dict.fromkeys(piece for piece in pieces[:end] if piece in FINDING_NAMES))
    unknown = [piece for piece in pieces[:end] if piece not in FINDING_NAMES] + pieces[end:]
    if names and not unknown:
        return FindingList(names)
    problem = f"The list of findings holds what is no finding: {quoted(', '.join(unknown) or text)}."
    return FindingList(names, (problem,))


def _plain(piece: str) -> str:
    """Brings one entry of a list to a bare name in lower case: "- **Edema**" to "edema", "and edema" to "edema"."""
    bare = _MARKUP.sub("", _BULLET.sub("", piece.strip())).strip(" .").lower()
    return " ".join(bare.removeprefix("and ").split())

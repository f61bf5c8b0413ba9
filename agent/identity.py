"""Who the patient is: a number and who gave it, never a number alone; and whether two studies are of one. Pure.

What senders write is brought into one form when it comes in (`identified`); whether two studies belong to one
patient is asked anew each time (`difference`), since links between numbers are made and taken back.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from config.peers_settings import PeersSettings
from storage.identity import are_two, sex_of, whole_date
from storage.records import NUMBER_CHARACTERS_MAX, Demographics, KnownPatients, PatientIdentifier, Study

IDENTIFIERS_MAX = 20
"""Identifiers kept of one study; real headers have up to four."""

NUMBERS_MAX = 4
"""Numbers of one patient that an archive is asked for; a patient who was merged twice has three."""

# SequenceMatcher ratio. Slips of the pen had 0.82 to 0.87 ("Smith^John", "Smyth^Jon"), different people up to
# 0.61 ("Johnson^Mary", "Jackson^Marie").
_ALIKE_MIN = 0.7


@dataclass(frozen=True, slots=True)
class IssuerRule:
    """How one issuer's numbers are to be read.

    Attributes:
        name: what it is called here, whatever senders call it.
        ignore_leading_zeros, ignore_case: numbers that differ in these only are the same.
    """

    name: str
    ignore_leading_zeros: bool = False
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class SenderRule:
    """What one sender does to patient IDs: the issuer it means where it names none, what it puts before them."""

    default_issuer: str = ""
    remove_id_prefix: str = ""


@dataclass(frozen=True, slots=True)
class IdentifierRules:
    """What a site knows of its numbers.

    Attributes:
        issuers: by every name that they are called by, in lower case.
        senders: by calling AE title.
        placeholder_ids: in lower case; what is typed where nobody knows the patient, and identifies nobody.
    """

    issuers: Mapping[str, IssuerRule] = field(default_factory=dict)
    senders: Mapping[str, SenderRule] = field(default_factory=dict)
    placeholder_ids: frozenset[str] = frozenset()


def rules_of_peers(peers: PeersSettings) -> IdentifierRules:
    """What `peers.toml` says of patient IDs, as the rules take it."""
    return IdentifierRules(
        issuers={
            called.lower(): IssuerRule(issuer.name, issuer.ignore_leading_zeros, issuer.ignore_case)
            for issuer in peers.issuers
            for called in (issuer.name, *issuer.also_called)
        },
        senders={archive.sender: SenderRule(archive.default_issuer) for archive in peers.archives}
        | {
            sender.ae_title: SenderRule(sender.default_issuer, sender.remove_id_prefix)
            for sender in peers.senders
        },
        placeholder_ids=frozenset(word.lower() for word in peers.placeholder_ids),
    )


def identifier_of(patient_id: str, issuer: str, rules: IdentifierRules) -> PatientIdentifier | None:
    """Brings a number and its issuer into the form in which equal means the same; None if it identifies nobody.

    Outer spaces say nothing (PS3.5 6.2, LO); case and leading zeros do, unless the issuer's rule says otherwise.
    What is longer than any number or name is neither; a part of it might be somebody else's.
    """
    number, name = patient_id.strip(), issuer.strip()
    if not number or number.lower() in rules.placeholder_ids:
        return None
    if max(len(number), len(name)) > NUMBER_CHARACTERS_MAX:
        return None
    rule = rules.issuers.get(name.lower(), IssuerRule(name))
    if rule.ignore_leading_zeros:
        number = number.lstrip("0") or "0"
    if rule.ignore_case:
        number = number.upper()
    return PatientIdentifier(number, rule.name)


def too_long(*named: tuple[str, str]) -> str | None:
    """Says which of these, each given behind its name, is longer than any number, UID or name is; None if none is.

    What it stands in cannot be kept: see `NUMBER_CHARACTERS_MAX`.
    """
    for name, text in named:
        if len(text) > NUMBER_CHARACTERS_MAX:
            return f"its {name} has {len(text)} characters; more than {NUMBER_CHARACTERS_MAX} are not taken"
    return None


def identifier_of_cx(text: str, rules: IdentifierRules) -> PatientIdentifier | None:
    """Reads an identifier as HL7 writes it, ID^^^ISSUER or ID alone; None as for `identifier_of`."""
    components = [*text.split("^"), "", "", ""]
    return identifier_of(components[0], components[3], rules)


def identified(study: Study, calling_ae_title: str, rules: IdentifierRules) -> Study:
    """Gives a study, as its header tells it, the issuer that its sender means and identifiers in one form.

    Further identifiers (Other Patient IDs) are taken as they are but for their issuer's rule; one without an
    issuer is nobody's, since the sender's own issuer did not give it.
    """
    sender = rules.senders.get(calling_ae_title, SenderRule())
    issuer = study.issuer_of_patient_id or sender.default_issuer
    own = identifier_of(study.patient_id.strip().removeprefix(sender.remove_id_prefix), issuer, rules)
    others = (
        identifier_of(other.patient_id, other.issuer, rules)
        for other in study.identifiers[1 if study.patient_id.strip() else 0 :]
        if other.issuer.strip()
    )
    identifiers = tuple(dict.fromkeys(one for one in (own, *others) if one is not None))
    return replace(study, issuer_of_patient_id=issuer, identifiers=identifiers[:IDENTIFIERS_MAX])


def in_one_form(
    identifiers: Iterable[PatientIdentifier], rules: IdentifierRules
) -> tuple[PatientIdentifier, ...]:
    """Brings identifiers into the form in which equal means the same; those that identify nobody are left out."""
    found = (identifier_of(one.patient_id, one.issuer, rules) for one in identifiers)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def number_elsewhere(study: Study, rules: IdentifierRules) -> str:
    """The study's patient ID as all but its sender write it: without what `remove_id_prefix` takes away; "" if none."""
    number = study.patient_id.strip()
    for sender in rules.senders.values():
        if sender.remove_id_prefix and number.startswith(sender.remove_id_prefix):
            bare = number.removeprefix(sender.remove_id_prefix)
            # Another sender may give numbers that begin so of themselves; the index has read them as they are.
            if identifier_of(bare, study.issuer_of_patient_id, rules) in study.identifiers[:1]:
                return bare
    return number


def numbers_elsewhere(
    study: Study, rules: IdentifierRules, known: KnownPatients, issuer: str
) -> tuple[str, ...]:
    """Gives the numbers under which an archive may have the patient, NUMBERS_MAX at most.

    The study's own as `number_elsewhere` gives it, then what the study names beside it and what links add, valid ones
    before those that they have replaced; of these only what the archive's issuer has given: elsewhere the same number
    is somebody else's. They are in one form, since how the archive writes what a rule ignores is not known.

    Args:
        known: links between the study's identifiers.
        issuer: whose numbers the archive has; "" = the issuer of the study's own number.
    """
    number = number_elsewhere(study, rules)
    own = identifier_of(number, study.issuer_of_patient_id, rules)
    if own is None:
        return (number,)
    whose = rules.issuers.get(issuer.lower(), IssuerRule(issuer)).name or own.issuer
    more = [one.patient_id for one in known.linked(study.identifiers) if one != own and one.issuer == whose]
    return tuple(dict.fromkeys((number, *more)))[:NUMBERS_MAX]


def names_patient_of(named: Iterable[PatientIdentifier], study: Study) -> bool:
    """Tells whether somebody else's word for a patient, such as a report's, is one of a study's identifiers.

    An issuer missing on either side is no contradiction: what names the patient names the exam, too.

    Args:
        named: in one form, as those of the study are.
    """
    return any(
        theirs.patient_id == ours.patient_id
        and (not theirs.issuer or not ours.issuer or theirs.issuer == ours.issuer)
        for theirs in named
        for ours in study.identifiers
    )


def difference(current: Study, other: Study, known: KnownPatients) -> str | None:
    """Says what speaks against two studies being of one patient, or None if they are. Names no patient by name or ID.

    They are if an identifier with its issuer is common to both, or became so by a link, and no other issuer
    gave them two, and neither birth date, sex nor name speaks against it. An issuer missing on one side is made
    up for only by birth date and sex, both sent and equal; missing on both, by an equal birth date and an equal
    sex or name. What is no whole date and neither "F" nor "M" is not known: it speaks neither for nor against.
    """
    checks: tuple[Callable[[Study, Study, KnownPatients], str | None], ...] = (
        _other_id,
        _other_birth_date,
        _other_sex,
        _other_name,
        _unproved,
    )
    return next((reason for check in checks if (reason := check(current, other, known)) is not None), None)


def evidence(current: Study, other: Study, known: KnownPatients) -> str:
    """Says why two studies between which there is no `difference` are taken to be of one patient."""
    common = set(current.identifiers) & set(other.identifiers)
    if any(one.issuer for one in common):
        return "patient ID and issuer agree"
    if _common(current, other, known):
        return "patient ID and issuer agree since the patient's numbers were linked"
    whose = _without_issuer(current, other)
    if whose is not None:
        return f"{whose} has no issuer of the patient ID, but patient ID, birth date and sex agree"
    return "neither has an issuer of the patient ID, but patient ID and birth date and sex or name agree"


def digits_of(text: str) -> str:
    """A date or a fraction of a second without what senders put between: the dots of ACR-NEMA."""
    return "".join(character for character in text if character.isascii() and character.isdigit())


def _other_id(current: Study, other: Study, known: KnownPatients) -> str | None:
    if not current.identifiers:
        return "the current study has no patient ID"
    if not other.identifiers:
        return "it has no patient ID"
    ours, theirs = _by_issuer(current, known), _by_issuer(other, known)
    parted = [
        issuer for issuer in ours.keys() & theirs.keys() if issuer and not ours[issuer] & theirs[issuer]
    ]
    if parted:
        return f"issuer {min(parted)} gave it another patient ID"
    if _common(current, other, known) or _same_number_without_issuer(current, other, known):
        return None
    if current.identifiers[0].patient_id == other.identifiers[0].patient_id:
        us, them = current.identifiers[0].issuer, other.identifiers[0].issuer
        if us and them and us != them:
            return f"issuer of the patient ID differs: {them}, current study {us}"
    return "the patient ID is another one"


def _other_birth_date(current: Study, other: Study, known: KnownPatients) -> str | None:
    ours, theirs = whole_date(current.birth_date), whole_date(other.birth_date)
    if are_two(ours, theirs) and not _corrected(ours, theirs, _said(current, other, known, _born)):
        return f"birth date differs: {theirs}, current study {ours}"
    return None


def _other_sex(current: Study, other: Study, known: KnownPatients) -> str | None:
    ours, theirs = sex_of(current.sex), sex_of(other.sex)
    if are_two(ours, theirs) and not _corrected(ours, theirs, _said(current, other, known, _gender)):
        return f"sex differs: {theirs}, current study {ours}"
    return None


def _other_name(current: Study, other: Study, known: KnownPatients) -> str | None:
    if current.patient_name == other.patient_name:  # by far the commonest
        return None
    if _names_agree(current.patient_name, other.patient_name) is not False:
        return None
    said = _said(current, other, known, lambda one: one.patient_name)
    if all(
        any(_names_agree(sent, name) for name in said) for sent in (current.patient_name, other.patient_name)
    ):
        return None  # a marriage that the registry told of
    return "the name is clearly another one"


def _unproved(current: Study, other: Study, known: KnownPatients) -> str | None:
    """A patient ID without its issuer is a number that two hospitals may give to two people."""
    if _common(current, other, known):
        return None
    same_birth_date = whole_date(other.birth_date) == whole_date(current.birth_date) != ""
    same_sex = sex_of(other.sex) == sex_of(current.sex) != ""
    whose = _without_issuer(current, other)
    if whose is not None:
        if same_birth_date and same_sex:
            return None
        return f"{whose} has no issuer of the patient ID, and birth date and sex are not both sent and equal"
    if same_birth_date and (same_sex or _is_same_name(current.patient_name, other.patient_name)):
        return None
    return "no issuer of the patient ID, and birth date and either sex or name are not both sent and equal"


def _common(current: Study, other: Study, known: KnownPatients) -> frozenset[PatientIdentifier]:
    """The identifiers, as links have made them, that both have and that somebody issued."""
    common = _survivors(current, known) & _survivors(other, known)
    return frozenset(one for one in common if one.issuer)


def _survivors(study: Study, known: KnownPatients) -> frozenset[PatientIdentifier]:
    return frozenset(known.survivor(identifier) for identifier in study.identifiers)


def _by_issuer(study: Study, known: KnownPatients) -> dict[str, set[str]]:
    numbers: dict[str, set[str]] = {}
    for identifier in _survivors(study, known):
        numbers.setdefault(identifier.issuer, set()).add(identifier.patient_id)
    return numbers


def _same_number_without_issuer(current: Study, other: Study, known: KnownPatients) -> bool:
    ours, theirs = current.identifiers[0], other.identifiers[0]
    if ours.issuer and theirs.issuer:
        return False
    return ours.patient_id == theirs.patient_id or known.survivor(ours) == known.survivor(theirs)


def _without_issuer(current: Study, other: Study) -> str | None:
    """Whose issuer is missing where the other's is there, or None."""
    ours, theirs = current.identifiers[0].issuer, other.identifiers[0].issuer
    if bool(ours) == bool(theirs):
        return None
    return "the current study" if theirs else "it"


def _said(
    current: Study, other: Study, known: KnownPatients, fact: Callable[[Demographics], str]
) -> frozenset[str]:
    """What registries have said, now and before, of the identifiers that the two have in common."""
    common = _common(current, other, known)
    ours = [one for one in (*current.identifiers, *other.identifiers) if known.survivor(one) in common]
    said = [known.demographics.get(one, ()) for one in (*ours, *common)]
    return frozenset(fact(demographics) for statements in said for demographics in statements) - {""}


def _corrected(ours: str, theirs: str, said: Collection[str]) -> bool:
    """One registry has said both of this patient: it corrected itself, and both studies are the patient's."""
    return ours in said and theirs in said


def _born(demographics: Demographics) -> str:
    return whole_date(demographics.birth_date)


def _gender(demographics: Demographics) -> str:
    return sex_of(demographics.sex)


def _names_agree(one: str, another: str) -> bool | None:
    """True if two names are alike in one script, False if they differ in each, None if none can be compared.

    Any component group is compared with any other: senders put 홍^길동 into the first or the third.
    """
    pairs = [(mine, other) for mine in one.split("=") for other in another.split("=")]
    compared = [_alike(mine, other) for mine, other in pairs if _script(mine) == _script(other) != ""]
    return any(compared) if compared else None


def _is_same_name(one: str, another: str) -> bool:
    """True if one name has all the words of the other, in one of their scripts: more than a family's name."""
    pairs = [(_words(mine), _words(other)) for mine in one.split("=") for other in another.split("=")]
    return any(
        len(mine) > 1 and len(others) > 1 and (set(mine) <= set(others) or set(others) <= set(mine))
        for mine, others in pairs
    )


def _script(group: str) -> str:
    """ "latin", "other", or "" if the group holds no name."""
    letters = "".join(_words(group))
    if not letters:
        return ""
    return "latin" if any(letter.isascii() and letter.isalpha() for letter in letters) else "other"


def _alike(ours: str, theirs: str) -> bool:
    """A shared word (a married name keeps the given one), or the same letters but for slips of the pen."""
    mine, others = _words(ours), _words(theirs)
    if _long(mine) & _long(others):
        return True
    return SequenceMatcher(None, "".join(mine), "".join(others), autojunk=False).ratio() >= _ALIKE_MIN


def _long(words: Iterable[str]) -> set[str]:
    return {word for word in words if len(word) > 1}


def _words(group: str) -> list[str]:
    """The words of one name component group, in lower case and without accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", group) if not unicodedata.combining(c))
    return re.findall(r"\w+", unicodedata.normalize("NFC", plain).casefold())

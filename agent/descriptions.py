"""Tells from the words of its description whether an exam that has not come yet shows the chest. Pure.

The images themselves say it better (`agent.selection`), but they are in the archive. Descriptions are written by hand,
in any language, so what is not understood speaks for nothing and against nothing.
"""

import re

from agent.selection import SelectionRules

_CHEST = ("torax", "tórax", "torace", "pulmon", "pulmón", "polmon", "poumon")
"""What also names the chest here, where a mistake costs a place in the order and no exam: a site whose images name
their body part need not have its language in `study.description_words`."""

_IN_DOUBT = ("thorac", "torac", "torác", "trauma", "survey", "tx", "thx")
"""Parts of words beside which another part of the body may be meant, or the chest as well as another one."""

# Limbs, joints, spine, pelvis and skull in the languages of most archives: exams of these show no chest beside them.
# Not here: the abdomen, since an acute abdomen has an upright chest film, and words that also mean something else (arm,
# head, the French main).
_OTHER_PARTS = frozenset(
    (
        *("hand", "hands", "finger", "fingers", "thumb", "wrist", "wrists", "scaphoid", "forearm"),
        *("ulna", "elbow", "elbows", "humerus", "shoulder", "shoulders", "foot", "feet", "toe"),
        *("toes", "heel", "calcaneus", "ankle", "ankles", "tibia", "fibula", "knee", "knees"),
        *("patella", "femur", "leg", "legs", "hip", "hips", "pelvis", "skull", "mandible", "spine"),
        *("lumbar",),
        # German
        *("hände", "handgelenk", "daumen", "unterarm", "ellenbogen", "ellbogen", "oberarm"),
        *("schulter", "fuss", "füsse", "vorfuss", "zehe", "zehen", "sprunggelenk", "knie"),
        *("kniegelenk", "unterschenkel", "oberschenkel", "hüfte", "hüftgelenk", "becken"),
        *("schädel", "wirbelsäule", "hws", "lws"),
        # French
        *("poignet", "doigt", "doigts", "coude", "épaule", "epaule", "pied", "pieds", "cheville"),
        *("genou", "genoux", "jambe", "hanche", "bassin", "crâne", "rachis"),
        # Spanish
        *("mano", "manos", "dedo", "dedos", "muñeca", "antebrazo", "codo", "hombro", "tobillo"),
        *("rodilla", "rodillas", "pierna", "cadera", "cráneo", "columna"),
        # Portuguese
        *("mão", "mãos", "punho", "antebraço", "cotovelo", "ombro", "tornozelo", "joelho", "perna"),
        *("quadril", "bacia", "crânio", "coluna"),
        # Italian
        *("polso", "avambraccio", "gomito", "spalla", "piede", "piedi", "caviglia", "ginocchio"),
        *("ginocchia", "gamba", "bacino", "cranio", "rachide"),
        # Dutch
        *("pols", "elleboog", "schouder", "voet", "voeten", "heup", "bekken", "schedel"),
    )
)


def names_chest(description: str, rules: SelectionRules) -> bool:
    """Whether a Study Description says that the exam shows the chest."""
    text = description.lower()
    return any(word in text for word in (*rules.description_words, *_CHEST))


def names_other_part(description: str, rules: SelectionRules) -> str | None:
    """Says which other part of the body a Study Description names; None if it may be the chest."""
    text = description.lower()
    may_be = (*_IN_DOUBT, *(part.lower() for part in rules.body_parts))
    named = set(re.findall(r"[^\W\d_]+", description.casefold())) & _OTHER_PARTS
    if not named or names_chest(description, rules) or any(word in text for word in may_be):
        return None
    words = ", ".join(sorted(rules.description_words))
    return f"its description names {', '.join(sorted(named))}, none of {words} (reading.toml study.description_words)"

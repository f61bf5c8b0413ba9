"""The rules of a site, [[rule]] of `reading.toml`: which studies are read, how soon, with what, and for whom."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from config.conditions import Conditions, When
from config.values import Distinct, Expected, FilePath, Frozen, OutputKind, none_if_empty

Priority = Literal["stat", "urgent", "routine"]


def _or_empty(kind: Any) -> BeforeValidator:
    """Takes "" for None, where TOML has no word for "as in the other table"."""
    return BeforeValidator(none_if_empty, json_schema_input_type=kind | Literal[""])


Report = Literal["optional", "preferred", "required"]
Views = Literal["frontal", "any"]

RuleName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,47}$"),
    Expected('1 to 48 letters, digits, spaces and "_.-", a letter or digit first'),
]
AdapterName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-]{1,32}$"),
    Expected('1 to 32 letters, digits, "-" and "_"'),
]


class RulePriorSettings(Frozen):
    """What the studies of this rule want of earlier exams, where it is not what [priors] says."""

    count_max: Annotated[
        int | None,
        Field(ge=0, le=10),
        _or_empty(int),
        Expected('a whole number from 0 to 10, or "" for that of [priors]'),
    ] = None
    """Priors handed to the model, as in [priors]. 0: none."""

    window_days: Annotated[
        int | None,
        Field(ge=1, le=36_500),
        _or_empty(int),
        Expected('a whole number from 1 to 36500, or "" for that of [priors]'),
    ] = None
    """How far back a prior may lie."""

    images_max: Annotated[
        int | None,
        Field(ge=1, le=10),
        _or_empty(int),
        Expected('a whole number from 1 to 10, or "" for that of [priors]'),
    ] = None
    """Images of each prior."""

    report: Annotated[
        Report | None,
        _or_empty(Report),
        Expected('"optional", "preferred" or "required", or "" for that of [priors]'),
    ] = None
    """What a radiologist's report of a prior counts."""

    views: Annotated[
        Views | None, _or_empty(Views), Expected('"frontal" or "any", or "" for that of [priors]')
    ] = None
    """Whether a lateral alone will do."""


class RuleSettings(Frozen):
    """One rule for the studies that meet its conditions. The rules are asked in the order of the file, and the first
    that fits a study decides; a study that none fits is read as the other tables say. See docs/rules.md."""

    name: RuleName
    """Our name for it, in `preread why`, in the log and on the command line."""

    when: Conditions = When()
    """When it fits: conditions on DICOM attributes of the images, and on what else preread knows of the study.
    Empty: always."""

    read: Annotated[
        bool | None,
        _or_empty(bool),
        Expected('true, false, or "" to leave it to [study]'),
    ] = None
    """false: skip the study, with this rule's name as the reason. true: read it although its age or the part of the
    body would keep [study] from it; what is no radiograph or has no frontal view is still not read."""

    priority: Priority = "routine"
    """How soon it is read: "stat" before "urgent" before "routine", see worker.routine_yields_seconds."""

    destinations: Distinct[str] = ()
    """Names of the destinations, and of the receivers of messages, in peers.toml that get the draft. Empty: all."""

    outputs: Distinct[OutputKind] = ()
    """The objects that these destinations get of it. Empty: what each of them gets of any draft."""

    adapter: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_-]{0,32}$"),
        Expected('the name of an [[adapter]], or "" for none'),
    ] = ""
    """The [[adapter]] to read it with. Empty: the weights alone."""

    shadow: bool = False
    """Read it and keep what the model said, for `preread why` and `preread scores`, but make no objects and send
    nothing: to watch a model, an adapter or a rule before anybody sees it."""

    compare: bool = True
    """Whether the [second_engine], if there is one, reads it too."""

    priors: RulePriorSettings = RulePriorSettings()


class AdapterSettings(Frozen):
    """A LoRA adapter that is kept beside the weights, for the rules that name it. Costs memory of its own."""

    name: AdapterName
    """What rules call it."""

    folder: FilePath
    """Its folder, as peft writes it (adapter_config.json, adapter_model.safetensors)."""

"""What `reading.toml` holds: which studies are read, with which priors, by which model, into what."""

from typing import Annotated, Literal

from pydantic import Field

from config.values import Distinct, Expected, Frozen, OneLine, OptionalPath, OutputKind, View

_Term = Annotated[str, Field(min_length=1, max_length=64)]


class StudySettings(Frozen):
    """Which studies are read, and when."""

    settle_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 60.0
    """How long a study must be silent before we read it. DICOM has no "complete"; modalities pause
    between views. Shorter reads sooner and reads again more often when a lateral view comes late. Below 5
    is for tests."""

    complete_when_views: Distinct[View] = ("frontal", "lateral")
    """A study that has all these views is read at once, without the silence. Empty: only silence counts."""

    study_age_days_max: Annotated[int, Field(ge=0, le=36_500)] = 14
    """Studies older than this, by Study Date, are kept as priors and not read: an archive that sends its
    history must not start a thousand drafts."""

    body_parts: Distinct[_Term] = ("CHEST", "THORAX", "LUNG", "RIB", "STERNUM")
    """Values of Body Part Examined that mean a chest radiograph, in any case of letters. A study whose
    images name only other parts is skipped."""

    description_words: Distinct[_Term] = ("chest", "thorax", "lung", "cxr")
    """Where no image names a body part: words of Study or Series Description, any case, that mean a chest
    radiograph. Add your own language's."""

    read_if_unnamed: bool = True
    """Read a study that names neither body part nor any description. Many sites leave both empty and
    route only chests here; set false if yours routes everything."""

    images_max: Annotated[int, Field(ge=1, le=20)] = 6
    """Images of the current study shown to the model, frontal ones first. The rest is named in the draft as
    not looked at."""


class PriorSettings(Frozen):
    """Which earlier exams are laid beside the study."""

    count_max: Annotated[int, Field(ge=0, le=10)] = 3
    """Priors handed to the model, the newest first. 0: none. An engine may use fewer and says so."""

    window_days: Annotated[int, Field(ge=1, le=36_500)] = 1825
    """How far back a prior may lie: five years, as reading rooms hang them."""

    images_max: Annotated[int, Field(ge=1, le=10)] = 2
    """Images of each prior, frontal ones first."""


class EngineSettings(Frozen):
    """The model that writes the draft."""

    name: Annotated[
        str,
        Field(pattern=r"^([a-z][a-z0-9_]*|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"),
        Expected(
            'the name of an engine such as "m4cxr", or a function "package.module:function" of your own'
        ),
    ] = "m4cxr"
    """The engine: a name that preread knows, or "package.module:function" of your own."""

    model_folder: OptionalPath = None
    """Folder of the weights. Empty: the demo weights of the package, trained on synthetic images; their
    drafts are not for patients and say so on every object."""

    accepted_licence: OneLine = ""
    """The licence of the weights in `model_folder`, written here by the person who has read and accepted
    it, such as "CC-BY-NC-4.0". Needed for every model but the demo; it may forbid your use."""

    weights_digest: Annotated[
        str,
        Field(pattern=r"^(sha256:[0-9a-f]{64})?$"),
        Expected('"sha256:" and 64 hexadecimal digits, as `preread check` prints it, or "" for any'),
    ] = ""
    """The digest that the weights, with their adapter, must have. Others are refused at start, so that nobody
    changes the model unseen. Empty: any."""

    allow_pickled_weights: bool = False
    """Read weights from .bin files where there are no safetensors. Such files are pickles, which can run code when
    they are opened; torch lets only tensors through, and a warning goes to the log. Set true only for files
    whose origin you trust."""

    adapter_folder: OptionalPath = None
    """Folder of a LoRA adapter as peft writes it (adapter_config.json, adapter_model.safetensors), to be merged into
    the weights. Empty: none."""

    device: Annotated[
        str,
        Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$"),
        Expected('"auto", "cpu", "cuda" or "cuda:<number>"'),
    ] = "auto"
    """Where the model runs. "auto": the first CUDA GPU if there is one, else the CPU."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the weights. "auto": bfloat16 on a GPU, float32 on the CPU."""

    weights: Literal["full", "int8", "int4"] = "full"
    """How the language model's weights are kept: "full", or rounded to 8 or 4 bits for cards with less memory.
    Rounded weights may answer otherwise ("int4" more so), are no faster, and the draft names them. See
    docs/memory.md."""

    answer_tokens_max: Annotated[int, Field(ge=1, le=4096)] = 500
    """Longest answer, in tokens. A model that repeats itself stops here."""

    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of the model. 0: as torch chooses. Set it where the listener shares the machine."""

    rendering: Literal["voi", "minmax", "equalised"] = "voi"
    """How stored pixels become the picture that the model sees: "voi" as a viewer shows it, "minmax" the
    full range, "equalised" with an equalised histogram. Which serves a model best has to be measured."""


class ReaderSettings(Frozen):
    """The process that holds the model."""

    child: bool = True
    """`preread serve` starts the reader itself. Set false if `preread read` runs as a service of its own."""

    nice: Annotated[int, Field(ge=0, le=19)] = 5
    """How far the reader steps back for the other programs: a long answer must not slow the listener."""


class OutputSettings(Frozen):
    """The objects that carry a draft."""

    defaults: Annotated[Distinct[OutputKind], Field(min_length=1)] = (
        "report_sr",
        "findings_sr",
        "presentation_state",
    )
    """What a destination gets that names no outputs of its own, and what is made where there is none."""

    series_number_base: Annotated[int, Field(ge=1, le=2_000_000_000)] = 9000
    """Series Number of our first series; the kinds count up from it. High, so that viewers list us last."""

    language: Literal["en"] = "en"
    """Language of the fixed texts in our objects. The model's own text is as it was trained."""

    charset: Literal["utf8", "source"] = "utf8"
    """Specific Character Set of our objects: "utf8" (ISO_IR 192) writes every name; "source" keeps the
    study's, for archives that know no UTF-8."""


class ReadingSettings(Frozen):
    """How studies are read: `reading.toml`."""

    study: StudySettings = StudySettings()
    priors: PriorSettings = PriorSettings()
    engine: EngineSettings = EngineSettings()
    reader: ReaderSettings = ReaderSettings()
    outputs: OutputSettings = OutputSettings()

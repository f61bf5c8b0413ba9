"""What `reading.toml` holds: which studies are read, with which priors, by which model, into what."""

from typing import Annotated, Literal

from pydantic import Field

from config.rule_settings import AdapterSettings, RuleSettings
from config.values import Distinct, Expected, Frozen, Listed, OneLine, OptionalPath, OutputKind, View

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
    radiograph. Add your own language's. Of what an archive has, studies with one of them in their Study Description
    go before others."""

    read_if_unnamed: bool = True
    """Read a study that names neither body part nor any description. Many sites leave both empty and
    route only chests here; set false if yours routes everything."""

    close_when_reported: bool = True
    """A final report that names the study or its accession number ends its drafts: it is not read any more, and what
    is not delivered yet is not sent. `preread again` reads it all the same."""

    images_max: Annotated[int, Field(ge=1, le=20)] = 6
    """Images of the current study shown to the model, frontal ones first. The rest is named in the draft as
    not looked at."""


class PriorSettings(Frozen):
    """Which earlier exams are laid beside the study."""

    count_max: Annotated[int, Field(ge=0, le=10)] = 3
    """Priors handed to the model, the newest first. 0: none. An engine that looks at fewer (M4CXR and
    MedGemma at one, CXR-LLaVA at none) is handed no more than that."""

    window_days: Annotated[int, Field(ge=1, le=36_500)] = 1825
    """How far back a prior may lie: five years, as reading rooms hang them."""

    images_max: Annotated[int, Field(ge=1, le=10)] = 2
    """Images of each prior, frontal ones first."""

    report: Literal["optional", "preferred", "required"] = "optional"
    """What a radiologist's report counts: "optional" takes the newest exams, "preferred" those with a report
    before newer ones without, "required" no others. An engine that needs a report, as M4CXR does, takes no
    others anyway."""

    views: Literal["frontal", "any"] = "frontal"
    """"frontal": an exam without a frontal image is no prior. "any": a lateral alone will do."""

    report_window_hours: Annotated[float, Field(ge=0, le=168)] = 24.0
    """A report from outside DICOM that names neither study UID nor an accession number, nor an order number written
    like the exam's accession number, belongs to an exam of the same patient and part of the body if their times
    differ by no more, unless it names another kind of exam (CT, ultrasound). 0: only the very same second."""

    wait_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """How long a study waits for priors that were asked from archives. Then it is read with what has come,
    and the draft names what has not."""


class OrderSettings(Frozen):
    """What is done with orders: exams that a worklist or the RIS has told us of before their images come."""

    fetch_priors: bool = True
    """Ask the archives for the patient's earlier exams as soon as the order is known."""

    fetch_seconds: Annotated[float, Field(ge=1, le=604_800)] = 14_400.0
    """How long the priors of an order are asked for where an archive is down: four hours."""

    use_indication: bool = True
    """Show the order's indication to the model where no image of the study has one."""

    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long an order is kept after it was last heard of."""


class EngineSettings(Frozen):
    """A model. [engine] writes the drafts. [second_engine] reads the same cases after it, in a process of its own and
    only while no study waits for the first; what it says is kept for `preread compare` and goes to nobody, see
    docs/models.md. Without [second_engine] there is none."""

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

    impression: bool = True
    """Ask the model at last to sum up its own draft, as its impression: one more turn, and no second look
    at the images. Only a model that knows this task is asked; the demo model does not. M4CXR learned it in
    conversations about one image."""
    vision_cache_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 2000
    """What the model saw of each image is kept in the folder of [storage], up to this size, so that a study is not
    looked at again when it comes back as a prior; what was not used for longest goes first. It is derived
    from patients' images: guard it as them. 0: nothing is kept."""

    rendering: Literal["voi", "minmax", "equalised"] = "voi"
    """How stored pixels become the picture that the model sees: "voi" as a viewer shows it, "minmax" the
    full range, "equalised" with an equalised histogram. Which serves a model best has to be measured."""


class ReaderSettings(Frozen):
    """The process that holds the model."""

    child: bool = True
    """`preread serve` starts the reader itself. Set false if `preread read` runs as a service of its own."""

    nice: Annotated[int, Field(ge=0, le=19)] = 5
    """How far the reader steps back for the other programs: a long answer must not slow the listener. That of the
    second engine always steps back as far as it can, 19."""

    batch_max: Annotated[int, Field(ge=0, le=64)] = 0
    """Studies read at once, if so many wait; none is held back until others come. More read more studies an hour,
    each of them later and with more memory. 0: 4 where a study gets the very words that it gets alone (float32),
    else 1. In bfloat16, of 269 answers given sixteen studies at a time 8 were worded otherwise than alone."""

    second_days: Annotated[int, Field(ge=1, le=365)] = 7
    """The [second_engine] reads studies of the last so many days, the newest first. What it does not get to in that
    time it leaves out."""


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


class CalibrationSettings(Frozen):
    """What makes a model's scores of one finding probabilities; `preread calibrate` writes these tables."""

    finding: _Term
    """The finding, as the model's scores call it, such as "pleural effusion"."""

    slope: Annotated[float, Field(ge=0, le=100)]
    """Platt's slope: the probability is 1 / (1 + exp(-(slope * x + intercept))), x = ln(score / (1 - score))."""

    intercept: Annotated[float, Field(ge=-100, le=100)]
    """Platt's intercept."""

    fitted_on: Annotated[
        str,
        Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\\\x7f]*$"),
        Expected("one line of text of 1 to 64 characters, without backslash"),
    ]
    """On which cases it was fitted: what, how many, when. Stands beside every probability in the drafts."""

    weights_digest: Annotated[
        str,
        Field(pattern=r"^sha256:[0-9a-f]{64}$"),
        Expected('"sha256:" and 64 hexadecimal digits, as `preread check` says them'),
    ]
    """The weights whose scores were fitted. With any other the table is not used, and drafts say so."""


class ReadingSettings(Frozen):
    """How studies are read: `reading.toml`. In the file a rule is a [[rule]], an adapter an [[adapter]], a calibration
    a [[calibration]]."""

    study: StudySettings = StudySettings()
    priors: PriorSettings = PriorSettings()
    orders: OrderSettings = OrderSettings()
    engine: EngineSettings = EngineSettings()
    second_engine: EngineSettings | None = None
    reader: ReaderSettings = ReaderSettings()
    outputs: OutputSettings = OutputSettings()
    rules: Annotated[Listed[RuleSettings], Field(max_length=200, validation_alias="rule")] = ()
    """What holds for some studies only, in the order in which it is asked. None: all are read as the tables say."""
    adapters: Annotated[Listed[AdapterSettings], Field(max_length=32, validation_alias="adapter")] = ()
    """Adapters that rules may choose. None: every study is read with the weights of [engine]."""
    calibrations: Annotated[Listed[CalibrationSettings], Field(validation_alias="calibration")] = ()
    """What is known of the scores. None: they are shown as the model's uncalibrated leanings."""

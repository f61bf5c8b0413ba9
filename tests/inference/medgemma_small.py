"""Builds a small MedGemma, with its processor's files, in a folder: random, or taught one case by heart."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from inference.case import Case
from inference.engines.medgemma.loading import load_model
from inference.engines.medgemma.model import MedGemma
from inference.engines.medgemma.prompts import SUMMARY_QUESTION, report_plan
from tests.inference.small import a_case, a_prior, an_image

SPECIAL_TOKENS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)
TOKENS_AN_IMAGE = 4
VOCABULARY_SIZE = 400

LISTED = "- **Pleural effusion**"
DESCRIBED = "There is a new 3 cm left pleural effusion. The edema has resolved."
SUMMED = "New left effusion."
"""What the taught model answers to the three questions."""

CHAT_TEMPLATE = """\
{%- set system = messages[0].content[0].text -%}
{{ bos_token }}
{%- for message in messages[1:] -%}
<start_of_turn>{{ {"user": "user", "assistant": "model"}[message.role] }}
{{ system + "\\n\\n" if loop.first }}
{%- for part in message.content -%}
{{ "<start_of_image>" if part.type == "image" else part.text | trim }}
{%- endfor -%}
<end_of_turn>
{% endfor -%}
{{ "<start_of_turn>model\\n" if add_generation_prompt }}
{#- end -#}
"""
"""Writes what Gemma 3's template writes."""


def write_medgemma(folder: Path, *, sliding_window: int = 16, strength: float = 1) -> Path:
    """Writes a MedGemma of random weights into a folder, with all files of its processor.

    Args:
        strength: of the layers; at 10 a small change of what was read makes another answer.
    """
    _write_processor(folder)
    torch.manual_seed(3)
    model = Gemma3ForConditionalGeneration(_config(sliding_window))
    with torch.no_grad():
        # transformers begins with zeros here, and the model would see nothing.
        model.model.multi_modal_projector.mm_input_projection_weight.normal_()
        for parameter in model.model.language_model.layers.parameters():
            parameter.mul_(strength)
    model.save_pretrained(folder)
    return folder


def teach_medgemma(folder: Path) -> None:
    """Trains the model of a folder until it says its lesson, without and with a prior, by heart."""
    model = load_model(folder).model
    network = model.network.train().requires_grad_(True)
    lessons = [_lesson(model, case) for case in (a_case(), a_case(priors=(a_prior(),)))]
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    for _ in range(200):
        loss = sum(_loss(model, *lesson) for lesson in lessons)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.05:
            break
    network.save_pretrained(folder)


def edit_json(path: Path, **changes: object) -> None:
    """Changes keys of a JSON file; None takes a key out."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def _lesson(model: MedGemma, case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gives ids (1, T), which of them are to be learned (1, T), and the pixels of the images."""
    plan = report_plan(case)
    questions = [plan.findings_question, plan.report_question, SUMMARY_QUESTION]
    answers = [LISTED, DESCRIBED, SUMMED]
    whole = model.ids(model.render(questions, answers[:-1]) + SUMMED + "<end_of_turn>")
    is_learned = torch.zeros(len(whole), dtype=torch.bool)
    for turn in range(len(questions)):
        asked = model.render(questions[: turn + 1], answers[:turn])
        start, end = (len(model.ids(text)) for text in (asked, asked + answers[turn] + "<end_of_turn>"))
        is_learned[start:end] = True
    pixels = torch.cat([model.pixels(image) for image in plan.images])
    return torch.tensor([whole]), is_learned[None], pixels


def _loss(model: MedGemma, ids: torch.Tensor, is_learned: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    logits = model.network(
        input_ids=ids, pixel_values=pixels, token_type_ids=(ids == model.image_marker).long()
    ).logits
    return cross_entropy(logits[:, :-1][is_learned[:, 1:]], ids[:, 1:][is_learned[:, 1:]])


def _config(sliding_window: int) -> Gemma3Config:
    ids = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    return Gemma3Config(
        text_config={
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": sliding_window,
            "layer_types": ["sliding_attention", "full_attention"],
            "max_position_embeddings": 4096,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 4,
            "vision_use_head": False,
        },
        mm_tokens_per_image=TOKENS_AN_IMAGE,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
        eos_token_id=[ids["<eos>"], ids["<end_of_turn>"]],
    )


def _write_processor(folder: Path) -> None:
    _write_vocabulary(folder / "tokenizer.json")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    tokens = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "unk": "<unk>"}
    tokens |= {"boi": "<start_of_image>", "eoi": "<end_of_image>", "image": "<image_soft_token>"}
    files = {
        "tokenizer_config": {f"{name}_token": token for name, token in tokens.items()}
        | {"tokenizer_class": "GemmaTokenizer"},
        "processor_config": {"image_seq_length": TOKENS_AN_IMAGE, "processor_class": "Gemma3Processor"},
        "preprocessor_config": {
            "image_processor_type": "Gemma3ImageProcessor",
            "size": {"height": 16, "width": 16},
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "resample": 2,
        },
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def _write_vocabulary(path: Path) -> None:
    """Writes a tokenizer.json of Gemma's kind, trained on the prompts themselves."""
    texts = [
        LISTED,
        DESCRIBED,
        SUMMED,
        SUMMARY_QUESTION,
        "You are an expert radiologist.\n\nuser model",
        "0123456789[]<>/,.:;?*-_()",
    ]
    for case in (a_case(), a_case((an_image(), an_image()), (a_prior(),))):
        plan = report_plan(case)
        texts += [plan.findings_question, plan.report_question]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
        max_token_length=12,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))

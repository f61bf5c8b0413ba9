"""Builds small models and vocabularies for the tests of CXR-LLaVA."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

from inference.engines.cxr_llava.loading import save_model
from inference.engines.cxr_llava.model import CXRLLaVA, CXRLLaVAConfig
from inference.engines.cxr_llava.preprocess import pixel_values
from inference.engines.cxr_llava.prompts import (
    DIFFERENTIAL_QUESTION,
    REPORT_QUESTION,
    first_question,
    render,
)
from inference.engines.cxr_llava.tokens import open_vocabulary
from inference.engines.cxr_llava.verify import with_places
from tests.inference.small import VECTORS, an_image

TINY = VECTORS / "cxr-llava-tiny"
VOCABULARY_SIZE = 320
"""Of the tiny model, and of the vocabularies written here."""

SMALL = CXRLLaVAConfig(
    image_size_px=32,
    vision_width=32,
    vision_layers=1,
    vision_head_width=16,
    vision_mlp_width=64,
    vision_embedding_width=8,
    text_width=96,
    text_layers=2,
    text_heads=4,
    text_key_value_heads=4,
    text_head_width=24,
    text_mlp_width=192,
    vocabulary_size=VOCABULARY_SIZE,
    positions_max=512,
)

REPORTED = "The heart is enlarged. There is a new 3 cm left pleural effusion. No pneumothorax."
DIFFERENTIAL = "Heart failure."
"""What the taught model answers to the two questions."""


def golden() -> dict[str, Tensor]:
    """Reads what the reference classes answered; ids have one place for each row of the image."""
    tensors = load_file(TINY / "golden.safetensors")
    place_count = tensors["vision_features"].shape[1]
    return tensors | {"input_ids": with_places(tensors["input_ids"], place_count)}


def conversations() -> dict[str, dict]:
    """Reads the conversations that the reference code rendered, by their names."""
    cases = json.loads((VECTORS / "cxr-llava-prompts.json").read_text())["cases"]
    return {case["name"]: case for case in cases}


def write_vocabulary(folder: Path, size: int = VOCABULARY_SIZE) -> None:
    """Writes a tokenizer.json of the "prepend ▁, replace spaces" style, trained on the prompts themselves."""
    questions = [first_question(REPORT_QUESTION), DIFFERENTIAL_QUESTION, first_question("Is there edema?")]
    texts = [*render(questions, [REPORTED, DIFFERENTIAL]).splitlines(keepends=True), "0123456789<>/[]\n"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # As in LLaMA's own vocabulary, no piece reaches over a space, so a prompt's ids begin the conversation's.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False, max_token_length=12
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_taught(folder: Path) -> None:
    """Writes a small model, with all that the engine wants beside it, that says its lesson by heart."""
    write_vocabulary(folder)
    save_model(_teach(folder), folder)
    (folder / "tokenizer_config.json").write_text('{"legacy": false}')
    (folder / "model_card.json").write_text('{"name": "a model for tests", "is_demo": true}')


def _teach(folder: Path) -> CXRLLaVA:
    torch.manual_seed(5)
    model = CXRLLaVA(SMALL).train()
    for parameter in model.vision_tower.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    (folder / "tokenizer_config.json").write_text('{"legacy": false}')
    vocabulary = open_vocabulary(folder, SMALL)
    questions, answers = [first_question(REPORT_QUESTION), DIFFERENTIAL_QUESTION], [REPORTED, DIFFERENTIAL]
    ids = torch.tensor([vocabulary.ids(render(questions, answers))])  # (1, T)
    wanted = torch.zeros_like(ids, dtype=torch.bool)  # (1, T), where an answer stands
    for turn in range(2):
        start = len(vocabulary.ids(render(questions[: turn + 1], answers[:turn])))
        end = len(vocabulary.ids(render(questions[: turn + 1], answers[: turn + 1])))
        wanted[0, start:end] = True
    pixels = pixel_values(an_image().pixels, SMALL)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        logits = model(pixels, ids)[:, :-1]  # (1, T - 1, W)
        loss = functional.cross_entropy(logits[wanted[:, 1:]], ids[:, 1:][wanted[:, 1:]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break
    return model.eval()

"""MedGemma as a talk needs it: images become rows, a conversation becomes ids, and a question gets its answer.

The network is transformers' own. What is done here by hand is what `generate` would do, so that an image is
looked at once, a question computes only what is new in it, and decoding is the loop of every engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import PIL.Image
import torch
from torch import Tensor
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor
from transformers.cache_utils import Cache, DynamicCache

from inference.case import Image
from inference.engines.decoding import continued, passes, until_end
from inference.engines.m4cxr.preprocess import grey_levels
from inference.engines.medgemma.prompts import END_OF_TURN, messages


@dataclass(frozen=True, slots=True, eq=False)
class MedGemma:
    """A network with the processor that belongs to it."""

    network: Gemma3ForConditionalGeneration
    processor: Gemma3Processor

    @property
    def end_id(self) -> int:
        """Of the token that ends a turn."""
        return int(self.processor.tokenizer.convert_tokens_to_ids(END_OF_TURN))

    @property
    def positions_max(self) -> int:
        """The longest conversation, in tokens."""
        return int(self.network.config.get_text_config().max_position_embeddings)

    def render(self, questions: Sequence[str], answers: Sequence[str]) -> str:
        """Writes a conversation by the chat template, up to where the model's next answer begins."""
        rendered: str = self.processor.apply_chat_template(
            messages(questions, answers), add_generation_prompt=True, tokenize=False
        )
        return rendered

    def ids(self, rendered: str) -> list[int]:
        """Gives the ids of a rendered conversation, with all the places of each image."""
        text = rendered.replace(self.processor.boi_token, self.processor.full_image_sequence)
        return list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Gives the text of ids, special tokens left out."""
        tokenizer = self.processor.tokenizer
        text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def pixels(self, image: Image) -> Tensor:
        """Gives an image as the vision encoder takes it, (1, 3, side, side): grey in three channels, made square."""
        picture = PIL.Image.fromarray(grey_levels(image.pixels)).convert("RGB")
        # Crops would take places of their own in the conversation, and were not asked for by the publisher.
        made = self.processor.image_processor(picture, do_pan_and_scan=False, return_tensors="pt")
        values: Tensor = made["pixel_values"].to(self.network.device, self.network.dtype)
        return values

    def look(self, pixels: Tensor) -> Tensor:
        """Gives what stands for an image in a conversation, (Q, H): 256 rows in the published model."""
        rows: Tensor = self.network.get_image_features(pixels).pooler_output[0]
        return rows

    def is_place(self, ids: Tensor) -> Tensor:
        """Tells which ids are places of images."""
        places: Tensor = ids == self.network.config.image_token_id
        return places

    def embed(self, input_ids: Tensor, rows: Tensor | None) -> Tensor:
        """Gives the embeddings (B, T, H) of ids (B, T); `rows` fill places of images, None where there are none."""
        embeddings: Tensor = self.network.get_input_embeddings()(input_ids)
        if rows is None:
            return embeddings
        return embeddings.masked_scatter(self.is_place(input_ids)[..., None], rows.to(embeddings.dtype))

    def logits(
        self,
        embeddings: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int = 0,
        places: Tensor | None = None,
    ) -> Tensor:
        """Gives the logits (B, T or logits_to_keep, W) of embeddings (B, T, H) that follow what the cache holds.

        Args:
            places: (B, T), which of them are places of images: those of one image see one another. None without any.
        """
        logits: Tensor = self.network(
            inputs_embeds=embeddings,
            token_type_ids=None if places is None else places.long(),
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=logits_to_keep,
        ).logits
        # Two tokens end an answer, <eos> and the end of a turn, and the decoding loop knows one: they become one.
        ends = [self.end_id, self.processor.tokenizer.eos_token_id]
        logits[..., self.end_id] = logits[..., ends].amax(-1)
        return logits


@dataclass(eq=False)
class Talk:
    """A conversation about one set of images; a question computes only what was not computed for the last one.

    Attributes:
        rows: the images as the text sees them, (N, Q, H), in the order of their places.
    """

    model: MedGemma
    rows: Tensor
    _cache: DynamicCache = field(init=False)
    _cached_ids: list[int] = field(init=False, default_factory=list)

    def answer(self, ids: list[int], tokens_max: int) -> list[int]:
        """Answers a whole conversation, given as `MedGemma.ids` gives it.

        Returns:
            New ids; the last one is `model.end_id` unless `tokens_max` cut the answer.
        """
        logits = self.read(ids)
        end_id = self.model.end_id
        step = passes(self.model, self._cache)
        new_ids = continued(step, logits, tokens_max=tokens_max, end_id=end_id)
        answer = until_end(new_ids[0], end_id)
        # The last new id was chosen but never read by the model, so the cache ends before it.
        self._cached_ids = [*ids, *answer[:-1]]
        return answer

    def read(self, ids: list[int]) -> Tensor:
        """Reads a whole conversation up to where an answer begins; gives the logits (1, W) of its first token."""
        if not self._continues(ids):
            self._cache, self._cached_ids = DynamicCache(config=self.model.network.config), []
        rest = torch.tensor([ids[len(self._cached_ids) :]], device=self.rows.device)  # (1, T)
        places = self.model.is_place(rest)  # (1, T)
        if places.any():
            assert int(places.sum()) == self.rows.shape[:2].numel()
            embeddings = self.model.embed(rest, self.rows)  # (1, T, H)
        else:
            embeddings, places = self.model.embed(rest, None), None
        self._cached_ids = list(ids)
        return self.model.logits(embeddings, cache=self._cache, logits_to_keep=1, places=places)[:, -1]

    def _continues(self, ids: list[int]) -> bool:
        """Tells whether `ids` go on from all that the cache holds.

        They do not where the last answer, read again as text, becomes other tokens than the model chose. Then all
        is computed anew: a sliding window has forgotten what a shortened cache would need.
        """
        held = len(self._cached_ids)
        return 0 < held < len(ids) and ids[:held] == self._cached_ids

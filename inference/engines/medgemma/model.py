"""MedGemma as a talk needs it: images become rows, a conversation becomes ids, and ids become logits.

The network is transformers' own. What is done here by hand is what `generate` would do, so that an image is
looked at once, a question computes only what is new in it, and decoding is the loop of every engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image
from torch import Tensor
from torch.nn import functional
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor
from transformers.cache_utils import Cache, DynamicCache

from inference.case import Image
from inference.engines.decoding import positions_of
from inference.engines.m4cxr.preprocess import grey_levels
from inference.engines.medgemma.prompts import END_OF_TURN, messages
from inference.engines.stepping import Gemma3Steps, Layers


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
    def image_marker(self) -> int:
        """Stands in a prompt at each place where a row of an image goes."""
        return int(self.network.config.image_token_id)

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

    def new_cache(self) -> DynamicCache:
        """Makes an empty cache for one conversation.

        It keeps all that it is given, for layers that look through a window, too: what a window had let go
        could not be gone back to.
        """
        return DynamicCache()

    def embed(self, input_ids: Tensor, rows: Tensor | None) -> Tensor:
        """Gives the embeddings (B, T, H) of ids (B, T); `rows` fill places of images, None where there are none."""
        embeddings: Tensor = self.network.get_input_embeddings()(input_ids)
        if rows is None:
            return embeddings
        is_image = input_ids == self.image_marker  # (B, T)
        return embeddings.masked_scatter(is_image[..., None], rows.to(embeddings.dtype))

    def read_on(self, ids: Tensor, rows: Tensor | None, cache: DynamicCache) -> Tensor:
        """Reads ids (1, T) behind what the cache holds; see `Converser.read_on`."""
        is_image = None if rows is None else ids == self.image_marker  # (1, T)
        return self.logits(self.embed(ids, rows), None, cache, logits_to_keep=1, is_image=is_image)[:, -1]

    def logits(
        self,
        embeddings: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int = 0,
        is_image: Tensor | None = None,
    ) -> Tensor:
        """Gives the logits (B, T or logits_to_keep, W) of embeddings (B, T, H) that follow what the cache holds.

        Args:
            attention_mask: (B, T already cached + T), 0 for padding on the left, or None where all counts.
            is_image: (B, T), the places of images: those of one image see one another. None without any.
        """
        kinds = None
        if is_image is not None:
            # transformers counts them from the beginning of the conversation, which the cache may hold.
            cached = 0 if cache is None else cache.get_seq_length()
            kinds = functional.pad(is_image.long(), (cached, 0))  # (B, cached + T)
        logits: Tensor = self.network(
            inputs_embeds=embeddings,
            token_type_ids=kinds,
            attention_mask=attention_mask,
            position_ids=positions_of(attention_mask, embeddings.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=logits_to_keep,
        ).logits
        return self._with_one_end(logits)

    def steps(self, layers: Layers, mask: Tensor) -> Gemma3Steps:
        """Makes the step that says the tokens of answers; see `Converser.steps`."""

        def head(hidden: Tensor) -> Tensor:
            return self._with_one_end(self.network.lm_head(hidden))

        return Gemma3Steps(self.network.model.language_model, head, layers, mask)

    def _with_one_end(self, logits: Tensor) -> Tensor:
        """Two tokens end an answer, <eos> and the end of a turn, and the decoding loop knows one: they become one."""
        end_id, eos_id = self.end_id, self.processor.tokenizer.eos_token_id
        logits[..., end_id] = logits[..., [end_id, eos_id]].amax(-1)
        # Equal to it, <eos> would be chosen, whose id is the smaller one, and no answer would end.
        logits[..., eos_id] = logits.amin(-1)
        return logits

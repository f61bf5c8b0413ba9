"""CXR-LLaVA's forward pass, top to bottom: pixels and token ids go in, logits come out.

    pixels (N, 1, S, S) ── vision_tower ──> (N, P, V) ── mm_projector ──> (N, P, H) ─┐
                                                                                     ├─> llama ── lm_head
    token ids (B, T) ── embed_tokens ──> (B, T, H) ──────────────────────────────────┘

Shapes: N images, S image side in pixels, P patches (each takes one place in the text), V vision width, B
conversations, T tokens, H text width, W vocabulary. The modules carry the published names, so that every tensor
finds its place as it is called.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel
from transformers.cache_utils import Cache, DynamicCache

from inference.engines.decoding import positions_of
from inference.engines.stepping import Decoder, Layers, Steps

IMAGE_MARKER = -200
"""Token id of a place where a row of an image goes; no vocabulary has it. Upstream takes the same number."""

_VISION_EPSILON = 1e-5
"""Of all LayerNorms of the vision tower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CXRLLaVAConfig:
    """The dimensions of one CXR-LLaVA; the defaults are those of the published model, version 2.

    Attributes:
        image_size_px: side of the square that the model sees; a multiple of `patch_size_px`.
        pixel_mean, pixel_spread: of the training images' grey levels, on a scale of 0 to 1.
        vision_embedding_width: of the projection that the vision tower was trained with and that is not used.
        positions_max: tokens of the longest conversation, image places included.
    """

    image_size_px: int = 512
    patch_size_px: int = 16
    pixel_mean: float = 0.5518136078431373
    pixel_spread: float = 0.3821719215686275
    vision_width: int = 1024
    vision_layers: int = 24
    vision_head_width: int = 64
    vision_mlp_width: int = 4096
    vision_embedding_width: int = 128
    text_width: int = 4096
    text_layers: int = 32
    text_heads: int = 32
    text_key_value_heads: int = 32
    text_head_width: int = 128
    text_mlp_width: int = 11008
    text_norm_epsilon: float = 1e-5
    rope_theta: float = 1e4
    vocabulary_size: int = 32000
    positions_max: int = 4096
    begin_id: int = 1
    end_id: int = 2

    def __post_init__(self) -> None:
        if self.image_size_px % self.patch_size_px:
            raise ValueError(
                f"image size {self.image_size_px} is no multiple of patch size {self.patch_size_px}"
            )
        if self.vision_width % self.vision_head_width:
            raise ValueError(
                f"vision width {self.vision_width} is no multiple of head width {self.vision_head_width}"
            )

    @property
    def patch_count(self) -> int:
        """Patches of one image, and the places that it takes in the text."""
        return (self.image_size_px // self.patch_size_px) ** 2


def text_config(config: CXRLLaVAConfig) -> LlamaConfig:
    """Says the language model's dimensions in the words of transformers."""
    return LlamaConfig(
        vocab_size=config.vocabulary_size,
        hidden_size=config.text_width,
        intermediate_size=config.text_mlp_width,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        num_key_value_heads=config.text_key_value_heads,
        head_dim=config.text_head_width,
        hidden_act="silu",
        max_position_embeddings=config.positions_max,
        rms_norm_eps=config.text_norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        attention_bias=False,
        attention_dropout=0.0,
        mlp_bias=False,
        tie_word_embeddings=False,
        bos_token_id=config.begin_id,
        eos_token_id=config.end_id,
        pad_token_id=None,
        attn_implementation="sdpa",
    )


class Attention(nn.Module):
    """Self-attention of every patch to every patch; query, key and value come from one matrix, in this order."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.linear(x, self.in_proj_weight, self.in_proj_bias)  # (N, T, 3 V)
        x = x.unflatten(2, (3, -1, self.head_width))  # (N, T, 3, heads, V / heads)
        query, key, value = x.permute(2, 0, 3, 1, 4)  # (N, heads, T, V / heads) each
        x = functional.scaled_dot_product_attention(query, key, value)  # (N, heads, T, V / heads)
        return self.out_proj(x.transpose(1, 2).flatten(2))  # (N, T, V)


class Block(nn.Module):
    """One layer of the vision tower: attention, then an MLP with the exact GELU, each after its LayerNorm."""

    def __init__(self, config: CXRLLaVAConfig) -> None:
        super().__init__()
        width = config.vision_width
        self.ln_1 = nn.LayerNorm(width, eps=_VISION_EPSILON)
        self.attn = Attention(width, config.vision_head_width)
        self.ln_2 = nn.LayerNorm(width, eps=_VISION_EPSILON)
        self.mlp = nn.Sequential(
            OrderedDict[str, nn.Module](
                c_fc=nn.Linear(width, config.vision_mlp_width),
                gelu=nn.GELU(approximate="none"),
                c_proj=nn.Linear(config.vision_mlp_width, width),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))  # (N, T, V)
        return x + self.mlp(self.ln_2(x))  # (N, T, V)


class Blocks(nn.Module):
    """The layers of the vision tower, under the name that the checkpoint has for them."""

    def __init__(self, config: CXRLLaVAConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config) for _ in range(config.vision_layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resblocks:
            x = block(x)  # (N, T, V)
        return x


class VisionTower(nn.Module):
    """A vision transformer of CLIP's kind for one grey channel."""

    def __init__(self, config: CXRLLaVAConfig) -> None:
        super().__init__()
        width, patch_size_px = config.vision_width, config.patch_size_px
        self.conv1 = nn.Conv2d(1, width, patch_size_px, stride=patch_size_px, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + config.patch_count, width))
        self.ln_pre = nn.LayerNorm(width, eps=_VISION_EPSILON)
        self.transformer = Blocks(config)
        self.ln_post = nn.LayerNorm(width, eps=_VISION_EPSILON)
        # In the checkpoint, from the tower's own training against texts; here nothing is computed with it.
        self.proj = nn.Parameter(torch.zeros(width, config.vision_embedding_width))

    def embed(self, pixel_values: Tensor) -> Tensor:
        """Cuts images (N, 1, S, S) into patches, row by row, the class token before them: (N, 1 + P, V)."""
        patches = self.conv1(pixel_values).flatten(2).transpose(1, 2)  # (N, P, V)
        class_token = self.class_embedding.expand(len(patches), 1, -1)  # (N, 1, V)
        x = torch.cat([class_token, patches], dim=1) + self.positional_embedding  # (N, 1 + P, V)
        return self.ln_pre(x)  # (N, 1 + P, V)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.transformer(self.embed(pixel_values))  # (N, 1 + P, V)
        return self.ln_post(x)[:, 1:]  # (N, P, V)


class CXRLLaVA(nn.Module):
    """Vision tower, projector and language model, joined by putting image rows among word embeddings."""

    def __init__(self, config: CXRLLaVAConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = VisionTower(config)
        self.mm_projector = nn.Linear(config.vision_width, config.text_width)
        self.llama = LlamaModel(text_config(config))
        self.lm_head = nn.Linear(config.text_width, config.vocabulary_size, bias=False)

    @property
    def image_marker(self) -> int:
        """Stands in a prompt at each place where a row of an image goes."""
        return IMAGE_MARKER

    @property
    def end_id(self) -> int:
        """Of the token that ends an answer."""
        return self.config.end_id

    @property
    def decoder(self) -> Decoder:
        """The language model by its parts, for the tokens of an answer."""
        return Decoder(self.llama, self.lm_head)

    def new_cache(self) -> DynamicCache:
        """Makes an empty cache for one conversation."""
        return DynamicCache(config=text_config(self.config))

    def read_on(self, ids: Tensor, rows: Tensor | None, cache: DynamicCache) -> Tensor:
        """Reads ids (1, T) behind what the cache holds; see `Converser.read_on`."""
        return self.logits(self.embed(ids, rows), None, cache, logits_to_keep=1)[:, -1]  # (1, W)

    def steps(self, layers: Layers, mask: Tensor) -> Steps:
        """Makes the step that says the tokens of answers; see `Converser.steps`."""
        return Steps(self.decoder, layers, mask)

    def vision_features(self, pixel_values: Tensor) -> Tensor:
        """Looks at images: pixel_values (N, 1, S, S) give (N, P, V), patches row by row, no class token."""
        return self.vision_tower(pixel_values.to(self.mm_projector.weight.dtype))

    def image_rows(self, pixel_values: Tensor) -> Tensor:
        """Turns images (N, 1, S, S) into what stands for them in the text, (N, P, H)."""
        return self.mm_projector(self.vision_features(pixel_values))

    def embed(self, input_ids: Tensor, rows: Tensor | None) -> Tensor:
        """Embeds text (B, T) and fills its image places with `rows` (N, P, H), in order through the batch.

        Returns:
            (B, T, H).

        Raises:
            ValueError: if there are more or fewer places than image rows.
        """
        is_image = input_ids == IMAGE_MARKER  # (B, T)
        place_count = int(is_image.sum())
        row_count = 0 if rows is None else rows.shape[0] * rows.shape[1]
        if place_count != row_count:
            raise ValueError(f"the text has {place_count} places for rows of images, not {row_count}")
        embeddings = self.llama.embed_tokens(input_ids.clamp(min=0))  # (B, T, H)
        if rows is None:
            return embeddings
        return embeddings.masked_scatter(is_image.unsqueeze(2), rows.to(embeddings.dtype))  # (B, T, H)

    def forward(self, pixel_values: Tensor | None, input_ids: Tensor) -> Tensor:
        """Gives the logits (B, T, W) of whole conversations.

        Args:
            pixel_values: (N, 1, S, S), all images of the batch in the order of their places, or None.
            input_ids: (B, T), IMAGE_MARKER at each of an image's places.
        """
        rows = None if pixel_values is None else self.image_rows(pixel_values)  # (N, P, H)
        return self.logits(self.embed(input_ids, rows))  # (B, T, W)

    def logits(
        self,
        embeddings: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """Runs the language model over embeddings (B, T, H).

        Args:
            attention_mask: (B, T already cached + T), 0 for padding, or None where all counts.
            cache: keys and values of what came before, T already cached; it grows by T.
            logits_to_keep: only that many last places are worked out; 0 for all.

        Returns:
            (B, T or logits_to_keep, W).
        """
        hidden = self.llama(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions_of(attention_mask, embeddings.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state  # (B, T, H)
        # Contiguous, or torch copies the output layer for the sum.
        return self.lm_head(hidden[:, -logits_to_keep:].contiguous())  # (B, T or logits_to_keep, W)

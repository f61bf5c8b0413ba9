"""M4CXR's forward pass, top to bottom: pixels and token ids go in, logits come out.

    pixels (N, 3, S, S) ── vision_model ──> (N, P, V) ── abstractor ──> (N, Q, H) ─┐
                                                                                   ├─> language_model
    token ids (B, T) ── embed_tokens ──> (B, T, H) ────────────────────────────────┘

Shapes: N images, S image side in pixels, P patches, V vision width, C abstractor width, Q places that one
image takes in the text, B conversations, T tokens, H text width, W vocabulary. The modules carry the
published names, `vision_model`, `abstractor` and `language_model`, so its tensors find their places.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model, MistralConfig, MistralForCausalLM
from transformers.cache_utils import Cache, DynamicCache

from inference.engines.decoding import positions_of
from inference.engines.stepping import Decoder, Layers, Steps

IMAGE_MARKER = -1
"""Token id of a place where a row of an image goes; no vocabulary has it."""

IGNORED_LABEL = -100
"""Label of a place that training does not ask for."""

_ABSTRACTOR_EPSILON = 1e-5
"""Of the abstractor's LayerNorms. The more usual 1e-6 moves the tiny model's image rows by 0.07."""


@dataclass(frozen=True, slots=True, kw_only=True)
class M4CXRConfig:
    """The dimensions of one M4CXR; the defaults are those of the published model.

    Attributes:
        image_size_px: side of the square that the model sees; a multiple of `patch_size_px`.
        query_count: places that one image takes in the text; a square number.
        abstractor_depth: residual blocks before and again after the pooling.
        readout_depth: linear layers from the abstractor's width to the text's.
        positions_max: tokens of the longest conversation, image places included.
    """

    image_size_px: int = 518
    patch_size_px: int = 14
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    vision_mlp_ratio: int = 4
    vision_norm_epsilon: float = 1e-6
    abstractor_width: int = 1024
    abstractor_depth: int = 3
    readout_depth: int = 2
    query_count: int = 361
    text_width: int = 4096
    text_layers: int = 32
    text_heads: int = 32
    text_key_value_heads: int = 8
    text_head_width: int = 128
    text_mlp_width: int = 14336
    text_norm_epsilon: float = 1e-5
    rope_theta: float = 1e6
    vocabulary_size: int = 32000
    positions_max: int = 32768
    begin_id: int = 1
    end_id: int = 2

    def __post_init__(self) -> None:
        if self.image_size_px % self.patch_size_px:
            raise ValueError(
                f"image size {self.image_size_px} is no multiple of patch size {self.patch_size_px}"
            )
        if math.isqrt(self.query_count) ** 2 != self.query_count:
            raise ValueError(f"{self.query_count} image places are no square grid")
        if self.query_count > self.patch_grid**2:
            raise ValueError(
                f"{self.query_count} image places are more than the {self.patch_grid**2} patches of an image"
            )

    @property
    def patch_grid(self) -> int:
        """Patches along one side."""
        return self.image_size_px // self.patch_size_px

    @property
    def query_grid(self) -> int:
        """Image places along one side."""
        return math.isqrt(self.query_count)


def vision_config(config: M4CXRConfig) -> Dinov2Config:
    """Says the vision encoder's dimensions in the words of transformers."""
    return Dinov2Config(
        hidden_size=config.vision_width,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=config.vision_heads,
        mlp_ratio=config.vision_mlp_ratio,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=config.vision_norm_epsilon,
        image_size=config.image_size_px,
        patch_size=config.patch_size_px,
        num_channels=3,
        qkv_bias=True,
        layerscale_value=1.0,
        drop_path_rate=0.0,
        use_swiglu_ffn=False,
        use_mask_token=True,
        attn_implementation="sdpa",
    )


def text_config(config: M4CXRConfig) -> MistralConfig:
    """Says the language model's dimensions in the words of transformers."""
    return MistralConfig(
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
        sliding_window=None,
        attention_dropout=0.0,
        tie_word_embeddings=False,
        bos_token_id=config.begin_id,
        eos_token_id=config.end_id,
        pad_token_id=None,
        attn_implementation="sdpa",
    )


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels at every pixel; the checkpoint calls it `bn`, though it knows no batch."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_ABSTRACTOR_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (N, h, w, C)
        x = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # (N, C, h, w)


class ConvolutionNorm(nn.Module):
    """A convolution without bias, then ChannelNorm, then SiLU if asked."""

    def __init__(
        self, channels_in: int, channels: int, *, side: int, groups: int = 1, is_active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, side, padding=side // 2, groups=groups, bias=False)
        self.bn = ChannelNorm(channels)
        self.is_active = is_active

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))  # (N, C, h, w)
        return functional.silu(x) if self.is_active else x


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what the whole picture says."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        weight = functional.silu(self.fc1(weight))  # (N, squeezed, 1, 1)
        return x * torch.sigmoid(self.fc2(weight))  # (N, C, h, w)


class ResidualBlock(nn.Module):
    """A RegNet bottleneck with squeeze-and-excitation."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvolutionNorm(channels_in, channels, side=1)
        self.conv2 = ConvolutionNorm(channels, channels, side=3, groups=channels)
        # A quarter of the width that comes IN, not of the block's own: 192 in the first block, 256 after it.
        self.se = SqueezeExcitation(channels, round(0.25 * channels_in))
        self.conv3 = ConvolutionNorm(channels, channels, side=1, is_active=False)
        self.downsample: nn.Module | None = None
        if channels_in != channels:
            self.downsample = ConvolutionNorm(channels_in, channels, side=1, is_active=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)  # (N, C, h, w)
        x = self.conv2(self.conv1(x))  # (N, C, h, w)
        x = self.conv3(self.se(x))  # (N, C, h, w)
        return functional.silu(x + shortcut)  # (N, C, h, w)


def _stage(channels_in: int, channels: int, depth: int) -> nn.Sequential:
    widths = [channels_in] + [channels] * (depth - 1)
    blocks = [(f"b{number}", ResidualBlock(width, channels)) for number, width in enumerate(widths, start=1)]
    return nn.Sequential(OrderedDict(blocks))


class Abstractor(nn.Module):
    """Honeybee's C-Abstractor: patches become fewer rows, as wide as the text, their neighbourhood kept."""

    def __init__(self, config: M4CXRConfig) -> None:
        super().__init__()
        width = config.abstractor_width
        self.patch_grid = config.patch_grid
        self.pos_emb = nn.Parameter(torch.zeros(1, config.patch_grid**2, config.vision_width))
        self.net = nn.Sequential(
            _stage(config.vision_width, width, config.abstractor_depth),
            nn.AdaptiveAvgPool2d(config.query_grid),
            _stage(width, width, config.abstractor_depth),
        )
        readout: list[nn.Module] = [nn.Linear(width, config.text_width)]
        for _ in range(config.readout_depth - 1):
            readout += [nn.SiLU(), nn.Linear(config.text_width, config.text_width)]
        self.readout = nn.Sequential(*readout)

    def forward(self, features: Tensor) -> Tensor:
        x = features + self.pos_emb  # (N, P, V)
        x = x.transpose(1, 2).unflatten(2, (self.patch_grid, self.patch_grid))  # (N, V, g, g)
        x = self.net(x)  # (N, C, √Q, √Q)
        x = x.flatten(2).transpose(1, 2)  # (N, Q, C)
        return self.readout(x)  # (N, Q, H)


class M4CXR(nn.Module):
    """Vision encoder, abstractor and language model, joined by putting image rows among word embeddings."""

    def __init__(self, config: M4CXRConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = Dinov2Model(vision_config(config))
        self.abstractor = Abstractor(config)
        self.language_model = MistralForCausalLM(text_config(config))

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
        return Decoder(self.language_model.model, self.language_model.lm_head)

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
        """Looks at images: pixel_values (N, 3, S, S) give (N, P, V), patches row by row, CLS left out.

        The encoder's own output is taken, not `last_hidden_state` of the whole vision model: the final
        LayerNorm was never trained with what follows and shifts the result by about 1.
        """
        pixel_values = pixel_values.to(self.abstractor.pos_emb.dtype)
        embedded = self.vision_model.embeddings(pixel_values)  # (N, 1 + P, V)
        encoded = self.vision_model.encoder(embedded).last_hidden_state  # (N, 1 + P, V)
        return encoded[:, 1:]  # (N, P, V)

    def image_rows(self, pixel_values: Tensor) -> Tensor:
        """Turns images (N, 3, S, S) into what stands for them in the text, (N, Q, H)."""
        return self.abstractor(self.vision_features(pixel_values))

    def embed(self, input_ids: Tensor, rows: Tensor | None) -> Tensor:
        """Embeds text (B, T) and fills its image places with `rows` (N, Q, H), in order through the batch.

        Returns:
            (B, T, H).

        Raises:
            ValueError: if there are more or fewer places than image rows.
        """
        is_image = input_ids == IMAGE_MARKER  # (B, T)
        place_count = int(is_image.sum())
        row_count = 0 if rows is None else rows.shape[0] * rows.shape[1]
        if place_count != row_count:
            per_image = self.config.query_count
            raise ValueError(
                f"the text has places for {place_count / per_image:g} images, not {row_count / per_image:g}"
            )
        embeddings = self.language_model.model.embed_tokens(input_ids.clamp(min=0))  # (B, T, H)
        if rows is None:
            return embeddings
        return embeddings.masked_scatter(is_image.unsqueeze(2), rows.to(embeddings.dtype))  # (B, T, H)

    def forward(
        self, pixel_values: Tensor | None, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Gives the logits (B, T, W) of whole conversations.

        Args:
            pixel_values: (N, 3, S, S), all images of the batch in the order of their places, or None.
            input_ids: (B, T), IMAGE_MARKER at each of an image's `query_count` places.
            attention_mask: (B, T), 1 for what counts and 0 for padding on either side; None: all counts.
        """
        rows = None if pixel_values is None else self.image_rows(pixel_values)  # (N, Q, H)
        return self.logits(self.embed(input_ids, rows), attention_mask)  # (B, T, W)

    def logits(
        self,
        embeddings: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """Runs the language model over embeddings (B, T, H).

        Args:
            attention_mask: (B, T already cached + T), or None where all counts.
            cache: keys and values of what came before, T already cached; it grows by T.
            logits_to_keep: only that many last places are worked out; 0 for all.

        Returns:
            (B, T or logits_to_keep, W).
        """
        hidden = self.language_model.model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions_of(attention_mask, embeddings.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state  # (B, T, H)
        # Contiguous, or torch copies the output layer once for each row: 3.4 GB for thirteen in the published model.
        return self.language_model.lm_head(hidden[:, -logits_to_keep:].contiguous())


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives the mean cross entropy of each place's prediction of the NEXT place's label, in float32.

    Args:
        logits: (B, T, W).
        labels: (B, T), the token ids themselves, not shifted; IGNORED_LABEL where nothing is asked.
    """
    predicted = logits[:, :-1].flatten(0, 1).float()  # (B (T - 1), W)
    return functional.cross_entropy(predicted, labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL)

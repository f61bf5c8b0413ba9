"""What can be said of a MedGemma's folder without reading a case with it."""

from pathlib import Path

from transformers import Gemma3Config

from inference.engines.medgemma.loading import load_model
from inference.engines.opening import Place
from inference.engines.selfcheck import OPENED, memory, stored_dtype, told
from inference.engines.stored import stored_tensors, weight_files
from inference.verdict import SelfCheck


def checks(
    folder: Path, adapter_folder: Path | None, place: Place, *, has_vocabulary: bool
) -> tuple[SelfCheck, ...]:
    """Looks at tensors, processor and memory. transformers reads the weights whole, so this takes their memory.

    Args:
        has_vocabulary: without one the folder does not open, and the line about it says so.
    """
    lines = [told("tensors, tokenizer and processor", lambda: _digest(folder))]
    if adapter_folder is not None:
        lines.append(
            SelfCheck(False, f"adapter: MedGemma takes none; leave adapter_folder out ({adapter_folder})")
        )
    lines.append(told("memory", lambda: _memory(folder, place)))
    return tuple(lines)


def _digest(folder: Path) -> str:
    loaded = load_model(folder, dtype=stored_dtype(weight_files(folder)[0]))
    return f"{OPENED}; {loaded.digest}"


def _memory(folder: Path, place: Place) -> str:
    tensors = stored_tensors(weight_files(folder), lambda names: {name: name for name in names})
    text = Gemma3Config.from_pretrained(folder, local_files_only=True).get_text_config()
    cache_values = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim
    return memory(tensors.values(), cache_values, place)

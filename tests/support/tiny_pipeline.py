"""A pipeline of FLUX.2 [klein]'s kind that nobody trained: a megabyte, drawn in a second on a CPU.

`python -m tests.support.tiny_pipeline FOLDER` writes it, in a process of its own: torch is not
loaded into the tests.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("diffusers") is None,
    reason="torch and diffusers are not installed: make test-local",
)
_ROOT = Path(__file__).parents[2]
# The text encoder's hidden states that the pipeline looks at are the 9th, 18th and 27th.
_LAYERS = 28
_WIDTH = 16
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] if m['content'] is string else m['content'][0]['text'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@functools.cache
def tiny_pipeline() -> Path:
    """Return its folder, made once per process."""
    folder = Path(tempfile.mkdtemp(prefix="ketchup-tiny-"))
    command = [sys.executable, "-m", "tests.support.tiny_pipeline", str(folder)]
    subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, timeout=120)
    return folder


def main(folder: str) -> None:
    import diffusers  # noqa: PLC0415 in this process alone
    import torch  # noqa: PLC0415 as above

    torch.manual_seed(0)
    diffusers.Flux2KleinPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        is_distilled=True,
        **_text(),
        transformer=diffusers.Flux2Transformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * _WIDTH,
            timestep_guidance_channels=256,
            axes_dims_rope=[4, 4, 4, 4],
            guidance_embeds=False,
        ),
        vae=diffusers.AutoencoderKLFlux2(
            sample_size=32,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
    ).save_pretrained(folder)


def _text() -> dict[str, object]:
    """Return an encoder and a tokenizer that knows bytes and nothing longer."""
    import tokenizers  # noqa: PLC0415 as above
    import transformers  # noqa: PLC0415 as above

    words = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = transformers.Qwen2TokenizerFast(
        vocab={word: place for place, word in enumerate(words)},
        merges=[],
        unk_token=None,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        model_max_length=512,
    )
    tokenizer.chat_template = _CHAT
    config = transformers.Qwen3Config(
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=len(words),
        max_position_embeddings=512,
    )
    return {"tokenizer": tokenizer, "text_encoder": transformers.Qwen3ForCausalLM(config)}


if __name__ == "__main__":
    main(sys.argv[1])

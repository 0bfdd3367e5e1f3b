"""The pipeline itself: the only module that imports torch and diffusers, and only in its process.

What a pipeline can do is read from the signature of its call, for there are a hundred of them and
more every month. Nothing is run that came with the weights: safetensors only, no code of theirs.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import diffusers
import torch
import transformers
from PIL import Image

from ketchup.providers.local_diffusers.drawing import Full, Stepped, file_of
from ketchup.providers.local_diffusers.messages import Abilities, Call, Picture, Weights

_MANY: Final = 14
# Each backend has a sentence of its own where it has no exception of its own.
_FULL: Final = ("out of memory", "can't allocate memory")


class DiffusersPipeline:
    """See `drawing.Pipeline`. Raises what diffusers raises when the weights cannot be loaded."""

    def __init__(self, weights: Weights) -> None:
        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        device = _device(weights.device)
        self._pipeline = diffusers.DiffusionPipeline.from_pretrained(
            weights.source,
            local_files_only=weights.is_folder,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=_dtype(weights.dtype, device),
        )
        self._pipeline.set_progress_bar_config(disable=True)
        self._takes = inspect.signature(type(self._pipeline).__call__).parameters
        self._constants = _constants(weights, self._takes)
        self.abilities = _abilities(self._takes)
        _place(self._pipeline, weights.offload, device)
        if weights.compile:
            _compile(self._pipeline)

    def draw(self, call: Call, stepped: Stepped) -> list[Picture]:
        """Call the pipeline once."""
        try:
            with torch.inference_mode():
                output = self._pipeline(**self._arguments(call, stepped))
        except (RuntimeError, MemoryError) as error:
            if not is_full(error):
                raise
            full = str(error)
        else:
            return _pictures(output, call)
        finally:
            # Offloading keeps what it moved to the device when a call ends half-way.
            self._pipeline.maybe_free_model_hooks()
        # Outside of the handler: its traceback holds the tensors that are to be freed.
        _free()
        raise Full(full)

    def _arguments(self, call: Call, stepped: Stepped) -> dict[str, Any]:
        def after_step(
            pipeline: Any,  # noqa: ANN401 diffusers has no type for it
            step: int,
            _timestep: object,
            tensors: dict[str, Any],
        ) -> dict[str, Any]:
            # Raising here ends the call at once, and the pipeline stays usable. Its own way to be
            # interrupted would still decode and return noise.
            stepped(min(1.0, (step + 1) / (getattr(pipeline, "num_timesteps", None) or step + 2)))
            return tensors

        arguments: dict[str, Any] = {
            **self._constants,
            "width": call.width,
            "height": call.height,
            # By keyword: the first argument of some pipelines is the image.
            "prompt": [sketch.prompt for sketch in call.sketches],
            # On the CPU, so that a seed means the same picture on every device.
            "generator": [
                torch.Generator("cpu").manual_seed(sketch.seed) for sketch in call.sketches
            ],
            "callback_on_step_end": after_step,
        }
        if call.references:
            images = [Image.open(BytesIO(data)).convert("RGB") for data in call.references]
            arguments["image"] = images if len(images) > 1 else images[0]
        if "negative_prompt" in arguments:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(call.sketches)
        if len(call.sketches) == 1:
            arguments["prompt"] = call.sketches[0].prompt
            arguments["generator"] = arguments["generator"][0]
        return {name: value for name, value in arguments.items() if name in self._takes}


def is_full(error: Exception) -> bool:
    """Say whether an error means that the device's memory, or the machine's, is full."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in str(error) for words in _FULL
    )


def _abilities(takes: Mapping[str, inspect.Parameter]) -> Abilities:
    image = takes.get("image")
    # A strength is what a single picture is redrawn with.
    most = 0 if image is None else 1 if "strength" in takes else _MANY
    return Abilities(
        references=most,
        needs_reference=image is not None and image.default is inspect.Parameter.empty,
        batches="generator" in takes,
    )


def _constants(weights: Weights, takes: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Return what the settings put into every call. Raises ValueError for what it does not take."""
    constants: dict[str, Any] = {}
    if weights.steps is not None:
        constants["num_inference_steps"] = weights.steps
    if weights.guidance is not None:
        constants |= _guidance(weights.guidance, takes)
    for name in constants:
        if name not in takes:
            raise ValueError(f"this pipeline takes no {name}: leave the setting out")
    return constants


def _guidance(scale: float, takes: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    true = takes.get("true_cfg_scale")
    # Qwen's pipelines are guided by this one, and only beside a negative prompt; Flux's have it
    # too, but switched off, at 1.
    if true is not None and true.default > 1:
        return {"true_cfg_scale": scale, "negative_prompt": " "}
    return {"guidance_scale": scale}


def _device(name: str) -> str:
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(name: str, device: str) -> torch.dtype:
    if name == "auto":
        name = "float32" if device == "cpu" else "bfloat16"
    return {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[name]


def _place(pipeline: Any, offload: str, device: str) -> None:  # noqa: ANN401 as above
    match offload:
        case "model":
            pipeline.enable_model_cpu_offload(device=device)
        case "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
        case _:
            pipeline.to(device)


def _compile(pipeline: Any) -> None:  # noqa: ANN401 as above
    """Compile what runs once per step; the first call of each size then takes a minute longer."""
    model = getattr(pipeline, "transformer", None) or pipeline.unet
    if getattr(model, "_repeated_blocks", None):
        model.compile_repeated_blocks()
    else:
        model.compile()


def _pictures(output: Any, call: Call) -> list[Picture]:  # noqa: ANN401 as above
    flags: Sequence[bool] = getattr(output, "nsfw_content_detected", None) or ()
    return [
        Picture(
            file_of(image, sketch.format),
            image.width,
            image.height,
            is_flagged=place < len(flags) and bool(flags[place]),
        )
        for place, (image, sketch) in enumerate(zip(output.images, call.sketches, strict=True))
    ]


def _free() -> None:
    """Give back what an ended call held, so that a smaller one finds room."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()

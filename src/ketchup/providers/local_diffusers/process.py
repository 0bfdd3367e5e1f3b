"""The pipeline's process, as the server sees it: started when needed, asked one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from ketchup.providers.base import Misconfigured, Unavailable
from ketchup.providers.local_diffusers.messages import (
    Abilities,
    Answer,
    Broken,
    Call,
    Drawn,
    Failed,
    OutOfMemory,
    Ready,
    Rehearsal,
    Step,
    Stopped,
    Unwanted,
    Weights,
)
from ketchup.providers.piped import Child

End = Drawn | Stopped | OutOfMemory | Failed

_NAME: Final = "the pipeline's process"
_MODULE: Final = "ketchup.providers.local_diffusers.worker"
# Where caches are, and which devices and libraries to use. No token is among them.
_KEEP: Final = (
    *("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "SSL_CERT_FILE"),
    *("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES"),
    *("LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"),
    *("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
)
_QUIET: Final = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Caches are at home, and so is the token of whoever logged in there.
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
}
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class Process:
    """At most one child. `grace`, in seconds, is how long an unwanted call may take to stop."""

    def __init__(self, weights: Weights | Rehearsal, *, grace: float) -> None:
        self._weights = weights
        self._grace = grace
        self._child: Child | None = None
        self._unwanted = asyncio.Event()
        self.abilities: Abilities | None = None
        """What the pipeline can do; None until it was loaded once."""

    @property
    def pid(self) -> int | None:
        """The system's name for it, while there is one."""
        return None if self._child is None else self._child.pid

    async def ready(self) -> Abilities:
        """Return once the pipeline is loaded. Raises Unavailable and Misconfigured."""
        if self._child is not None and self._child.alive and self.abilities is not None:
            return self.abilities
        await self.stop()
        offline = isinstance(self._weights, Weights) and not self._weights.is_folder
        self._child = await Child.start(
            _NAME, _MODULE, keep=_KEEP, add=_QUIET if offline else {**_QUIET, **_OFFLINE}
        )
        try:
            await self._child.send(msgspec.msgpack.encode(self._weights))
            self.abilities = await self._loaded(self._child)
        except BaseException:
            await self.stop()
            raise
        return self.abilities

    async def call(self, call: Call, step: Callable[[float], None]) -> End:
        """Make a call and tell of its steps. Raises Unavailable when the process dies."""
        assert self._child is not None  # noqa: S101 for the type checker: `ready` came before
        child = self._child
        self._unwanted.clear()
        ending = asyncio.create_task(self._end_unwanted(child, call.number))
        try:
            await child.send(msgspec.msgpack.encode(call))
            while isinstance(answer := await _answer(child), Step):
                step(answer.done)
        except BaseException:
            # Its answer would be read by the next call.
            await self.stop()
            raise
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        if isinstance(answer, Ready | Broken):
            raise msgspec.ValidationError("loaded twice")
        return answer

    def give_up(self) -> None:
        """Have the call that runs stop at its next step."""
        self._unwanted.set()

    async def stop(self) -> None:
        """End the process, if there is one, and wait until it is gone."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop()

    async def _loaded(self, child: Child) -> Abilities:
        match await _answer(child):
            case Ready(abilities):
                return abilities
            case Broken(error, is_final):
                reason = f"The pipeline cannot be loaded:\n{error}"
                raise Misconfigured(reason) if is_final else Unavailable(reason)
            case other:
                raise msgspec.ValidationError(f"not loaded, but {other}")

    async def _end_unwanted(self, child: Child, number: int) -> None:
        await self._unwanted.wait()
        with contextlib.suppress(Unavailable):
            await child.send(msgspec.msgpack.encode(Unwanted(number)))
        await asyncio.sleep(self._grace)
        child.kill()


async def _answer(child: Child) -> Answer:
    body = await child.receive()
    return msgspec.msgpack.decode(body, type=Answer)  # type: ignore[no-any-return] # a union

"""Studio: the built-in engine. It draws illustrations by rules; it is not an AI model.

A prompt is read for words it knows (`prompt`), a scene is composed from settings and subjects
(`compose`), written as SVG (`svg`) and rasterised (`raster`). Everything is deterministic: the same
prompt, seed, size and references give the same bytes, without network, keys or weights.

Rendering happens in processes of its own (`pool`, `worker`), because resvg holds the interpreter's
lock. Importing this package loads neither resvg nor Pillow.

    prompt -> Scene -> compose -> Stage (canvas + washes) -> raster -> PNG, JPEG or WebP

A style is the kind of canvas that the scene is painted on (`styles`, `finish`); watercolour is what
`raster` does at the end. A photograph from edge to edge is edited as pixels (`retouch`, `restyle`).
"""

from ketchup.providers.studio.provider import StudioProvider

__all__ = ["StudioProvider"]

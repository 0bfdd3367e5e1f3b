"""The settings: one module each, holding a `SETTING`.

A new module here is found by itself. It needs words, a horizon, a `near` rank among the others,
what lies under one's feet (`surface`), and `paint`; `backdrop` and `front` where it has more than
ground. Colours go through `stage.shade`, chance through `stage.stream`, and lengths are
`stage.unit`.
"""

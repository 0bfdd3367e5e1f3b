"""The subjects: one module each, holding a `SUBJECT`.

A new module here is found by itself. It needs words, a home, a colour, its size, and `draw`, which
paints with a `Pen` in a box 100 units high whose foot is (0, 0). Light, shadow, mirror image and
place are the caller's work.
"""

"""The two sizes of a window that pages are looked at in."""

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 390, "height": 844}

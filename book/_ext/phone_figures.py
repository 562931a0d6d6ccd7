"""Figures on a phone: none is shrunk so far that its letters cannot be read.

A figure is as wide as the page. On a phone that is half of what it was drawn for, and so are its
letters. Each SVG therefore lies in a frame that knows the width at which its smallest letters are
``READABLE``; ``custom.css`` gives the figure that width on narrow screens, and the frame scrolls
where it is more than the screen has. What would stick out by a little is shown whole, its smallest
letters that much smaller. Wide screens see no difference.
"""

import math
import re
from pathlib import Path

from docutils import nodes

READABLE = 8.0  # CSS pixels
SPARED = 1.1  # times the phone's width: a figure that needs no more is shown whole
PHONE = 375  # CSS pixels: what a frame is wide on a phone, where it reaches from edge to edge
WIDTH = re.compile(r'<svg [^>]*?width="([\d.]+)pt"')
# Letters as outlines are drawn 100 units high, and each text has a scale of its own; letters as
# text have a size.
OUTLINES = re.compile(r"scale\((0\.\d+) -0\.\d+\)")
TEXTS = re.compile(r"<text(?:>\s*<tspan)?[^>]*?font-size: ([\d.]+)px")


def letter_sizes(svg):
    """The sizes of the letters of an SVG by matplotlib, in points of its own width.

    Of a text with small print, as an exponent, the size of what is not.

    >>> letter_sizes('<g transform="translate(3 4) scale(0.11 -0.11)">')
    [11.0]
    >>> letter_sizes('<text style="font-size: 9px; text-anchor: end" x="4">a</text>')
    [9.0]
    """
    outlines = [100 * float(scale) for scale in OUTLINES.findall(svg)]
    return outlines + [float(size) for size in TEXTS.findall(svg)]


def least_width(svg):
    """How many CSS pixels wide the SVG is to be shown at least; 0 without letters.

    >>> least_width('<svg width="495pt"><g transform="scale(0.11 -0.11)"/></svg>')
    360
    >>> least_width('<svg width="550pt"><g transform="scale(0.11 -0.11)"/></svg>')  # not 400
    375
    """
    sizes = letter_sizes(svg)
    least = math.ceil(READABLE * float(WIDTH.search(svg)[1]) / min(sizes)) if sizes else 0
    return least if least > SPARED * PHONE else min(least, PHONE)


def add_frames(app, doctree, docname):
    """Put each figure that has a twin for dark pages, and the twin, into a frame."""
    for image in list(doctree.findall(nodes.image)):
        if "only-light" not in image["classes"]:
            continue
        least = least_width((Path(app.srcdir) / image["uri"].lstrip("/")).read_text("utf-8"))
        # The theme's script lets the keyboard reach an output that scrolls.
        kind = "output figure-frame" if "jupyter_execute/" in image["uri"] else "figure-frame"
        scrolls = kind == "figure-frame" and least > PHONE
        reached = ' tabindex="0" role="group" aria-label="Figure"' if scrolls else ""
        opened = f'<div class="{kind}" style="--least: {least}px"{reached}>'
        parent, at = image.parent, image.parent.index(image)
        parent.insert(at + 2, nodes.raw("", "</div>", format="html"))
        parent.insert(at, nodes.raw("", opened, format="html"))


def setup(app):
    # After dark_figures, which adds the twins.
    app.connect("doctree-resolved", add_frames, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

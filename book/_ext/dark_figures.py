"""Figures for dark pages: of each SVG a second one with dark ground and light ink.

A figure is drawn with dark ink on white. Its twin has every colour's lightness turned round and the
hue kept, so that "the blue line" is blue in both; white becomes the colour of a dark page. What is
rasterised inside it (a cloud of points, a heat map) is turned too, except in a figure of class
``pictures``: a photograph or a drawing stays what it is. The theme shows the one or the other
(``only-light``, ``only-dark``).
"""

import base64
import io
import re
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image

GROUND, INK = 0x12 / 255, 0xF0 / 255  # greys: the theme's dark page, the lightest that is used
STRONGER, ENOUGH = 1.45, 4.0  # on dark, contrasts are raised to this power, up to that contrast
WEIGHTS = np.array([0.2126, 0.7152, 0.0722])  # of the channels in luminance, as WCAG 2.2 has it
COLOR = re.compile(r"#[0-9a-fA-F]{6}\b")
RASTER = re.compile(r"(data:image/png;base64,)([^\"]+)")
TWIN = ".dark.svg"


def linear(rgb):
    """Channels as amounts of light: sRGB's curve undone."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def curved(light):
    """Amounts of light as sRGB's channels."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def contrast(a, b):
    """WCAG's contrast of two luminances.

    >>> float(contrast(0.0, 1.0))
    21.0
    """
    return (np.maximum(a, b) + 0.05) / (np.minimum(a, b) + 0.05)


def turned(rgb):
    """Colours that stand out from the dark ground as much as these do from white, or more.

    Black becomes the ink, white the ground, and a pale colour a dark one; a strong colour only has
    to be light enough. What must be lighter is mixed with white, what must be darker with black, so
    that hues stay.

    >>> (255 * turned(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))).round().astype(int).tolist()
    [[18, 18, 18], [240, 240, 240]]
    >>> red, green, blue = turned(np.array([0.0, 0.447, 0.698]))
    >>> bool(blue > green > red)
    True
    """
    light = linear(rgb)
    now = (light @ WEIGHTS)[..., None]
    stands_out = contrast(now, 1.0)
    stands_out = np.minimum(stands_out**STRONGER, np.maximum(stands_out, ENOUGH))
    wanted = np.minimum(stands_out * (linear(GROUND) + 0.05) - 0.05, linear(INK))
    # A strong colour need not be turned, only be light enough: orange would be brown.
    chroma = (rgb.max(-1) - rgb.min(-1))[..., None]
    strong = np.clip((chroma - 0.3) / 0.2, 0, 1)
    wanted += strong * (np.maximum(now, ENOUGH * (linear(GROUND) + 0.05) - 0.05) - wanted)
    lighter = light + (1 - light) * (wanted - now) / np.maximum(1 - now, 1e-9)
    darker = light * wanted / np.maximum(now, 1e-9)
    return np.clip(curved(np.where(wanted >= now, lighter, darker)), 0, 1)


def turned_color(color):
    """The same for a colour as SVG writes it.

    >>> turned_color("#ffffff"), turned_color("#000000")
    ('#121212', '#f0f0f0')
    """
    rgb = np.frombuffer(bytes.fromhex(color[1:]), np.uint8) / 255
    return "#" + (255 * turned(rgb)).round().astype(np.uint8).tobytes().hex()


def turned_raster(match):
    """The same for a PNG in an address; what is transparent stays so."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(match[2]))).convert("RGBA")) / 255
    pixels = np.concatenate([turned(pixels[..., :3]), pixels[..., 3:]], axis=-1)
    stored = io.BytesIO()
    Image.fromarray((255 * pixels).round().astype(np.uint8)).save(stored, "PNG", optimize=True)
    return match[1] + base64.b64encode(stored.getvalue()).decode()


def dark(svg, pictures=False):
    """An SVG by matplotlib for a dark page; pictures: leave what is rasterised.

    >>> dark('<svg height="1"><path style="fill: #ffffff"/></svg>')
    '<svg fill="#f0f0f0" height="1"><path style="fill: #121212"/></svg>'
    """
    parts = RASTER.split(svg) if pictures else [RASTER.sub(turned_raster, svg)]
    parts[::3] = [COLOR.sub(lambda m: turned_color(m[0]), part) for part in parts[::3]]
    # What names no colour, as most letters, is black in SVG.
    return re.sub(r"<svg ", f'<svg fill="{turned_color("#000000")}" ', "".join(parts), count=1)


def add_twins(app, doctree, docname):
    """Beside each SVG of a cell or of the course's figures, its twin for dark pages."""
    for image in list(doctree.findall(nodes.image)):
        if not image["uri"].endswith(".svg") or image["uri"].endswith(TWIN):
            continue
        if not ("jupyter_execute/" in image["uri"] or "drawn" in image["classes"]):
            continue
        path = Path(app.srcdir) / image["uri"].lstrip("/")
        twin = path.with_name(path.stem + TWIN)
        svg = dark(path.read_text("utf-8"), "pictures" in image["classes"])
        if not twin.is_file() or twin.read_text("utf-8") != svg:
            twin.write_text(svg, "utf-8")
        second = image.deepcopy()
        second["uri"] = image["uri"][: -len(".svg")] + TWIN
        second["candidates"] = {"*": second["uri"]}
        image["classes"] = [*image["classes"], "only-light"]
        second["classes"] = [*second["classes"], "only-dark"]
        image.parent.insert(image.parent.index(image) + 1, second)
        app.env.images.add_file(docname, second["uri"])


def setup(app):
    app.connect("doctree-resolved", add_twins)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

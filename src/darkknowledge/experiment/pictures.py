"""Images that people bring, by one step: upright, opaque, in 8 bits, square."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

#: Larger images are made smaller before anything is done to them: most pixels of a side.
HANDY = 512


class PictureError(ValueError):
    """A file that is no image that can be used; the message says why."""


def upright(path: Path, formats: tuple[str, ...] | None = None) -> Image.Image:
    """An image file in RGB, of a handy size: turned as its notes say, and what is transparent becomes
    white, or black if the rest is light. ``formats`` are those of Pillow's that are read, by default
    all. Raises PictureError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
                    raise ValueError("it is animated")
                image.draft(None, (HANDY, HANDY))  # a large JPEG is decoded at a part of its size
                return _opaque(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow raises whatever its parsing runs into
        raise PictureError(" ".join(str(error).split())[:160]) from None


def square(image: Image.Image, side: int, grey: bool) -> Image.Image:
    """The middle square of an image at ``side`` by ``side`` pixels, in grey or in colour."""
    fitted = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    return fitted.convert("L" if grey else "RGB")


def _opaque(image: Image.Image) -> Image.Image:
    """An image in 8 bits and of a handy size, without transparency: on the ground that it stands out
    from, white or black."""
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        grey = np.asarray(image)
        alpha = 255 * (grey != image.info.get("transparency", -1))
        layers = [(grey >> 8).astype(np.uint8), alpha.astype(np.uint8)]
        image = Image.merge("LA", [Image.fromarray(layer) for layer in layers])
    elif not image.has_transparency_data:
        plain = image.convert("RGB")
        plain.thumbnail((HANDY, HANDY), Image.Resampling.BILINEAR)
        return plain
    image = image.convert("RGBA")
    image.thumbnail((HANDY, HANDY), Image.Resampling.BILINEAR)
    alpha = np.asarray(image.getchannel("A"), float)
    dark = (np.asarray(image.convert("L")) * alpha).sum() < 127.5 * alpha.sum()
    ground = Image.new("RGBA", image.size, "white" if dark else "black")
    return Image.alpha_composite(ground, image).convert("RGB")

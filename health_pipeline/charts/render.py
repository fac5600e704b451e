"""Specifications as SVG and PNG, drawn in this process with the Vega that vl-convert bundles: nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from health_pipeline.charts.spec import Spec

MARKDOWN_WIDTH = 900
"""Dagster's metadata dialog clips wider pictures."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(spec: Spec) -> str:
    """A specification as an ``<svg>`` element to put into a page: transparent, labelled, scalable.

    Ids are made unique, since several pictures share one page.
    """
    import vl_convert  # loads a JavaScript engine: only where it is used

    spec = _renderable(spec)
    drawn: str = vl_convert.vegalite_to_svg(spec | {"background": None}, show_warnings=False)
    prefix = "c" + hashlib.sha256(drawn.encode()).hexdigest()[:8]
    drawn = re.sub(r'(id="|url\(#)([A-Za-z_]\w*)', rf"\g<1>{prefix}-\2", drawn)
    drawn = re.sub(
        r' (?:role="graphics-\w+"|aria-roledescription="[^"]*"|aria-hidden="true"|pointer-events="none")', "", drawn
    )
    drawn = re.sub(r'<path class="(?:background|foreground)"(?: d="[^"]*")?(?: display="none")?/>', "", drawn)
    label = html.escape(spec.get("description", ""), quote=True)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def png(spec: Spec, scale: float = 1.5) -> bytes:
    """A specification as a PNG of at most 64 colours, on white paper."""
    import vl_convert  # loads a JavaScript engine: only where it is used

    drawn: bytes = vl_convert.vegalite_to_png(_renderable(spec), scale=scale, show_warnings=False)
    return _with_palette(drawn)


def markdown_image(spec: Spec) -> str:
    """A specification as a Markdown image with its PNG inside, at most 900 px wide."""
    width = spec["width"] + spec["padding"]["left"] + spec["padding"]["right"]
    data = base64.b64encode(png(spec, scale=min(1.5, MARKDOWN_WIDTH / width))).decode()
    alt = re.sub(r"[\[\]\\\n]", " ", spec.get("description", ""))
    return f"![{alt}](data:image/png;base64,{data})"


def _renderable(part: Any) -> Any:
    """The same without characters that XML has no place for: vl-convert aborts the process on them, and names come
    from data."""
    if isinstance(part, str):
        return _NOT_XML.sub("", part)
    if isinstance(part, dict):
        return {name: _renderable(value) for name, value in part.items()}
    return [_renderable(value) for value in part] if isinstance(part, list) else part


def _with_palette(image: bytes) -> bytes:
    """An opaque RGBA PNG as a palette PNG of its 64 most frequent colours; the rest take the nearest of them.

    vl-convert writes true colour with a fast compressor: five to ten times the bytes.
    """
    import numpy as np

    width, height = struct.unpack(">II", image[16:24])
    pixels = zlib.decompress(b"".join(data for kind, data in chunks(image) if kind == b"IDAT"))
    lines = np.frombuffer(pixels, np.uint8).reshape(height, 1 + 4 * width)
    if not np.isin(lines[:, 0], (0, 1)).all():  # filters other than "none" and "sub": leave it as it is
        return image
    samples = lines[:, 1:].reshape(height, width, 4).copy()
    subtracted = lines[:, 0] == 1
    samples[subtracted] = np.cumsum(samples[subtracted], axis=1, dtype=np.uint8)
    colours, inverse, counts = np.unique(
        samples.reshape(-1, 4).view(np.uint32).ravel(), return_inverse=True, return_counts=True
    )
    rgb = colours.view(np.uint8).reshape(-1, 4)[:, :3]
    kept = np.argsort(-counts, kind="stable")[:64]
    distance = ((rgb[:, None, :].astype(np.int32) - rgb[kept][None, :, :].astype(np.int32)) ** 2).sum(axis=2)
    indexes = distance.argmin(axis=1).astype(np.uint8)[inverse].reshape(height, width)
    packed = zlib.compress(np.pad(indexes, ((0, 0), (1, 0))).tobytes(), 9)  # a leading 0: rows without a filter
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", rgb[kept].tobytes()), (b"IDAT", packed), (b"IEND", b""))
    return image[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def chunks(image: bytes) -> Iterable[tuple[bytes, bytes]]:
    """A PNG's chunks: type and data."""
    at = 8
    while at < len(image):
        (size,) = struct.unpack(">I", image[at : at + 4])
        yield image[at + 4 : at + 8], image[at + 8 : at + 8 + size]
        at += 12 + size

"""Turns a stored radiograph into the picture that a viewer would show on first opening."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from agent.dicom.charsets import text_encodings
from agent.dicom.decoding import NUMBERS, DecodingFailed, decode
from agent.dicom.greyscale import WHITE, Rendering, brightness, levels_of
from agent.dicom.opening import CONTENT_ERRORS, Unreadable, quietly, raw_text, read_whole
from agent.dicom.views import projection_of
from agent.errors import GiveUp
from inference.case import Image

PIXELS_MAX = 2**26
"""Pixels of one image: 8192 x 8192. The largest detectors have 4300 x 4300."""

FILE_BYTES_MAX = 2**29
"""Bytes of one file that is read whole: PIXELS_MAX in colour of 16 bits, and headers."""

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
"""Photometric Interpretations of one sample per pixel that is a grey (PS3.3 C.7.6.3.1.2)."""

_COLOUR_SPREAD = 0.06  # of full scale; JPEG's chroma noise on grey films stays below
_COLOURED_SHARE_MAX = 0.005  # a coloured marker is no reason to refuse a film, a heat map is
_DECODER_ERRORS = (*CONTENT_ERRORS, RuntimeError, OSError, MemoryError)
_HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")


def load(
    path: Path,
    *,
    rendering: Rendering = "voi",
    key: str | None = None,
    pixels_max: int = PIXELS_MAX,
    bytes_max: int = FILE_BYTES_MAX,
) -> Image:
    """Reads a DICOM file and renders it. Arguments and result as `render`.

    Raises:
        GiveUp: as `render`, and if the file cannot be read as DICOM or is larger than `bytes_max`.
        OSError: if the disk fails.
    """
    try:
        dataset = read_whole(path, bytes_max=bytes_max)
    except Unreadable as error:
        raise GiveUp(f"image {path.name}: {error.reason}") from error
    return render(dataset, rendering=rendering, key=key, pixels_max=pixels_max)


def render(
    dataset: Dataset, *, rendering: Rendering = "voi", key: str | None = None, pixels_max: int = PIXELS_MAX
) -> Image:
    """Turns a stored radiograph into display-ready pixels, dense bright whatever the sender's polarity.

    Args:
        rendering: "voi" as a viewer on first opening: Modality LUT, then the first VOI LUT or window (or the
            full range, if none shows anything), then Photometric Interpretation (PS3.3 C.11.1, C.11.2,
            C.7.6.3.1.2). "minmax" and "equalised": see `agent.dicom.greyscale.brightness`.
        key: of the Image; the SOP Instance UID if None.
        pixels_max: rows x columns at most.

    Returns:
        pixels uint16 (rows, columns), 0 = darkest, 65535 = brightest; padding is darkest. Spacing in mm by
        Imager Pixel Spacing, else Pixel Spacing, else Nominal Scanned Pixel Spacing; None if none was sent
        (then nobody may measure).

    Raises:
        GiveUp: if there are no pixels, several frames, no decoder for the transfer syntax, colours, sizes
            that do not agree or exceed `pixels_max`, or one value in all pixels.
    """
    uid = ""
    try:
        uid = raw_text(dataset, "SOPInstanceUID", ("latin_1",))[:64]
        rows, columns = _checked_size(dataset, pixels_max)
        stored = _decoded(dataset)  # not quietly: other threads may decode meanwhile
        if stored.shape[:2] != (rows, columns):
            raise _Refused(f"the header says {rows} x {columns} pixels, the pixel data {stored.shape}")
        with quietly():
            pixels = _rendered(dataset, stored, rendering)
            encodings, _ = text_encodings(dataset, None)
            view = projection_of(dataset, encodings).view
            row_spacing_mm, column_spacing_mm = _spacing_mm(dataset)
    except _Refused as refusal:
        raise GiveUp(f"image {uid}: {refusal}") from refusal.__cause__
    return Image(
        key=uid if key is None else key,
        pixels=pixels,
        view=view,
        row_spacing_mm=row_spacing_mm,
        column_spacing_mm=column_spacing_mm,
    )


def stored_values(dataset: Dataset) -> NDArray[Any]:
    """Decodes the pixels of an image; compressed ones in the process that may die of them (`agent.dicom.decoding`).

    Returns:
        (rows, columns) stored values, or (rows, columns, 3) RGB.

    Raises:
        GiveUp: if there are no pixels, several frames, no decoder, or sizes that do not agree.
    """
    try:
        _checked_size(dataset, PIXELS_MAX)
        return _decoded(dataset)
    except _Refused as refusal:
        uid = raw_text(dataset, "SOPInstanceUID", ("latin_1",))[:64]
        raise GiveUp(f"image {uid}: {refusal}") from refusal.__cause__


class _Refused(Exception):
    pass


def _rendered(dataset: Dataset, stored: NDArray[Any], rendering: Rendering) -> NDArray[np.uint16]:
    if photometric_interpretation(dataset) not in MONOCHROME:
        return _grey_of_colour(stored)
    if stored.ndim != 2:
        raise _Refused(f"{photometric_interpretation(dataset)} with {stored.shape[2]} samples per pixel")
    levels = levels_of(dataset, stored)
    if np.count_nonzero(levels.used) < 2:
        raise _Refused("every pixel of the picture has the same value")
    table = brightness(dataset, levels, rendering)  # (n,)
    return table[stored.astype(np.int32, copy=False) - int(levels.stored[0])]  # (rows, columns)


@quietly()
def _checked_size(dataset: Dataset, pixels_max: int) -> tuple[int, int]:
    """Gives rows and columns, once nothing in the header speaks against decoding."""
    if "PixelData" not in dataset or not dataset.get_item("PixelData", keep_deferred=True).value:
        raise _Refused("it has no pixels")
    rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
    samples, bits = _number(dataset, "SamplesPerPixel") or 1, _number(dataset, "BitsAllocated")
    frames = _number(dataset, "NumberOfFrames") or 1
    if rows < 1 or columns < 1:
        raise _Refused(f"Rows is {rows} and Columns is {columns}")
    if rows * columns > pixels_max:
        raise _Refused(f"{rows} x {columns} pixels; the limit is {pixels_max}")
    if frames != 1:
        raise _Refused(f"it has {frames} frames; a radiograph has one")
    if bits not in (8, 16) or samples not in (1, 3):
        raise _Refused(
            f"{bits} bits allocated, {samples} samples per pixel; radiographs have 8 or 16, and 1 or 3"
        )
    _check_pixel_data(dataset, rows, columns, rows * columns * samples * bits // 8)
    return rows, columns


def _check_pixel_data(dataset: Dataset, rows: int, columns: int, native_bytes: int) -> None:
    """Refuses what a decoder would answer with a crash, or with memory for a size that only the data name."""
    syntax = _transfer_syntax(dataset)
    held: bytes = dataset.get_item("PixelData", keep_deferred=True).value
    if not syntax.is_encapsulated:
        if len(held) < native_bytes and photometric_interpretation(dataset) != "YBR_FULL_422":
            raise _Refused(f"{rows} x {columns} pixels need {native_bytes} bytes; the file holds {len(held)}")
        return
    if len(held) > 2 * native_bytes + 2**16:
        raise _Refused(f"{len(held)} compressed bytes for {native_bytes} bytes of pixels")
    if syntax not in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes, *_HTJ2K):
        return
    try:
        said = declared_size(get_frame(held, 0, number_of_frames=1))
    except CONTENT_ERRORS as error:
        raise _Refused(f"the pixel data are no fragments of {syntax.name}") from error
    if said != (rows, columns):
        found = f"{said[0]} x {said[1]} pixels" if said else "no image of that kind"
        raise _Refused(
            f"the header says {rows} x {columns} pixels in {syntax.name}, the pixel data hold {found}"
        )


def _decoded(dataset: Dataset) -> NDArray[Any]:
    """(rows, columns) stored values, or (rows, columns, 3) RGB."""
    syntax = _transfer_syntax(dataset)
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise _Refused(f"no decoder for {syntax.name} ({syntax}); let the sender send it uncompressed")
    try:
        stored = _decoded_apart(dataset, syntax) if syntax.is_encapsulated else _native(dataset)
        return _looked_up(dataset, stored)
    except (DecodingFailed, *_DECODER_ERRORS) as error:
        advice = "; let the sender send it uncompressed" if syntax.is_encapsulated else ""
        how = str(error) if isinstance(error, DecodingFailed) else type(error).__name__
        failure = f"its pixels ({syntax.name}, {syntax}) cannot be decoded: {how}"
        raise _Refused(failure + advice) from error


@quietly()
def _native(dataset: Dataset) -> NDArray[Any]:
    return pixel_array(dataset)


@quietly()
def _looked_up(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    """The colours of a palette; anything else as it is."""
    is_palette = photometric_interpretation(dataset) == "PALETTE COLOR"
    return apply_color_lut(stored, dataset) if is_palette else stored


def _decoded_apart(dataset: Dataset, syntax: UID) -> NDArray[Any]:
    held: bytes = dataset.get_item("PixelData", keep_deferred=True).value
    return decode(_described(dataset), str(syntax), held)


@quietly()
def _described(dataset: Dataset) -> dict[str, int | str]:
    numbers = {keyword: _number(dataset, keyword) for keyword in NUMBERS if keyword in dataset}
    return {**numbers, "PhotometricInterpretation": photometric_interpretation(dataset)}


def declared_size(codestream: bytes) -> tuple[int, int] | None:
    """Gives (rows, columns) as a JPEG, JPEG-LS or JPEG 2000 codestream itself says, or None if it is none.

    ISO/IEC 10918-1 B.2.2 (SOF), 14495-1 C.2.2 (SOF55), 15444-1 A.5.1 (SIZ; in a JP2 file after its boxes).
    """
    if codestream[:4] == b"\0\0\0\x0c" and codestream[4:8] == b"jP  ":
        codestream = codestream[codestream.find(b"\xff\x4f\xff\x51") :]
    try:
        if codestream[:4] == b"\xff\x4f\xff\x51":
            x_size, y_size, x_offset, y_offset = struct.unpack_from(">4I", codestream, 8)
            return y_size - y_offset, x_size - x_offset
        return _size_of_jpeg(codestream) if codestream[:2] == b"\xff\xd8" else None
    except struct.error:
        return None


def _size_of_jpeg(codestream: bytes) -> tuple[int, int] | None:
    place = 2
    while True:
        marker, length = struct.unpack_from(">HH", codestream, place)
        if marker == 0xFFFF:  # a fill byte before the marker
            place += 1
            continue
        if marker == 0xFFF7 or (0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC)):
            rows, columns = struct.unpack_from(">HH", codestream, place + 5)
            return rows, columns
        if marker < 0xFFC0 or length < 2:
            return None
        place += 2 + length


def _grey_of_colour(colour: NDArray[Any]) -> NDArray[np.uint16]:
    """Gives the grey of a film that was stored in colour; its full scale stays the full scale."""
    if colour.ndim != 3:
        raise _Refused("one sample per pixel, and neither MONOCHROME1, MONOCHROME2 nor PALETTE COLOR")
    full = float(np.iinfo(colour.dtype).max)
    spread = colour.max(axis=2) - colour.min(axis=2)  # (rows, columns)
    share = float(np.mean(spread > _COLOUR_SPREAD * full))
    if share > _COLOURED_SHARE_MAX:
        raise _Refused(f"{share:.0%} of its pixels are coloured; a radiograph is grey")
    grey = colour.mean(axis=2, dtype=np.float32)  # (rows, columns)
    if np.ptp(grey) < 1:
        raise _Refused("every pixel of the picture has the same value")
    return np.rint(grey * (WHITE / full)).astype(np.uint16)


def photometric_interpretation(dataset: Dataset) -> str:
    """Gives Photometric Interpretation in capitals; "" if it is absent."""
    return raw_text(dataset, "PhotometricInterpretation", ("latin_1",)).upper()


def _transfer_syntax(dataset: Dataset) -> UID:
    meta = getattr(dataset, "file_meta", None)
    syntax = raw_text(meta, "TransferSyntaxUID", ("latin_1",)) if meta is not None else ""
    if not syntax:
        raise _Refused("it names no transfer syntax")
    uid = UID(syntax)
    if not uid.is_transfer_syntax:
        raise _Refused(f"{syntax} is no transfer syntax that is known here")
    return uid


def _number(dataset: Dataset, keyword: str) -> int:
    try:
        return int(dataset[keyword].value) if keyword in dataset else 0
    except CONTENT_ERRORS:
        return 0


def _spacing_mm(dataset: Dataset) -> tuple[float | None, float | None]:
    """Distance of (row, column) centres at the detector or the film (PS3.3 C.8.11.3.1, C.8.7.1, 10.7)."""
    for keyword in ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing"):
        parts = raw_text(dataset, keyword, ("latin_1",)).split("\\")
        try:
            row_mm, column_mm = (float(part) for part in parts)
        except ValueError:
            continue
        if 0 < row_mm < 100 and 0 < column_mm < 100:
            return row_mm, column_mm
    return None, None

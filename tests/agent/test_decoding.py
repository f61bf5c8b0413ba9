"""Decoding in a process of its own: what kills a decoder costs one image, and nobody else."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from agent.dicom import decoding, pixels
from agent.dicom.headers import headers_of
from agent.dicom.pixels import render
from agent.errors import GiveUp
from tests.builders import a_radiograph, chest_pixels


def a_baseline_jpeg(inserted: bytes = b"", at: int = 0) -> Dataset:
    """A CR image in JPEG Baseline, with bytes inserted into its codestream."""
    image = a_radiograph(modality="CR", rows=24, columns=16, bits=8)
    buffer = BytesIO()
    Image.fromarray(chest_pixels(24, 16, bits=8).astype(np.uint8)).save(buffer, "JPEG")
    encoded = buffer.getvalue()
    image.PixelData = encapsulate([encoded[:at] + inserted + encoded[at:]])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return image


def test_a_jpeg_that_kills_its_decoder_is_refused() -> None:
    # Three bytes more in a Huffman table: gdcm 3.2.6 throws where nobody catches, and the process is gone.
    with pytest.raises(GiveUp, match="cannot be decoded: the decoder died of it; let the sender"):
        render(a_baseline_jpeg(b"999", at=132))


def test_after_a_decoder_has_died_the_next_image_is_drawn() -> None:
    render(a_baseline_jpeg())
    assert decoding._decoder._process is not None
    os.kill(decoding._decoder._process.pid, signal.SIGKILL)
    decoding._decoder._process.wait()

    with pytest.raises(GiveUp, match="the decoder died of it"):
        render(a_baseline_jpeg())

    assert render(a_baseline_jpeg()).pixels.shape == (24, 16)


def test_a_decoder_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    render(a_baseline_jpeg())
    monkeypatch.setattr(decoding, "SECONDS_MAX", 0.2)
    assert decoding._decoder._process is not None
    os.kill(decoding._decoder._process.pid, signal.SIGSTOP)

    with pytest.raises(GiveUp, match=r"no answer within 0\.2 s"):
        render(a_baseline_jpeg())

    assert decoding._decoder._process is None


def test_headers_are_read_while_an_image_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def decode(*_: object) -> object:
        begun.set()
        assert may_end.wait(20)
        raise decoding.DecodingFailed("only the time that it takes is of interest here")

    monkeypatch.setattr(pixels, "decode", decode)

    with ThreadPoolExecutor(2) as threads:
        drawn = threads.submit(render, a_baseline_jpeg())
        assert begun.wait(20)
        read = threads.submit(headers_of, a_radiograph())
        is_read = read.exception(20) is None
        may_end.set()

    assert is_read
    assert isinstance(drawn.exception(), GiveUp)

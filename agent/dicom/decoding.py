"""Compressed pixels are decoded in a process of their own, which may die of them.

The decoders are C and C++, and what they are given comes from outside. gdcm 3.2.6 ends the process that it runs in
(std::terminate) on about one in a thousand damaged JPEGs, past every except: see tests/fuzz. So one process for all
decoding is kept beside the reader, with a limit on its memory and on the time of each image, and started anew when it
has died. Nothing is unpickled of what it answers.
"""

import atexit
import json
import math
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import UID, RLELossless

from agent.dicom.opening import CONTENT_ERRORS, quietly

SECONDS_MAX = 60.0
"""For one image, the start of the process included."""

MEMORY_BYTES_MAX = 4 * 2**30
"""Address space of the process: what the largest image takes, in the decoder's own wide numbers, and the libraries."""

NUMBERS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
)
"""What a decoder is told of an image, and Photometric Interpretation."""

_DTYPES = ("|u1", "|i1", "<u2", "<i2")
_ANSWER_BYTES_MAX = 2**30


class DecodingFailed(Exception):
    """Pixels that cannot be decoded; the text says how it ended, without any value of theirs."""


def decode(description: Mapping[str, int | str], transfer_syntax_uid: str, pixel_data: bytes) -> NDArray[Any]:
    """Decodes one frame of encapsulated Pixel Data (PS3.5 A.4).

    Args:
        description: those of NUMBERS that the image has, and PhotometricInterpretation.

    Returns:
        (rows, columns) stored values, or (rows, columns, samples) in RGB.

    Raises:
        DecodingFailed: if the decoder says no, dies, or takes longer than SECONDS_MAX.
    """
    return _decoder.ask(dict(description), transfer_syntax_uid, pixel_data)


class _Decoder:
    """The process and the way to it. For several threads, one image at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[bytes, bytes] | None = None
        self._owner = 0

    def ask(
        self, description: dict[str, int | str], transfer_syntax_uid: str, pixel_data: bytes
    ) -> NDArray[Any]:
        with self._lock:
            try:
                answer = self._asked([transfer_syntax_uid, description], pixel_data)
            except TimeoutError as error:
                self.close()
                raise DecodingFailed(f"no answer within {SECONDS_MAX:g} s") from error
            except (EOFError, OSError, ValueError) as error:
                self.close()
                raise DecodingFailed("the decoder died of it") from error
        if isinstance(answer, str):
            raise DecodingFailed(answer)
        return answer

    def _asked(self, question: list[Any], pixel_data: bytes) -> NDArray[Any] | str:
        """The picture, or what the decoder said instead."""
        connection = self._opened()
        connection.send_bytes(json.dumps(question).encode())
        connection.send_bytes(pixel_data)
        if not connection.poll(SECONDS_MAX):
            raise TimeoutError
        said = json.loads(connection.recv_bytes(1024))
        if "failed" in said:
            return str(said["failed"])
        return _array(said, connection.recv_bytes(_ANSWER_BYTES_MAX))

    def _opened(self) -> "Connection[bytes, bytes]":
        # A forked process has our descriptors too, and may not read the answers to our questions.
        if self._connection is not None and self._owner == os.getpid():
            return self._connection
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders write what they think of an image
            )
        self._connection, self._owner = ours, os.getpid()
        return ours

    def close(self) -> None:
        """Ends the process; the next image starts another."""
        connection, process = self._connection, self._process
        self._connection = self._process = None
        if connection is None or process is None or self._owner != os.getpid():
            return
        connection.close()
        process.kill()
        process.wait()


_decoder = _Decoder()
atexit.register(_decoder.close)


def _array(said: dict[str, Any], content: bytes) -> NDArray[Any]:
    """The answer as an array, if it is as large as it says."""
    shape, dtype = said["shape"], said["dtype"]
    if dtype not in _DTYPES or len(content) != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError("an answer that is no picture")
    return np.frombuffer(content, dtype).reshape(shape).copy()


# --- inside the process -------------------------------------------------------------------------------------


def _serve(connection: "Connection[bytes, bytes]") -> None:
    _, allowed_bytes = resource.getrlimit(resource.RLIMIT_AS)
    if allowed_bytes == resource.RLIM_INFINITY or allowed_bytes > MEMORY_BYTES_MAX:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the image
    with suppress(EOFError, KeyboardInterrupt):  # the reader has gone, or is being stopped
        while True:
            syntax, description = json.loads(connection.recv_bytes())
            try:
                pixels = _decoded(description, syntax, connection.recv_bytes())
            except (*CONTENT_ERRORS, RuntimeError, OSError, MemoryError) as error:
                connection.send_bytes(json.dumps({"failed": type(error).__name__}).encode())
                continue
            shape = {"shape": pixels.shape, "dtype": pixels.dtype.str}
            connection.send_bytes(json.dumps(shape).encode())
            connection.send_bytes(np.ascontiguousarray(pixels).data.cast("B"))


def _decoded(description: dict[str, Any], transfer_syntax_uid: str, pixel_data: bytes) -> NDArray[Any]:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    for keyword, value in description.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixel_data
    dataset["PixelData"].is_undefined_length = True
    # pylibjpeg-rle 2.2 panics on a bad segment; pydicom's own took 0.09 s instead of 0.03 s for 3 million pixels.
    with quietly():
        return pixel_array(dataset, decoding_plugin="pydicom" if transfer_syntax_uid == RLELossless else "")


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))

"""Zip archives from anyone: their members, read whole, in no more memory than the archive has bytes."""

import io
import zipfile
import zlib

UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, EOFError, RuntimeError, ArithmeticError,
    zipfile.BadZipFile, zlib.error, MemoryError,
)  # fmt: skip
"""What readers raise of bytes that are damaged, or made to harm."""


def members(content: bytes) -> dict[str, bytes]:
    """The members of an archive that compresses none, as Keras and NumPy write them, by their names.

    Raises:
        ValueError: A member is compressed, encrypted or there twice, or members claim to be longer than the archive.
        zipfile.BadZipFile: It is no archive.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = archive.infolist()
        names = [info.filename for info in found]
        if odd := [info.filename for info in found if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]:
            raise ValueError(f"expected members without compression and encryption, got {odd[0]!a:.80}")
        if len({*names}) < len(names):
            raise ValueError("expected each member once")
        if (total := sum(info.file_size for info in found)) > len(content):
            raise ValueError(f"expected members of at most {len(content):,} bytes, got {total:,}")
        return {info.filename: archive.read(info) for info in found}

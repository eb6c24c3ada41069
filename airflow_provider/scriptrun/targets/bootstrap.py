"""Runs on the target, read from standard input, with the arguments ``<root> <version> <replace>``: unpacks the
supervisor that stands behind it (8 bytes of length, then a zip file), compiles it and renames it into place.

Never imported. Answers with one line: ``scriptrun-install`` and a JSON object. Any Python 3 must be able to parse it.
"""

import sys

if sys.version_info < (3, 8):
    sys.stdout.write('\nscriptrun-install {"python": "%d.%d.%d"}\n' % sys.version_info[:3])
    sys.stdout.flush()
    sys.exit(3)

# What an old Python lacks is imported after it was told so.
import compileall
import errno
import io
import json
import os
import py_compile
import shutil
import struct
import zipfile

PRIVATE = 0o700


def install(root: str, version: str, replace: bool, data: bytes) -> None:
    """Put the supervisor into ``<root>/supervisor/<version>``, unless it is there; with ``replace`` in any case."""
    os.makedirs(root, mode=PRIVATE, exist_ok=True)
    folder = os.path.join(root, "supervisor")
    os.makedirs(folder, mode=PRIVATE, exist_ok=True)
    place = os.path.join(folder, version)
    if os.path.isdir(place) and not replace:
        return
    mine = os.path.join(folder, ".%s.%d.%s" % (version, os.getpid(), os.urandom(4).hex()))
    try:
        os.mkdir(mine, PRIVATE)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(mine)
        # The sources never change under a version, so nobody needs to look whether they have.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(mine, quiet=2, ddir=place, invalidation_mode=mode)
        if replace and os.path.isdir(place):
            os.rename(place, mine + ".old")
        os.rename(mine, place)
    except OSError as error:
        # Another installer was faster: what it put there is the same.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT) or not os.path.isdir(place):
            raise
    finally:
        shutil.rmtree(mine, ignore_errors=True)
        shutil.rmtree(mine + ".old", ignore_errors=True)


def main() -> None:
    """Install, and say how it went."""
    root, version, replace = sys.argv[1:4]
    (length,) = struct.unpack(">Q", sys.stdin.buffer.read(8))
    data = sys.stdin.buffer.read(length)
    result = {"python": "%d.%d.%d" % sys.version_info[:3], "error": None, "errno": None}
    if len(data) < length:
        result["error"] = "only %d of %d bytes arrived" % (len(data), length)
    else:
        try:
            install(os.path.expanduser(root), version, replace == "replace", data)
        except OSError as error:
            result["error"] = "%s: %s" % (error.filename or root, error.strerror)
            result["errno"] = errno.errorcode.get(error.errno or 0)
    sys.stdout.write("\nscriptrun-install %s\n" % json.dumps(result))
    sys.stdout.flush()


main()

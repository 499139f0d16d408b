"""Files that have no name in any file system: for what may stand in no directory, command line or environment."""

import os


def in_memory(content: bytes) -> int:
    """A descriptor of such a file, at its beginning; whoever asks closes it. A process of our user that did not inherit
    it finds it as /proc/PID/fd/N of ours."""
    descriptor = os.memfd_create("lockgate")
    try:
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor

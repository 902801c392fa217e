"""A reproducible source distribution: the same files give the same bytes."""

import gzip
import os
import tarfile

from setuptools.command.sdist import sdist


class ReproducibleSdist(sdist):
    """The sdist command of setuptools, with archives independent of time, user and umask."""

    def make_archive(self, base_name, kind, root_dir=None, base_dir=None, owner=None, group=None):
        if kind != "gztar":
            return super().make_archive(base_name, kind, root_dir, base_dir, owner, group)
        # The default is 1980, the earliest date in a zip archive.
        timestamp = int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))

        def normalize(member):
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = timestamp
            return member

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", mtime=timestamp, fileobj=file) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=normalize)  # adds files in the order of their names
        return path

"""The source distribution, byte for byte the same whoever makes it and when."""

import gzip
import os
import tarfile

from setuptools.command.sdist import sdist


class ReproducibleSdist(sdist):
    """The stock command, but two archives of the same files have the same bytes, whoever makes them and when."""

    def make_archive(self, base_name, kind, root_dir=None, base_dir=None, owner=None, group=None):
        if kind != "gztar":
            return super().make_archive(base_name, kind, root_dir, base_dir, owner, group)
        moment = int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))  # 1980, where zip's calendar begins

        def without_traces(member):
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = moment
            return member

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", mtime=moment, fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=without_traces)  # in the order of the names
        return path

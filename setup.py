"""Build of the compiled core, and what wheels say of their contents; the rest is pyproject.toml."""

import gzip
import importlib.metadata
import json
import os
import platform
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from itertools import chain
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist


class BuildCore(build_ext):
    """Add what each compiler needs: warnings, and float parts without fused multiply-add.

    Files are compiled side by side, since two of them take as long as all others.
    """

    def build_extensions(self):
        """Complete the flags for the compiler that was found, and build."""
        import numpy

        flags = ["-std=c11", "-O3", "-Wall", "-Wextra", "-ffp-contract=off", "-pthread"]
        # No code here reads or traps the exception flags of floats. The compiler may then
        # compute both sides of a comparison, and so vectorise it; no result changes.
        flags.append("-fno-trapping-math")
        # Debug information holds the paths of the build: without it, builds are the same bytes.
        flags.append("-g0")
        if sys.maxsize < 2**32 and platform.machine() in ("i386", "i586", "i686", "x86_64"):
            flags += ["-msse2", "-mfpmath=sse"]  # the x87 does not round to float64
        if self.compiler.compiler_type == "msvc":
            flags = ["/std:c11", "/O2", "/fp:precise"]
        for extension in self.extensions:
            extension.extra_link_args = ["-pthread"] if os.name == "posix" else []
            extension.include_dirs.append(numpy.get_include())
            # The user's CFLAGS come first on the command line; repeated here, they win.
            extension.extra_compile_args = [
                *flags,
                *os.environ.get("CFLAGS", "").split(),
            ]
        compile_all = self.compiler.compile

        def compile_each(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                each = pool.map(lambda source: compile_all([source], **options), sources)
                return list(chain.from_iterable(each))

        self.compiler.compile = compile_each
        super().build_extensions()


class BuildSource(sdist):
    """Write an archive of the same bytes everywhere; SOURCE_DATE_EPOCH is the only time in it."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **options):
        """Write the files in order, without times or names of the machine."""
        if format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, **options)
        time = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))  # 1980, as early as in wheels

        def plain(member):
            member.mtime = time
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        name = f"{base_name}.tar.gz"
        with (
            open(name, "wb") as file,
            gzip.GzipFile("", "wb", 9, file, time) as zipped,
            tarfile.open(mode="w", fileobj=zipped, format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(Path(root_dir or ".", base_dir), base_dir, filter=plain)
        return name


def component(kind, name, version, licence, **further):
    """Return a component of a CycloneDX bill of materials."""
    purl = {"purl": f"pkg:pypi/{name.lower()}@{version}"} if kind == "library" else {}
    licence = {"expression": licence}
    return {"type": kind, "bom-ref": name, "name": name, "version": version} | {
        "licenses": [licence],
        **purl,
        **further,
    }


class BuildWheel(bdist_wheel):
    """Add the software bill of materials: whatever in a wheel comes from elsewhere."""

    def write_wheelfile(self, wheelfile_base, *args, **options):
        """Write it beside the file WHEEL, where PEP 770 has it."""
        super().write_wheelfile(wheelfile_base, *args, **options)
        metadata = self.distribution.metadata
        name = metadata.get_name()
        digits = component("data", "MNIST", "1998", "CC-BY-SA-3.0", description="10,000 digits")
        parts = [digits]
        if self.distribution.has_ext_modules():
            version = importlib.metadata.version("Cython")
            compiled_in = "support code that Cython adds to the compiled module"
            parts.append(
                component("library", "Cython", version, "Apache-2.0", description=compiled_in)
            )
        bill = {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": component("library", name, metadata.get_version(), "BSD-3-Clause")
            },
            "components": parts,
            "dependencies": [{"ref": name, "dependsOn": [part["bom-ref"] for part in parts]}],
        }
        folder = Path(wheelfile_base, "sboms")
        folder.mkdir()
        text = json.dumps(bill, indent=2) + "\n"
        Path(folder, f"{name}.cdx.json").write_text(text, encoding="utf-8")


core = Extension(
    "intmlp._backend._core",
    sources=["intmlp/_backend/_core.pyx", *sorted(glob("src/*/*.c"))],
    depends=sorted(glob("src/**/*.h", recursive=True)),
    include_dirs=["src"],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    libraries=[] if os.name == "nt" else ["m"],
)

# A pure wheel is asked for by name; otherwise a core that does not build stops the build.
setup(
    ext_modules=[] if os.environ.get("INTMLP_NO_EXTENSION") == "1" else [core],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": BuildWheel, "sdist": BuildSource},
)

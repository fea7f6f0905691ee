"""Build of the compiled core; all other metadata stands in pyproject.toml."""

import os
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from itertools import chain

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


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
    cmdclass={"build_ext": BuildCore},
)

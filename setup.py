"""The part of the build that pyproject.toml cannot say: the C core and the tag of its wheel."""

import platform
import sys
import sysconfig

from setuptools import setup

MACHINES = ("x86_64", "aarch64")

is_64_bit = sys.maxsize > 2**32
if sys.platform != "linux" or platform.machine() not in MACHINES or not is_64_bit:
    sys.exit(
        "ringbus runs on 64-bit Linux on x86-64 or aarch64 only (it parks on futexes and needs "
        f"lock-free 64-bit atomics); this is {sys.platform} on {platform.machine()}, "
        f"{64 if is_64_bit else 32}-bit Python."
    )

# A free-threaded interpreter has no stable ABI to build against, or (3.15) one that is not used.
is_free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

setup(
    cffi_modules=["ringbus/_build.py:ffibuilder"],
    options={} if is_free_threaded else {"bdist_wheel": {"py_limited_api": "cp311"}},
)

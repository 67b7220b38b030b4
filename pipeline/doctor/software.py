"""Python and the packages that fda needs: whether they are there, new enough, and can be imported."""

from __future__ import annotations

import importlib
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from pipeline.doctor.checks import Check, State, reason
from store.remedies import install_extra

GROUP, EXTRAS = "software", "extras"

_MODULES = {
    "google-crc32c": "google_crc32c",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "scikit-image": "skimage",
}
"""Distribution -> what is imported of it, where that is another name."""
_IMPORTED = (
    *("av", "opencv-python-headless", "pillow", "numpy", "pyarrow", "zarr", "numcodecs", "dask", "distributed"),
    *("google-crc32c", "xxhash", "safetensors", "scipy", "scikit-image"),
)
"""What is tried: packages with compiled code, which may be of another machine, and what takes no time. torch and
open_clip are tried beside the devices."""
_SHOWN = ("av", "opencv-python-headless", "zarr", "dask", "pyarrow", "numpy")
"""These have a line of their own, also where all is well."""
_LABELS = {"opencv-python-headless": "OpenCV"}
_ELSEWHERE = ("torch", "open_clip_torch")
"""`pipeline.doctor.devices` tells of them, and only what is wrong with their version is told here."""
_DEVELOPMENT = "dev"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PURPOSES = {
    "s3": "stores at s3://",
    "cluster": "--cluster slurm, pbs, lsf, sge",
    "kubernetes": "--cluster kubernetes",
    "huggingface": "fda export --format huggingface",
}
"""Extra -> what it is for."""


def check(place: str | None) -> Iterator[Check]:
    """Versions of Python, of fda and of what it requires; extras that are there or not."""
    yield Check(GROUP, "Python", State.OK, f"{platform.python_version()}, {sys.executable}")
    try:
        yield Check(GROUP, "fda", State.OK, version("fda"))
        wanted = [Requirement(line) for line in requires("fda") or ()]
    except PackageNotFoundError:
        remedy = "run `make setup` in its folder, or `pip install -e .`"
        found = "runs from its folder and is not installed: what it requires is not known"
        yield Check(GROUP, "fda", State.WARNING, found, remedy=remedy)
        wanted = []
    # Markers without an extra may still be of another system or Python.
    yield from _required([one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})])
    yield from _extras(wanted)
    yield _browser()


def too_old(wanted: Requirement, found: str) -> str | None:
    """What is wrong with a version, if anything.

    >>> too_old(Requirement("av>=18"), "17.0.1"), too_old(Requirement("av>=18"), "18.0.0")
    ('17.0.1, and fda needs >=18', None)
    """
    # Otherwise packaging takes no pre-release to be in any range.
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return f"{found}, and fda needs {wanted.specifier}"


def _required(wanted: list[Requirement]) -> Iterator[Check]:
    fine: dict[str, str] = {}
    for one in wanted:
        problem = _problem(one)
        if problem is not None:
            remedy = (
                f"pip install --force-reinstall '{one}'" if problem.startswith("cannot") else f"pip install '{one}'"
            )
            yield Check(GROUP, _LABELS.get(one.name, one.name), State.MISSING, problem, remedy=remedy)
        elif one.name not in _ELSEWHERE:
            fine[one.name] = version(one.name)
    for name in _SHOWN:
        if name in fine:
            yield Check(GROUP, _LABELS.get(name, name), State.OK, f"{fine.pop(name)}{_libraries(name)}")
    if fine:
        yield Check(GROUP, "others", State.OK, ", ".join(f"{name} {number}" for name, number in sorted(fine.items())))


def _problem(wanted: Requirement) -> str | None:
    """Why a package cannot be used, if it cannot."""
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"not installed, and fda needs it{f' {wanted.specifier}' if wanted.specifier else ''}"
    problem = too_old(wanted, found)
    if problem is None and wanted.name in _IMPORTED:
        try:
            importlib.import_module(_MODULES.get(wanted.name, wanted.name))
        except Exception as error:  # whatever a broken package raises
            return f"cannot be imported: {reason(error)}"
    return problem


def _libraries(name: str) -> str:
    """The libraries inside a package that decide what it gives."""
    if name != "av":
        return ""
    import av

    versions: Mapping[str, tuple[int, ...]] = av.library_versions
    parts = [f"{library} {'.'.join(map(str, versions[library]))}" for library in _LIBAV if library in versions]
    return f" with {', '.join(parts)}"


_LIBAV = ("libavcodec", "libavformat", "libswscale")


def _extras(wanted: list[Requirement]) -> Iterator[Check]:
    names = {extra for one in wanted if (extra := _extra_of(one)) is not None}
    for extra in sorted(names - {_DEVELOPMENT}):
        its = [one for one in wanted if _extra_of(one) == extra and one.name != "fda"]
        found, lacking = [], []
        for one in its:
            try:
                number = version(one.name)
            except PackageNotFoundError:
                lacking.append(f"{one.name} is not installed")
            else:
                problem = too_old(one, number)
                found.append(f"{one.name} {number}") if problem is None else lacking.append(f"{one.name} {problem}")
        purpose = _PURPOSES.get(extra)
        text = "; ".join(lacking) if lacking else ", ".join(found)
        state = State.OPTIONAL if lacking else State.OK
        remedy = install_extra(extra) if lacking else None
        yield Check(EXTRAS, extra, state, text if purpose is None else f"{text}: {purpose}", remedy=remedy)


def _browser() -> Check:
    """One that can be driven: only tests do; pages are opened in whatever browser people have."""
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is not None:
        return Check(EXTRAS, "browser", State.OK, f"{found}: tests of pages")
    text = f"none of {', '.join(_BROWSERS)} on the PATH: tests of pages are skipped"
    return Check(EXTRAS, "browser", State.OPTIONAL, text, remedy="apt-get install chromium")


def _extra_of(wanted: Requirement) -> str | None:
    """The extra that a requirement belongs to, if it is none of every run."""
    text = str(wanted.marker or "")
    if "extra" not in text:
        return None
    return text.rsplit("extra ==", 1)[-1].strip().strip("\"'()").strip("\"'")

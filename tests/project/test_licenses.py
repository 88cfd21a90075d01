"""What `pip install 'heedful[all]'` brings has a permissive license, or is named here with the reason."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

PERMISSIVE = {
    "0bsd", "3-clause bsd license",
    "apache 2.0 license", "apache software license", "apache-2.0", "bsd license", "bsd-2-clause", "bsd-3-clause",
    "bsl-1.0", "cc0-1.0", "cnri-python", "hpnd", "isc", "isc license (iscl)", "llvm-exception", "mit", "mit license", "mit-0",
    "mit-cmu", "psf-2.0", "python software foundation license", "the unlicense (unlicense)", "unlicense", "zlib",
}  # fmt: skip
NAMED = {
    "certifi": "MPL-2.0, a copyleft of its own files: a list of certificates, used as it is",
    "faster-coco-eval": "Apache-2.0 by its LICENSE; its metadata name none",
    "soxr": "LGPL-2.1-or-later, a copyleft of its own files: a library of the extra sound, linked as it is",
    "tqdm": "MPL-2.0 AND MIT, a copyleft of its own files: used as it is",
}
BY_NVIDIA = (
    "nvidia-",
    "cuda-",
)  # proprietary; they come with PyTorch's own builds for CUDA, and are used by PyTorch alone


def license_of(installed: Distribution) -> list[str]:
    """The licenses that a package says it has: an expression, or its classifiers, or the first line of a text."""
    about = installed.metadata
    if about.get("License-Expression"):
        return [part for part in re.split(r" (?:AND|OR|WITH) |[()]", about["License-Expression"]) if part.strip()]
    classifiers = [
        line.split(" :: ")[-1] for line in about.get_all("Classifier") or () if line.startswith("License :: ")
    ]
    return [one for one in classifiers if one != "OSI Approved"] or [
        (about.get("License") or "none").strip().split("\n")[0]
    ]


def needed() -> dict[str, Distribution]:
    """Every package that is installed for heedful[all], by its name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    pending = [("heedful", "all"), ("heedful", "")]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform, or of an extra that is not installed
        for line in found[name].requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                other = re.sub(r"[-_.]+", "-", need.name).lower()
                pending += [(other, ""), *((other, one) for one in need.extras)]
    return found


def test_every_license_is_permissive_or_named():
    found = needed()
    assert {"torch", "numpy", "lightning", "tqdm", "transformers"} <= set(found)
    assert len(found) > 40
    strict = {
        name: license_of(one) for name, one in found.items() if name not in NAMED and not name.startswith(BY_NVIDIA)
    }
    assert not {name: given for name, given in strict.items() if not {*map(str.lower, given)} <= PERMISSIVE}

"""The project's own files keep what they promise."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_constraints_pin_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    names = {re.match(r"[\w-]+", need)[0].lower() for need in wanted} - {"heedful"}
    assert len(names) > 15
    assert names <= set(pinned)


def test_what_must_not_be_installed_is_not():
    text = (ROOT / "constraints.txt").read_text()
    for name in ("torchvision", "torchaudio", "torchcodec", "timm", "litdata"):
        assert name not in text


def test_the_version_is_one():
    import heedful

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == heedful.__version__
    assert f"## [{heedful.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_map_in_the_readme_names_files_that_are_there():
    readme = (ROOT / "README.md").read_text()
    paths = re.findall(r"`((?:src/heedful|tests|benchmarks|examples|docs)/[\w./-]*)`", readme)
    assert len(paths) >= 15
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_command_in_the_readme_is_a_verb():
    from heedful.cli.app import app

    verbs = set(re.findall(r"^    heedful ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert len(verbs) >= 4
    known = {name for name in app if not name.startswith("-")}
    assert verbs <= known

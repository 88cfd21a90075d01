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


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_there_is_a_glossary():
    terms = re.findall(r"^\| \*\*.+\*\* \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    assert len(terms) >= 20
    assert len(set(terms)) == len(terms)


def test_pages_name_files_that_are_there():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    checked = 0
    for page in pages:
        text = page.read_text()
        for path in re.findall(r"`((?:src/heedful|tests|benchmarks|examples|docs)/[\w./-]*)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
            checked += 1
        for path in re.findall(r"\]\((?!https?:)([\w./-]+)(?:#[\w-]+)?\)", text):
            assert (page.parent / path).exists(), f"{page.name}: {path}"
            checked += 1
    assert checked >= 100


def test_every_page_is_linked_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    pages = sorted((ROOT / "docs").glob("*.md"))
    assert len(pages) >= 15
    assert not [page.name for page in pages if f"](docs/{page.name})" not in readme]


def named_in_the_architecture():
    """The files and packages that the tables of docs/architecture.md name, each relative to the folder in its heading."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set()
    for folder, section in re.findall(r"^## `(src/heedful/[\w/]*)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        named |= {folder} | {folder + name for row in rows for name in re.findall(r"`([\w./-]+)`", row)}
    return named


def test_the_architecture_names_files_that_are_there():
    named = named_in_the_architecture()
    assert len(named) >= 150
    assert not sorted(path for path in named if not (ROOT / path).exists())


def test_the_architecture_names_every_package_and_every_long_file():
    source, named = ROOT / "src" / "heedful", named_in_the_architecture()
    wanted = {f"{file.parent.relative_to(ROOT).as_posix()}/" for file in source.rglob("__init__.py")}
    for file in source.rglob("*"):
        if file.suffix in (".py", ".js", ".css", ".html") and len(file.read_text().splitlines()) > 100:
            wanted.add(file.relative_to(ROOT).as_posix())
    assert len(wanted) >= 150
    assert not sorted(wanted - named)


def test_every_command_in_the_readme_is_a_verb():
    from heedful.cli.app import app

    verbs = set(re.findall(r"^    heedful ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert len(verbs) >= 4
    known = {name for name in app if not name.startswith("-")}
    assert verbs <= known

"""The page's modules as one script.

A browser refuses to import modules by address from a file that was opened from a disk, so they are written one after
another into one module script, each as a function of its own that gives what it exports. The rules that make this safe
are few, and each is checked:

- an import names what it takes, `import { a, b } from "./other.js";`, without `as`;
- an export is the word `export` before `const`, `function` or `class` at the start of a line;
- imports form no circle; a module stands after those that it imports.
"""

import re
from functools import cache
from importlib.resources import files

ENTRY = "main.js"

_IMPORT = re.compile(r'^import \{([\w$,\s]+)\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|const|function|class)\b)", re.MULTILINE)
_EXPORTED = re.compile(r"^export (?:async function|function\*?|const|class) ([\w$]+)", re.MULTILINE)
_LEFT_OVER = re.compile(r"^\s*(?:import|export)\b.*", re.MULTILINE)


def asset(name: str) -> str:
    """Returns a file of the page as text, its line ends as they count for the hashes of the policy."""
    text = files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


@cache
def styles() -> str:
    """Returns the style sheets as one: that of the page first, then those of its parts by name."""
    names = sorted(file.name for file in files(__package__).joinpath("assets").iterdir() if file.name.endswith(".css"))
    return "\n".join(asset(name) for name in sorted(names, key=lambda name: name != "page.css"))


@cache
def script() -> str:
    """Returns all modules of the page as one."""
    sources: dict[str, str] = {}
    _collect(ENTRY, sources, ())
    return join(sources)


def _collect(name: str, sources: dict[str, str], importers: tuple[str, ...]) -> None:
    """Adds a module to `sources` after everything that it imports."""
    assert name not in importers, f"modules import each other in a circle: {' -> '.join((*importers, name))}"
    if name in sources:
        return
    source = asset(name)
    for _, imported in _IMPORT.findall(source):
        _collect(imported, sources, (*importers, name))
    sources[name] = source


def join(sources: dict[str, str]) -> str:
    """Joins modules, given in the order in which they may stand, after checking the rules above."""
    exports: dict[str, list[str]] = {}
    parts = []
    for name, source in sources.items():
        exports[name] = _EXPORTED.findall(source)
        taken = []
        for names, imported in _IMPORT.findall(source):
            wanted = re.findall(r"[\w$]+", names)
            for one in wanted:
                assert one in exports[imported], f"{name} imports {one}, which {imported} does not export"
            taken.append(f"const {{ {', '.join(wanted)} }} = {_variable(imported)};\n")
        body = _EXPORT.sub("", _IMPORT.sub("", source))
        left = _LEFT_OVER.search(body)
        assert left is None, f"{name} has a line that the bundle cannot read: {left and left.group()!r}"
        assert "</script" not in body.lower(), f"{name} would end the script element"
        assert "<!--" not in body, f"{name} would open a comment in the script element"
        returned = f"return {{ {', '.join(exports[name])} }};"
        parts.append(
            f"const {_variable(name)} = (() => {{ // {name}\n{''.join(taken)}{body.strip()}\n{returned}\n}})();\n"
        )
    return "\n" + "\n".join(parts)


def _variable(name: str) -> str:
    """What holds the exports of a module."""
    return "from_" + re.sub(r"\W", "_", name.removesuffix(".js"))

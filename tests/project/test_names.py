"""Names: no class name twice, and American spelling in whatever users type, import or read in the code.

`PACKAGES` are the folders and files of src/heedful that are checked, and `SCRIPTS` their scripts for the page; "" is all of it.
"""

import ast
import builtins
import keyword
import re
from collections import defaultdict
from pathlib import Path

import pytest

import heedful

SOURCE = Path(heedful.__file__).parent
PACKAGES = ("",)
SCRIPTS = ("report/assets",)

# Verbs that end with "-ise" in British spelling, up to that ending.
ISE = (
    "amort", "anonym", "apolog", "capital", "categor", "character", "critic", "custom", "digit", "discret", "emphas", "equal",
    "factor", "final", "formal", "general", "harmon", "ideal", "initial", "item", "legal", "linear", "local", "material", "maxim",
    "memo", "memor", "minim", "modern", "mutual", "neutral", "normal", "optim", "organ", "orthogonal", "parallel", "parameter",
    "parametr", "penal", "personal", "polar", "priorit", "quant", "random", "raster", "recogn", "regular", "sanit", "serial",
    "special", "stabil", "standard", "summar", "symbol", "symmetr", "synchron", "theor", "token", "util", "vector", "visual",
)  # fmt: skip
# Other British words, each by its beginning.
STEMS = (
    "armour", "artefact", "behaviour", "calibre", "cancelled", "cancelling", "catalogue", "centre", "centring", "channelled",
    "cheque", "colour", "counsell", "defence", "dialogue", "favour", "fibre", "flavour", "fuelled", "grey", "harbour", "honour",
    "humour", "labelled", "labelling", "labour", "learnt", "levelled", "licence", "litre", "marvell", "metre", "modelled",
    "modeller", "modelling", "neighbour", "odour", "offence", "plough", "practis", "pretence", "programme", "rumour", "signalled",
    "signalling", "skilful", "spelt", "theatre", "totalled", "travelled", "travelling", "tyre", "vapour", "whilst",
)  # fmt: skip
BRITISH = re.compile(
    r"(?:un|de|re|pre|non|dis|over|sub)?"
    rf"(?:(?:{'|'.join(ISE)})is(?:e|ed|es|er|ers|ing|able|ation|ations)$|analys(?:e|ed|er|ers|ing)$|{'|'.join(STEMS)})"
)
PROGRAMMERS = ("programmed", "programmer", "programmers")  # Americans double this one, too
BRITISH_WORDS = (
    "colour", "grey", "normaliser", "normalise", "optimiser", "neighbour", "neighbourhood", "centre", "centred", "behaviour",
    "labelled", "modelling", "summarise", "tokeniser", "initialise", "recognise", "minimise", "maximised", "analyse", "cancelled",
    "organisation", "vectorised", "serialised", "unnormalised", "visualisation", "utilise", "artefact", "greyscale", "favourite",
    "quantised", "generalises", "randomised", "discretise", "regularisation", "signalling", "colours", "parametrised", "localised",
)  # fmt: skip
AMERICAN_WORDS = (
    "color", "gray", "normalizer", "neighborhood", "center", "centers", "analysis", "analyses", "analyst", "otherwise", "noise",
    "promise", "raises", "precise", "rise", "revised", "pairwise", "parameter", "perimeter", "metric", "four", "hours", "source",
    "organism", "specialist", "finalist", "optimism", "realism", "axis", "basis", "emphasis", "disjoint", "programmer", "labels",
    "model", "modeled", "signal", "level", "channels", "fiber", "liter", "meter", "catalog", "dialog", "license", "defense",
)  # fmt: skip


def words(name):
    """The words of a name: `LearnedALiBi2d` has learned, a, li, bi, 2, d; `query_norm` has query, norm."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def is_british(word):
    return bool(BRITISH.match(word)) and word not in PROGRAMMERS


def files(ending, folders):
    found = []
    for folder in folders:
        path = SOURCE / folder
        found += [path] if path.is_file() else sorted(path.rglob(f"*.{ending}"))
    return found


def names_of_python(text):
    """Each name that a file defines or passes on: (line, name)."""
    for node in ast.walk(ast.parse(text)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield line, node.name
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield line, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.alias):
            yield line, node.asname or node.name
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield line, node.name


def names_of_scripts(text):
    """Each name of a script, outside of its comments and texts."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", "", text, flags=re.DOTALL)
    for line, content in enumerate(code.splitlines(), 1):
        for name in re.findall(r"[A-Za-z_$][\w$]*", content):
            yield line, name


@pytest.mark.parametrize("word", BRITISH_WORDS)
def test_british_words_are_known(word):
    assert is_british(word)


def test_american_words_are_left_alone():
    python = {word for name in (*dir(builtins), *keyword.kwlist) for word in words(name)}
    assert not [word for word in (*AMERICAN_WORDS, *sorted(python)) if is_british(word)]


def test_no_name_is_british():
    checked = 0
    british = []
    for ending, folders, names_of in (("py", PACKAGES, names_of_python), ("js", SCRIPTS, names_of_scripts)):
        for file in files(ending, folders):
            place = file.relative_to(SOURCE).as_posix()
            names = [*names_of(file.read_text()), (0, file.stem)]
            checked += len(names)
            british += [f"{place}:{line}: {name}" for line, name in names if any(map(is_british, words(name)))]
    assert checked > 5_000
    assert not british, "\n".join(sorted(set(british)))


def test_no_class_name_stands_twice():
    """A leading underscore makes no other name of it."""
    places = defaultdict(list)
    for file in files("py", PACKAGES):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(f"{file.relative_to(SOURCE).as_posix()}:{node.lineno}")
    assert len(places) > 80
    assert not {name: found for name, found in places.items() if len(found) > 1}

import re

import pytest

from heedful.report import bundle


def test_the_bundle_holds_every_module_once_and_none_of_the_lines_between_them():
    names = re.findall(r"=> \{ // ([\w-]+\.js)$", bundle.script(), re.MULTILINE)
    modules = {file.name for file in bundle.files(bundle.__package__).joinpath("assets").iterdir()}
    assert sorted(names) == sorted(name for name in modules if name.endswith(".js"))
    assert len(names) >= 10
    assert names[-1] == "main.js"
    assert re.findall(r"^(?:import|export) .*", bundle.script(), re.MULTILINE) == []


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"a.js": "export default 1;\n"}, "a.js has a line that the bundle cannot read: 'export default 1;'"),
        ({"a.js": 'import x from "./b.js";\n'}, "a.js has a line that the bundle cannot read"),
        ({"a.js": "const x = 1;\n", "b.js": 'import { x } from "./a.js";\n'}, "b.js imports x, which a.js does not"),
        ({"a.js": 'const x = "</script>";\n'}, "a.js would end the script element"),
    ],
)
def test_modules_that_break_the_rules_of_the_bundle_are_refused(sources, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        bundle.join(sources)


def test_modules_that_import_each_other_in_a_circle_are_refused(monkeypatch):
    circle = {"main.js": 'import { a } from "./a.js";\n', "a.js": 'import { b } from "./main.js";\n'}
    monkeypatch.setattr(bundle, "asset", circle.__getitem__)
    with pytest.raises(AssertionError, match=r"in a circle: main.js -> a.js -> main.js"):
        bundle._collect("main.js", {}, ())

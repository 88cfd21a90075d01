import tomllib

from heedful.tasks.catalog import TASKS, find


def test_tasks_lists_each_with_what_it_reads_and_is_measured_by(heedful):
    status, out, err = heedful("tasks")
    assert (status, err) == (0, "")
    for name, entry in TASKS.items():
        assert f"{name}\n" in out
        for words in (entry.does, entry.reads, entry.metrics):
            assert words in out


def test_show_explains_each_setting(heedful):
    from heedful.training.settings import describe_settings

    for name in TASKS:
        status, out, err = heedful("show", name)
        assert (status, err) == (0, "")
        tables = tomllib.loads(out)
        settings = find(name).Settings
        described = list(describe_settings(settings, tables["model"].get("architecture")))
        assert len(described) >= 10
        assert {f"{section}.{key}" for section, table in tables.items() for key in table} == {
            key for key, *_ in described
        }
        for key, _, choices, meaning in described:
            choices = "" if key == "model.architecture" else choices
            assert f"# {meaning} {choices}".rstrip() in out, key


def test_show_has_the_other_architectures_as_comments(heedful):
    out = heedful("show", "translate").out
    assert '# architecture = "recurrent"\n' in out
    assert "(transformer, recurrent)" in out

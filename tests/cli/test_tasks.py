import tomllib

from heedful.tasks.catalog import TASKS


def test_tasks_lists_each_with_what_it_reads_and_is_measured_by(heedful):
    status, out, err = heedful("tasks")
    assert (status, err) == (0, "")
    assert len(TASKS) >= 1
    for name, entry in TASKS.items():
        assert f"{name}\n" in out
        for words in (entry.does, entry.reads, entry.model, entry.measure):
            assert words in out


def test_show_prints_a_file_of_the_defaults_that_can_be_read_back(heedful, tmp_path):
    from heedful.training.settings import describe_settings, read_settings

    for name, entry in TASKS.items():
        status, out, err = heedful("show", name)
        assert (status, err) == (0, "")
        file = tmp_path / f"{name}.toml"
        file.write_text(out)
        settings = entry.load().Settings
        assert read_settings(settings, file) == settings()
        given = tomllib.loads(out)
        described = list(describe_settings(settings))
        assert len(described) >= 10
        assert {f"{section}.{key}" for section, table in given.items() for key in table} == {
            key for key, *_ in described
        }
        assert any(choices for _, _, choices, _ in described)
        for _, _, choices, meaning in described:
            assert f"# {meaning} {choices}".rstrip() + "\n" in out

"""The command line in this process, and one tiny model that is trained once."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tiny import Answer, draw, words


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """What is computed here is so small that threads only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run folders are signed with a key that is not the person's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of 8 x 8 in two classes, `dark` and `light`."""
    return draw(tmp_path_factory.mktemp("data") / "shades")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, shades: Path) -> Path:
    """The run folder of a finished training on `shades`; not to be changed."""
    from heedful.cli import run

    folder = tmp_path_factory.mktemp("runs") / "shades"
    assert run(words(shades, folder)) == 0
    return folder


@pytest.fixture
def run_copy(tmp_path: Path, trained: Path) -> Path:
    """A copy of `trained` that may be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def heedful(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command and gives exit status, standard output and standard error."""

    def command(*given: object) -> Answer:
        from heedful.cli import run

        capsys.readouterr()
        status = run([str(word) for word in given])
        return Answer(status, *capsys.readouterr())

    return command


@pytest.fixture
def refused(heedful: Callable[..., Answer]) -> Callable[..., str]:
    """Runs a command that must fail as an error of the person does: one line, exit status 2; gives the line."""

    def command(*given: object) -> str:
        status, _, err = heedful(*given)
        assert status == 2, err
        assert err.startswith("heedful: "), err
        assert err.endswith("\n"), err
        assert err.count("\n") == 1, err
        return err.removeprefix("heedful: ").rstrip("\n")

    return command

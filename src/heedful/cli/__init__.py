"""The command line: one file a verb. Nothing heavy is imported before a verb runs."""

import io
import sys
from collections.abc import Sequence

from heedful._errors import HeedfulError, Terminated, is_out_of_memory
from heedful._signals import TO_END, ending_on
from heedful._terminal import quiet_libraries, visible
from heedful.cli._output import discard

_LONGEST = 2000  # characters of a message


def main(words: Sequence[str] | None = None) -> None:
    """Runs `heedful ...`; an error of the user is one line and exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a class may have a name that the terminal cannot show
    with quiet_libraries():
        status = run(sys.argv[1:] if words is None else words)
    sys.exit(status)


def run(words: Sequence[str]) -> int:
    """Runs a command and gives its exit status."""
    try:
        with ending_on(*TO_END):
            return _run(words)
    except KeyboardInterrupt:
        return _fail("interrupted; a training goes on with --resume.", status=130)
    except Terminated as ended:
        goes_on = "; complete epochs are saved, and --resume goes on with them" if words[:1] == ["train"] else ""
        return _fail(f"ended by {ended.signal}{goes_on}.", status=int(ended.code or 0))


def _run(words: Sequence[str]) -> int:
    try:
        from cyclopts import CycloptsError

        from heedful.cli.app import app
    except ModuleNotFoundError as error:
        return _fail(f"the command line needs `pip install 'heedful[tasks]'`: the package {error.name} is missing.")
    words = ["/dev/stdin" if word == "-" else word for word in words]  # a hyphen alone would be taken for an option
    try:
        app(words, exit_on_error=False, print_error=False, result_action="return_value")
        if sys.stdout is not None:
            sys.stdout.flush()
    except CycloptsError as error:
        return _fail(f"{' '.join(str(error).split())} (heedful --help)")
    except HeedfulError as error:  # also that a package is missing, where it is known which extra brings it
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(f"this needs `pip install 'heedful[all]'`: the package {error.name} is missing.")
    except BrokenPipeError:
        discard(sys.stdout)  # the reader of our output has gone
        return 0
    except OSError as error:
        discard(sys.stdout)  # what could not be written is not tried again at the end
        return _fail(f"{error.filename or 'a file'}: cannot be read or written: {error.strerror or error}.")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail("there is not enough memory: a smaller or a shorter input needs less.")
    return 0


def _fail(message: str, status: int = 2) -> int:
    shown = visible(message[:_LONGEST]) + (" ..." if len(message) > _LONGEST else "")  # it may quote a file
    try:
        print(f"heedful: {shown}", file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)
    return status

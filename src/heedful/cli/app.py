"""The verbs of `heedful`, in the order in which they are used."""

from typing import Any

from cyclopts import App, Parameter

from heedful._version import __version__
from heedful.cli.compare import compare
from heedful.cli.demo import demo
from heedful.cli.evaluate import evaluate
from heedful.cli.export import export
from heedful.cli.inspect import inspect
from heedful.cli.predict import predict
from heedful.cli.report import report
from heedful.cli.serve import serve
from heedful.cli.smooth import smooth
from heedful.cli.tasks import show, tasks
from heedful.cli.train import train

app = App(
    name="heedful",
    help="Attention you can compute, train and look inside, at any length.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=""),
)
_OWN_WORDS: Any = {
    "help_flags": [],
    "version_flags": [],
    "end_of_options_delimiter": "\0",
}  # their options depend on the task
for verb in (demo, tasks, show, train, compare, evaluate, predict, inspect, report, serve, export, smooth):
    app.command(verb, **(_OWN_WORDS if verb in (train, predict) else {}))

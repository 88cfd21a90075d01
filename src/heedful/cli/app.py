"""The verbs, in the order in which a person meets them."""

from cyclopts import App

from heedful._version import __version__
from heedful.cli.demo import demo
from heedful.cli.evaluate import evaluate
from heedful.cli.inspect import inspect
from heedful.cli.predict import predict
from heedful.cli.tasks import show, tasks
from heedful.cli.train import train

app = App(
    name="heedful",
    help="Attention you can compute, train and look inside, at any length.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
for verb in (demo, tasks, show, train, evaluate, predict, inspect):
    app.command(verb)

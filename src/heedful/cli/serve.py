"""`heedful serve RUN`."""

from typing import TYPE_CHECKING

from heedful._terminal import visible
from heedful.cli._paths import UserPath

if TYPE_CHECKING:
    from heedful.tasks.serve import ModelServer


def serve(
    run_folder: UserPath,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    batch_size: int = 64,
    queue: int = 1024,
    max_body: int = 8 << 20,
    task: str | None = None,
) -> None:
    """Serve predictions over HTTP until Ctrl-C: POST /predict, GET /health, GET /schema; docs/serve.md.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    host
        The address to listen on; the default is reached from this machine alone.
    port
        The port to listen on; 0: a free one.
    batch_size
        How many inputs are predicted together, where so many wait.
    queue
        How many inputs may wait; more are refused with status 503.
    max_body
        The most bytes of a request; a longer one is refused with status 413.
    task
        The task of a run whose task is a class in a file: path/to/task.py:MyTask.
    """
    from heedful.tasks import serve as serving

    def ready(server: "ModelServer") -> None:
        print(visible(f"serving {server.model.task.name} at {server.address} until Ctrl-C"), flush=True)
        if not server.is_local:
            print("note: other machines can reach it, and it asks nobody for a password", flush=True)

    serving.serve(
        run_folder, task=task, host=host, port=port, batch_size=batch_size, queue=queue, max_body=max_body, ready=ready
    )

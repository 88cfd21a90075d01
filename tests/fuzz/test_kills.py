import subprocess
import sys


def test_trainings_that_were_killed_come_out_the_same():
    """Of a toy, in a process of its own, for it forks; `python -m tests.fuzz.kills` kills a hundred, of every task."""
    command = [sys.executable, "-m", "tests.fuzz.kills", "--cases", "1", "--tasks", "most-vowel"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("1 trainings killed and resumed: 1 came out the same\n")

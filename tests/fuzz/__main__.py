"""`python -m tests.fuzz`: attentions; `python -m tests.fuzz files`: files and requests from strangers."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["files"]:
        from tests.fuzz.files import main
    else:
        from tests.fuzz.run import main
    sys.exit(main())

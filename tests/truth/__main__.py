"""`python -m tests.truth`: a module of its own, for processes that import it under its name."""

from tests.truth.command import main

raise SystemExit(main())

"""`python -m framewire` is the command `framewire`."""

from .cli import main

raise SystemExit(main())

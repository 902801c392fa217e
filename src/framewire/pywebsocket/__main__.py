"""`python -m framewire.pywebsocket` is the command `standalone` of pywebsocket3."""

from .standalone import main

raise SystemExit(main())

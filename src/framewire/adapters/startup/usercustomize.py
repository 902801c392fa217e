"""Imported by Python at startup if a program of the command, such as `opentelemetry-instrument`, has
put a `sitecustomize` of its own before ours: otherwise that has removed this folder from `sys.path`.

Python imports it where packages of the user are enabled: not in virtual environments.
"""

import os

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sitecustomize.py"), encoding="utf-8") as _file:
    exec(compile(_file.read(), _file.name, "exec"))

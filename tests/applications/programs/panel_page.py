"""A page of Panel: text and a file from the browser, and a column of numbers as a binary message."""

import hashlib

import numpy
import panel
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

panel.extension()

source = ColumnDataSource({"x": [0.0], "y": [0.0]}, name="source")
plot = figure(width=300, height=200)
plot.line("x", "y", source=source)
name = panel.widgets.TextInput(name="Name")
more = panel.widgets.Button(name="More")
file = panel.widgets.FileInput()


def greet(name):
    return f"Hello {name}, {len(name)} characters"


def grow(clicks):
    x = numpy.arange(20_000.0 * clicks)
    source.data = {"x": x, "y": numpy.sqrt(x)}
    return f"{clicks} clicks"


def describe(content):
    return f"{len(content)} bytes, {hashlib.sha256(content).hexdigest()}" if content else "no file"


functions = [(greet, name), (grow, more.param.clicks), (describe, file)]
panel.Column(name, more, file, *(panel.bind(*pair) for pair in functions), plot).servable()

"""A page of Bokeh: text in both directions, and a column of numbers as a binary message."""

import numpy
from bokeh.layouts import column
from bokeh.models import Button, ColumnDataSource, Div, TextInput
from bokeh.plotting import curdoc, figure

source = ColumnDataSource({"x": [0.0], "y": [0.0]}, name="source")
plot = figure(width=300, height=200)
plot.line("x", "y", source=source)
name = TextInput(title="Name")
more = Button(label="More")
greeting = Div(text="nobody")
clicks = 0


def greet(_attribute, _old, new):
    greeting.text = f"Hello {new}, {len(new)} characters"


def grow():
    global clicks
    clicks += 1
    x = numpy.arange(20_000.0 * clicks)
    source.data = {"x": x, "y": numpy.sqrt(x)}
    greeting.text = f"{clicks} clicks"


name.on_change("value", greet)
more.on_click(grow)
curdoc().add_root(column(name, more, greeting, plot))

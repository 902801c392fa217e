"""A page of Streamlit: text, a table of 100 KB and a counter."""

import pandas
import streamlit

name = streamlit.text_input("Name")
streamlit.write(f"Hello {name}, {len(name)} characters")
if streamlit.button("More"):
    streamlit.session_state.clicks = streamlit.session_state.get("clicks", 0) + 1
clicks = streamlit.session_state.get("clicks", 0)
table = pandas.DataFrame({"x": range(6_000 * clicks + 1), "y": [number**0.5 for number in range(6_000 * clicks + 1)]})
streamlit.dataframe(table)
streamlit.write(f"{clicks} clicks, {len(table)} rows")
streamlit.code("x" * 70_000 if clicks else "nothing")

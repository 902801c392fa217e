"""The use of pages in Chromium; each function returns what the page shows after each step."""

from contextlib import contextmanager

from browsers import chromium

#: Milliseconds of each wait.
TIMEOUT = 120_000


@contextmanager
def opened(url):
    """Open a page; errors in its scripts are errors of the block."""
    with chromium("an application in a browser") as browser:
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        # Nothing from the Internet, such as fonts, for which the page would wait.
        page.route(lambda address: not address.startswith("http://127.0.0.1:"), lambda route: route.abort())
        page.goto(url)
        yield page
        assert errors == []


def use_tornado(url):
    """Exchange messages of all kinds, and have the server close."""
    with opened(url) as page:
        page.wait_for_function("socket.readyState == WebSocket.OPEN")
        results = [page.inner_text("#state")]
        page.evaluate("""() => {
            for (const text of ["", "text", "é".repeat(40000), "x".repeat(200000)]) socket.send(text)
            for (const size of [0, 1, 125, 126, 70000]) socket.send(new Uint8Array(size).fill(7))
            for (let number = 0; number < 500; number++) socket.send(`${number}`)
        }""")
        page.wait_for_function("received.length == 509")
        results += page.evaluate("received")
        page.evaluate("socket.send('close')")
        page.wait_for_function("socket.readyState == WebSocket.CLOSED")
        return [*results, page.inner_text("#state")]


def use_bokeh(url, start="nobody", file=None):
    """Type a name, click for columns of 20,000 and 40,000 numbers, and choose a file."""
    source = "Bokeh.documents[0].get_model_by_name('source')"
    with opened(url) as page:
        results = [page.get_by_text(start).inner_text()]
        for name in ("Ada", "é" * 3000):
            page.get_by_label("Name").fill(name)
            page.get_by_label("Name").press("Enter")
            results.append(page.get_by_text(f"Hello {name[:5]}").inner_text())
        for number in (1, 2):
            page.get_by_role("button", name="More").click()
            results.append(page.get_by_text(f"{number} clicks").inner_text())
            page.wait_for_function(f"{source}?.data.y.length == {20_000 * number}")
            results.append(page.evaluate(f"[...{source}.data.y].reduce((sum, y) => sum + y, 0)"))
        if file:
            page.locator("input[type=file]").set_input_files(file)
            results.append(page.get_by_text(f"{len(file['buffer'])} bytes").inner_text())
        return results


def use_panel(url):
    """The same, with a file of 2 MB."""
    file = {"name": "file", "mimeType": "application/octet-stream", "buffer": bytes(range(250)) * 8000}
    return use_bokeh(url, "no file", file)


def use_streamlit(url):
    """Type a name, and click for tables of 6,000 and 12,000 rows."""
    with opened(url) as page:
        results = [page.get_by_text("0 clicks").inner_text()]
        for name in ("Ada", "é" * 3000):
            page.get_by_label("Name").fill(name)
            page.get_by_label("Name").press("Enter")
            results.append(page.get_by_text(f"Hello {name}, {len(name)} characters").inner_text())
        for number in (1, 2):
            page.get_by_role("button", name="More").click()
            results.append(page.get_by_text(f"{number} clicks").inner_text())
            results.append(page.get_by_test_id("stCode").inner_text())
        return results

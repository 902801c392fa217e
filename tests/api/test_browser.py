"""The chat page in Chromium, driven by Playwright."""

import re
import signal
import subprocess
import sys

import pytest


class ChatServer:
    """`framewire serve`, running in a new process."""

    def __init__(self, port=0):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "framewire", "serve", "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = re.search(r"http://\S+", self.process.stdout.readline())[0]

    def stop(self, number):
        self.process.send_signal(number)
        self.process.communicate(timeout=10)


@pytest.fixture
def server():
    server = ChatServer()
    yield server
    if server.process.poll() is None:
        server.stop(signal.SIGTERM)
    server.process.stdout.close()


@pytest.fixture
def open_tab(browser, server):
    """Open the page as a new user; every error in its script fails the test."""
    contexts, errors = [], []

    def open_tab(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.url)
        page.wait_for_selector("#state[data-state=open]")
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert errors == []


def say(page, text):
    page.fill("#text", text)
    page.press("#text", "Enter")


def rename(page, name):
    page.fill("#name", name)
    page.press("#name", "Enter")
    page.wait_for_selector(f"#people b:text-is('{name}')")


def wait_for_text(page, selector, text):
    page.locator(selector, has_text=text).first.wait_for()


def test_two_tabs_exchange_chat_messages(open_tab):
    one, two = open_tab(), open_tab()
    wait_for_text(one, "#count", "2 people here")
    say(one, "Hello from the first")
    wait_for_text(two, ".said:not(.mine)", "Hello from the first")
    say(two, "Grüße 🎉 <b>not bold</b>")
    wait_for_text(one, ".said:not(.mine)", "Grüße 🎉 <b>not bold</b>")
    wait_for_text(two, ".said.mine", "Grüße 🎉")


def test_chat_name_can_be_changed_and_survives_a_reload(open_tab):
    one, two = open_tab(), open_tab()
    rename(one, "Ada")
    wait_for_text(two, ".note", "is now Ada")
    wait_for_text(two, "#people", "Ada")
    one.reload()
    wait_for_text(two, ".note", "Ada left")
    wait_for_text(two, ".note", "Ada joined")
    one.wait_for_function("document.getElementById('name').value === 'Ada'")


def test_chat_name_already_taken_is_refused(open_tab):
    one, two = open_tab(), open_tab()
    rename(one, "Ada")
    two.fill("#name", "ADA")
    two.press("#name", "Enter")
    wait_for_text(two, ".note", "taken")
    two.wait_for_function("document.getElementById('name').value.startsWith('Guest')")


def test_killed_server_shows_1006_and_the_page_can_reconnect(open_tab, server):
    page = open_tab()
    rename(page, "Ada")
    server.stop(signal.SIGKILL)
    page.wait_for_selector("#state[data-state=closed]")
    assert page.inner_text("#state") == "Closed (1006)"
    assert page.inner_text("#code") == "1006"
    assert page.is_disabled("#text")
    again = ChatServer(port=server.url.rstrip("/").rpartition(":")[2])
    try:
        page.click("#again")
        page.wait_for_selector("#state[data-state=open]")
        page.wait_for_selector("#people b:text-is('Ada')")
        assert page.is_hidden("#notice")
    finally:
        again.stop(signal.SIGTERM)
        again.process.stdout.close()


def test_stopped_server_closes_the_page_with_1001(open_tab, server):
    page = open_tab()
    server.stop(signal.SIGINT)
    page.wait_for_selector("#state[data-state=closed]")
    assert page.inner_text("#code") == "1001"
    assert server.process.returncode == 0


def test_browser_websocket_exchanges_messages_with_the_echo(open_tab, server):
    page = open_tab()
    answers = page.evaluate(
        """url => new Promise(resolve => {
            const socket = new WebSocket(url), seen = [];
            socket.binaryType = "arraybuffer";
            socket.onopen = () => {
                socket.send("");
                socket.send("€".repeat(50000));
                socket.send(new Uint8Array(1 << 20).fill(7));
                };
            socket.onmessage = ({data}) => {
                seen.push(typeof data === "string" ? data.length : [data.byteLength, new Uint8Array(data)[99]]);
                if (seen.length === 3) socket.close(3999, "done");
            };
            socket.onclose = ({code, reason, wasClean}) => resolve([seen, code, reason, wasClean]);
        })""",
        server.url.replace("http", "ws") + "echo",
    )
    assert answers == [[0, 50000, [1 << 20, 7]], 3999, "done", True]

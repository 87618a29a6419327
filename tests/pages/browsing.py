"""A real browser for the tests of pages, and what must hold for every page in it."""

import json
import shutil
import subprocess
import time
import urllib.request

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13}
AXE_RUN = """axe.run(document).then(({ violations, incomplete }) => {
  // Text in the colour of its background: axe is not sure that this is a fault. We are.
  const invisible = incomplete.map(({ id, nodes }) => ({ id, nodes: nodes.filter(
    node => node.any.some(check => check.data?.messageKey == "equalRatio")) }));
  return [...violations, ...invisible].flatMap(
    ({ id, nodes }) => nodes.map(node => [id, node.html.slice(0, 99)]));
})"""

FAULTS = """(() => {
  const root = document.documentElement, faults = [];
  document.querySelectorAll("details").forEach(details => { details.open = true; });
  if (root.scrollWidth > root.clientWidth) faults.push("wider than the page");
  for (const image of document.images) if (!image.naturalWidth) faults.push("broken picture");
  for (const element of document.querySelectorAll("math, img")) {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) faults.push("invisible " + element.tagName.toLowerCase());
  }
  if (document.querySelector("merror")) faults.push("wrong formula");
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (/\\$|xFORMULA/.test(texts.currentNode.data) && !parent.closest("code, pre, script, style"))
      faults.push("formula left as text");
  }
  return faults;
})()"""


class Browser:
    """A headless Chromium with one page, and the events that it reported.

    It is driven through its DevTools protocol.
    """

    def __init__(self, profile):
        websocket = pytest.importorskip("websocket", reason="websocket-client is missing")
        command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.events = []
        self.number = 0
        port = self.wait_for_port(profile / "DevToolsActivePort")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{port}/json", timeout=60) as answer:
            targets = json.load(answer)
        [page] = [target for target in targets if target["type"] == "page"]
        self.socket = websocket.create_connection(
            page["webSocketDebuggerUrl"], timeout=120, http_no_proxy=["127.0.0.1"]
        )
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def wait_for_port(self, file):
        for _ in range(600):
            if file.exists() and "\n" in file.read_text(encoding="utf-8"):
                return file.read_text(encoding="utf-8").split()[0]
            time.sleep(0.1)
        pytest.fail("the browser did not start within a minute")

    def call(self, method, **arguments):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": arguments}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, (method, message)
                return message["result"]
            self.events.append(message)

    def run(self, script):
        """The value of an expression of JavaScript, in the page."""
        arguments = {"returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", expression=script, **arguments)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def settle(self):
        """Waits until the page has drawn what was changed, and has written its address."""
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 350)))")

    def open(self, page, state="#", width=1280):
        self.resize(width)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=page.as_uri() + state)
        self.wait("location.protocol == 'file:'")
        self.run("new Promise(requestAnimationFrame)")  # drawn

    def wait(self, condition):
        """Waits until a page is there for which a condition, an expression of JavaScript, holds."""
        for _ in range(600):
            if self.run(f"{condition} && document.readyState == 'complete'"):
                return
            time.sleep(0.05)
        pytest.fail(f"after half a minute it is not so that {condition}")

    def faults(self, page, widths):
        """What is wrong with a page, at each width, and what the console says: [(what, width)]."""
        self.events.clear()
        self.open(page)
        faults = [(event["method"], "console") for event in self.complaints()]
        for width in widths:
            self.resize(width)
            faults += [(fault, width) for fault in self.run(FAULTS)]
        return faults

    def resize(self, width):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.run("new Promise(requestAnimationFrame)")  # the page has heard of it

    def click(self, selector):
        self.run(f"document.querySelector({selector!r}).click()")
        self.settle()

    def text(self, selector):
        return self.run(f"document.querySelector({selector!r}).innerText")

    def key(self, name):
        self.press(name)
        self.settle()

    def press(self, name):
        key = {"key": name, "code": name, "windowsVirtualKeyCode": KEYS[name]}
        if name == "Enter":
            self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        else:
            self.call("Input.dispatchKeyEvent", type="rawKeyDown", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def complaints(self):
        """What the console said, and every error."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event["method"] in kinds]

    def close(self):
        self.call("Browser.close")
        self.socket.close()
        self.process.wait(30)


def violations(browser, source, page, state, scheme, width=1280):
    """What axe-core finds wrong with the page: [rule, element], ..."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.call("Emulation.setEmulatedMedia", features=[feature])
    browser.open(page, state, width)
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    browser.run(f"{source}; 0")
    return browser.run(AXE_RUN)

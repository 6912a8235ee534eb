"""A headless Chromium, driven over its DevTools pipe (chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND = shutil.which("chromium")
MISSING = "Chromium is not installed: apt-get install chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
)
# Becomes Chromium, which reads commands from descriptor 3 and answers on descriptor 4.
AT_3_AND_4 = """
import fcntl, os, sys
for place, end in zip((3, 4), [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """One page, driven by mouse, keyboard and JavaScript.

    Attributes:
        errors: Errors and warnings of the page so far.
        requests: URLs that the page requested so far.
    """

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers, self._rest, self._last = commands, answers, b"", 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a DevTools command. Returns its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _read(self, seconds: float = 60) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._answers], [], [], seconds)[0], "Chromium does not answer"
            self._rest += os.read(self._answers, 2**16)
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        params = answer.get("params", {})
        match answer.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"])[:500])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(params["args"])[:500])
        return answer

    def evaluate(self, code: str) -> Any:
        """Return the value of a JavaScript expression as plain data. Promises are awaited."""
        done = self("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def load(self, path: Path, ready: str) -> None:
        """Open a file and wait until the expression `ready` is true."""
        self("Page.navigate", url=path.resolve().as_uri())
        self.wait(ready)

    def wait(self, condition: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            assert time.monotonic() < deadline, (condition, self.errors)
            time.sleep(0.02)

    def size(self, width: int, height: int) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def mouse(self, x: float, y: float, click: bool = False) -> None:
        """Move the mouse, and click if asked to."""
        self("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name: str, code: int, text: str = "") -> None:
        """Press and release a key: its name and Windows code, e.g. Tab, 9."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **more)

    def type(self, text: str) -> None:
        self("Input.insertText", text=text)

    def download_to(self, folder: Path) -> None:
        session, self._session = self._session, None
        self("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self._session = session

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        picture = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextlib.contextmanager
def opened() -> Iterator[Page]:
    """Start a fresh browser with one page."""
    assert COMMAND, MISSING
    ours, theirs = os.pipe(), os.pipe()  # ours is read by the test, theirs by Chromium
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [COMMAND, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={home}", "about:blank"]
        ends = (theirs[0], ours[1])
        with subprocess.Popen(
            [sys.executable, "-S", "-c", AT_3_AND_4, *map(str, ends), *command],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            os.close(theirs[0])
            os.close(ours[1])
            try:
                page = Page(theirs[1], ours[0])
                yield page
                page._session = None
                page("Browser.close")
            finally:
                os.close(theirs[1])
                os.close(ours[0])
                process.terminate()

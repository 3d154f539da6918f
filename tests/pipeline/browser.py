"""A headless Chromium, driven over a pipe with nothing but the standard library."""

from __future__ import annotations

import base64
import fcntl
import io
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
_ANY_NUMBER = 10  # pipe ends are moved out of the way of 3 and 4, which Chromium reads and writes


class Browser:
    """One page in a headless Chromium; `problems` collects what its console complains of."""

    def __init__(self, folder: Path) -> None:
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, _ANY_NUMBER) for end in (child_in, child_out)]

        def connect() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        # no errand of its own, and no name resolves: a report is one file that needs no network
        options += ["--disable-background-networking", "--disable-component-update"]
        options += ["--host-resolver-rules=MAP * ~NOTFOUND"]
        command = [str(CHROMIUM), *options, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            command, preexec_fn=connect, pass_fds=(3, 4), stderr=subprocess.DEVNULL
        )
        for end in (child_in, child_out, *ends):
            os.close(end)
        self._buffer = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.problems: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, address: str, width: int, height: int, **media: str) -> None:
        """Open a page in a window of a size, with media features such as color_scheme="dark"."""
        features = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in media.items()
        ]
        self._call("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems}"
            time.sleep(0.05)

    def screenshot(self) -> np.ndarray:
        """Return the window as uint8 [H, W, 3]."""
        from PIL import Image

        png = base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])
        with Image.open(io.BytesIO(png)) as picture:
            return np.asarray(picture.convert("RGB"))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._note(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        bad = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        if event.get("method") in bad:
            self.problems.append(json.dumps(event["params"]))

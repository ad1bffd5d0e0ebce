"""A real browser that a test drives: Chromium without a window, spoken to through a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
COMMAND = next(filter(None, map(shutil.which, NAMES)), "")
#: Without a sandbox, which a container may lack, and without a word to anybody.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
)


class Browser:
    """Chromium's DevTools protocol: JSON messages that end with a zero byte, through descriptors 3, 4."""

    def __init__(self, folder: Path) -> None:
        self._asked = 0
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        shell = f'exec "$0" {FLAGS} --user-data-dir="$1" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, COMMAND, str(folder)],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self._left = b""

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._out.close()
        self._in.close()

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """What a method of the protocol answers; events are passed over."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            said, end, self._left = self._left.partition(b"\0")
            if not end:
                more = self._in.read1(1 << 20)
                assert more, "the browser has ended"
                self._left = said + more
            elif (answer := json.loads(said)).get("id") == self._asked:
                assert "error" not in answer, answer
                return answer["result"]

    def use(self, page: Path, script: str, width: int = 1280) -> Any:
        """What the body of an async function returns when it runs in a page that has been loaded in a
        window so many pixels wide."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        self.call("Page.navigate", session, url=page.as_uri())  # answers when the page is there
        loaded = "await new Promise(d => document.readyState == 'complete' ? d() : onload = d);"
        expression = f"(async () => {{ {loaded} {script} }})()"
        rest = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        found = self.call("Runtime.evaluate", session, **rest)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"]["value"]

"""A headless Chromium, and one tab of it, by way of --remote-debugging-pipe: JSON that ends with NUL, on descriptors 3
(commands) and 4 (answers and events)."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time

ANSWER_WAIT = 120.0

FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
]

# What a browser says if something is wrong with a page.
COMPLAINTS = {
    "Log.entryAdded",
    "Runtime.consoleAPICalled",
    "Runtime.exceptionThrown",
    "Page.javascriptDialogOpening",
    "Network.loadingFailed",
}


class Chromium:
    def __init__(self, directory):
        def pipe():
            # Not 3 or 4, which the child's ends become.
            return [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()]

        commands, self.commands = pipe()
        self.answers, answers = pipe()
        words = ["chromium", *FLAGS, f"--user-data-dir={directory}/profile"]
        if os.geteuid() == 0:
            words.append("--no-sandbox")
        log = os.open(f"{directory}/chromium.log", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.process = os.posix_spawn(
            shutil.which("chromium"),
            words,
            {**os.environ, "HOME": directory},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, commands, 3),
                (os.POSIX_SPAWN_DUP2, answers, 4),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setpgroup=0,
        )
        for end in (commands, answers, log):
            os.close(end)
        self.unread = b""
        self.events = []
        self.calls = 0

    def message(self):
        """The next answer or event."""
        until = time.monotonic() + ANSWER_WAIT
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.answers], [], [], max(0, until - time.monotonic()))
            read = os.read(self.answers, 1 << 16) if ready else b""
            if not read:
                raise RuntimeError("chromium does not answer")
            self.unread += read
        first, self.unread = self.unread.split(b"\0", 1)
        return json.loads(first)

    def call(self, method, session=None, **parameters):
        self.calls += 1
        command = {"id": self.calls, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        os.write(self.commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") != self.calls:
                self.events.append(message)
            elif "error" in message:
                raise RuntimeError(f"{method}: {message['error']}")
            else:
                return message["result"]

    def close(self):
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


class Tab:
    def __init__(self, chromium):
        self.chromium = chromium
        target = chromium.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = chromium.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        return self.chromium.call(method, self.session, **parameters)

    def heard(self, methods):
        """The parameters of the events of these kinds since the page was opened."""
        return [event["params"] for event in self.chromium.events if event.get("method") in methods]

    def window(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def open(self, url, width, scheme):
        self.window(width, 800)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.chromium.events.clear()
        self.call("Page.navigate", url=url)
        while not self.heard({"Page.loadEventFired"}):
            self.chromium.events.append(self.chromium.message())

    def value(self, expression):
        """The value of an expression of JavaScript. The page's Content-Security-Policy does not forbid that."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def requests(self):
        return [request["request"]["url"] for request in self.heard({"Network.requestWillBeSent"})]

    def complaints(self):
        return [json.dumps(complaint)[:400] for complaint in self.heard(COMPLAINTS)]

    def screenshot(self, file, width, height_max):
        height = self.value("document.documentElement.scrollHeight")
        self.window(width, min(height, height_max))
        with open(file, "wb") as image:
            image.write(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

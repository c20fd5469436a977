"""The measuring part of benches/daemon.sh."""

import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone

BINARY = os.path.abspath(sys.argv[1])
JOBS = int(os.environ.get("JOBS", "10000"))
IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "30"))
ON_TIME_FIRES = 10

SERVERS = "".join(
    f'[servers.{name}]\nconninfo = "host=/nonexistent user=u dbname=d"\nmax_connections = 100\n'
    for name in ("a", "b")
)


def job(name, more):
    return (
        f'[jobs.{name}]\nsource = "a"\ntarget = "b"\nmode = "append"\ntables = ["public.t"]\n'
        f"retry = {{ max = 0 }}\n{more}\n"
    )


class Daemon:
    """A daemon in a directory of its own; `ready_after` is in seconds."""

    def __init__(self, jobs):
        self.home = tempfile.TemporaryDirectory(prefix="tableferry-bench.")
        self.config = self.path("tableferry.toml")
        with open(self.config, "w") as file:
            file.write(SERVERS + jobs)
        self.env = {
            "RUNTIME_DIRECTORY": self.path("run"),
            "STATE_DIRECTORY": self.path("state"),
            "TABLEFERRY_CONFIG": self.config,
        }
        self.log = open(self.path("log"), "w+b")
        started = time.monotonic()
        self.process = subprocess.Popen([BINARY, "daemon"], env=self.env, stderr=self.log)
        while b'"ready"' not in self.text():
            if self.process.poll() is not None:
                sys.exit(self.text().decode())
            time.sleep(0.002)
        self.ready_after = time.monotonic() - started

    def path(self, name):
        return os.path.join(self.home.name, name)

    def text(self):
        with open(self.path("log"), "rb") as file:
            return file.read()

    def events(self, message):
        lines = (json.loads(line) for line in self.text().splitlines() if line.startswith(b"{"))
        return [line for line in lines if line["message"] == message]

    def memory(self, what):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(what))

    def wake_ups(self):
        total = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/status"):
            with open(path) as file:
                total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        return total

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, *arguments):
        started = time.monotonic()
        subprocess.run([BINARY, *arguments], env=self.env, stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - started

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        self.process.wait()
        return time.monotonic() - started


def show(what, value, unit, wanted=""):
    print(f"{what:<64} {value:>9} {unit:<4} {wanted}", flush=True)


def second_of(event):
    return datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()


def idle():
    daemon = Daemon(job("j", 'every = "1d"') + job("k", ""))
    time.sleep(1)
    before = daemon.wake_ups()
    time.sleep(IDLE_SECONDS)
    show(f"idle: wake-ups in {IDLE_SECONDS:.0f} s", daemon.wake_ups() - before, "", "(one a minute looks at the clock)")
    show("idle: resident", f"{daemon.memory('VmRSS'):.1f}", "MiB", "(wanted: at most 15)")
    daemon.ask("trigger", "k")
    while not daemon.events("started"):
        time.sleep(0.01)
    time.sleep(1)
    show("idle, after a run: resident", f"{daemon.memory('VmRSS'):.1f}", "MiB")
    show("SIGTERM to its end", f"{daemon.stop() * 1000:.0f}", "ms")


def many():
    rest = "".join(job(f"j{n}", f'cron = "{n % 60} {n // 60 % 24} 1 1 *"') for n in range(JOBS - 1))
    daemon = Daemon(rest + job("often", 'every = "1s"'))
    show(f"{JOBS} jobs: start-up", f"{daemon.ready_after * 1000:.0f}", "ms", "(wanted: at most 1000)")
    show(f"{JOBS} jobs: resident", f"{daemon.memory('VmRSS'):.1f}", "MiB")
    while len(daemon.events("started")) < ON_TIME_FIRES:
        time.sleep(0.1)
    late = max(second_of(event) % 1 for event in daemon.events("started"))
    show(f"{JOBS} jobs: latest start of {ON_TIME_FIRES} fires", f"{late * 1000:.1f}", "ms", "(wanted: at most 100)")
    show(f"{JOBS} jobs: status", f"{daemon.ask('status') * 1000:.0f}", "ms")
    show(f"{JOBS} jobs: reload", f"{daemon.ask('reload') * 1000:.0f}", "ms")
    daemon.stop()


def at_once():
    # A fire time that comes soon, and no second one.
    due = (int(time.time()) // 60 + 1) * 60
    if due - time.time() < 5:
        due += 60
    minute = datetime.fromtimestamp(due, tz=timezone.utc)
    cron = f"{minute.minute} {minute.hour} {minute.day} {minute.month} *"
    daemon = Daemon("".join(job(f"j{n}", f'cron = "{cron}"') for n in range(JOBS)))
    time.sleep(max(0, due - time.time()) + 0.3)
    asked = max(daemon.ask("status", "j0") for _ in range(5))
    while daemon.text().count(b'"started"') < JOBS:
        time.sleep(0.1)
    starts = sorted(second_of(event) for event in daemon.events("started"))
    show(f"{JOBS} fires at once: the first is started after", f"{(starts[0] - due) * 1000:.1f}", "ms", "(wanted: at most 100)")
    show(f"{JOBS} fires at once: the last, 4 at a time", f"{starts[-1] - due:.1f}", "s")
    show(f"{JOBS} fires at once: slowest status meanwhile", f"{asked * 1000:.0f}", "ms")
    show(f"{JOBS} fires at once: resident, at most", f"{daemon.memory('VmHWM'):.1f}", "MiB")
    daemon.stop()


idle()
many()
at_once()

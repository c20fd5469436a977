"""The measuring part of benches/daemon.sh."""

import glob
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timezone

BINARY = os.path.abspath(sys.argv[1])
JOBS = int(os.environ.get("JOBS", "10000"))
IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "30"))
ON_TIME_FIRES = 10
SCRAPED_JOBS = 500

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


def listening():
    """`listen` on a free port, and its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return f'[daemon]\nlisten = "{address}"\n', f"http://{address}"


def idle(name, head, at_most):
    daemon = Daemon(head + job("j", 'every = "1d"') + job("k", ""))
    time.sleep(1)
    before = daemon.wake_ups()
    time.sleep(IDLE_SECONDS)
    show(f"{name}: wake-ups in {IDLE_SECONDS:.0f} s", daemon.wake_ups() - before, "", "(one a minute looks at the clock)")
    show(f"{name}: resident", f"{daemon.memory('VmRSS'):.1f}", "MiB", f"(wanted: at most {at_most})")
    return daemon


def stopped(daemon):
    daemon.ask("trigger", "k")
    while not daemon.events("started"):
        time.sleep(0.01)
    time.sleep(1)
    show("idle, after a run: resident", f"{daemon.memory('VmRSS'):.1f}", "MiB")
    show("SIGTERM to its end", f"{daemon.stop() * 1000:.0f}", "ms")


def scraped():
    """Prometheus asks every second."""
    head, url = listening()
    daemon = Daemon(head + "".join(job(f"j{n}", 'every = "1d"') for n in range(SCRAPED_JOBS)))
    before, began = daemon.cpu(), time.monotonic()
    longest = size = 0
    while time.monotonic() - began < IDLE_SECONDS:
        asked = time.monotonic()
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            size = len(answer.read())
        took = time.monotonic() - asked
        longest = max(longest, took)
        time.sleep(max(0, 1 - took))
    core = (daemon.cpu() - before) / (time.monotonic() - began) * 100
    show(f"{SCRAPED_JOBS} jobs, scraped every second: CPU", f"{core:.2f}", "%", "(wanted: at most 2 of a core)")
    show(f"{SCRAPED_JOBS} jobs, scraped every second: longest answer", f"{longest * 1000:.1f}", "ms", f"({size / 1024:.0f} KiB)")
    show(f"{SCRAPED_JOBS} jobs, scraped every second: resident", f"{daemon.memory('VmRSS'):.1f}", "MiB")
    daemon.stop()


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


stopped(idle("idle", "", 15))
idle("idle, with listen", listening()[0], 14).stop()
scraped()
many()
at_once()

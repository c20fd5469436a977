"""Does the steps of deploy/Dockerfile in directories: see tests/dockerfile.sh."""

import fnmatch
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path.cwd()
WORK = Path(sys.argv[1])
# A program that is there, instead of `cargo build`.
PROGRAM = Path(sys.argv[2]) if len(sys.argv) > 2 else None
SLIM = ROOT / "target/package/debian-slim"
# Kept for the next time, so that not all crates are compiled again.
BUILT = ROOT / "target/package/image-target"
START_WAIT_S = 30
# Longer than shutdown_grace.
STOP_WAIT_S = 90
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def instructions(text):
    """Pairs of an instruction and its arguments."""
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word.upper(), rest.strip()


def kept_files():
    """The files of the build context, after .dockerignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    kept = []
    for file in listed:
        ignored = False
        for rule in Path(".dockerignore").read_text().splitlines():
            if not rule or rule.startswith("#"):
                continue
            pattern = rule.removeprefix("!")
            parents = [file, *map(str, Path(file).parents)]
            if any(fnmatch.fnmatchcase(path, pattern) for path in parents):
                ignored = not rule.startswith("!")
        if not ignored:
            kept.append(file)
    return kept


class Stage:
    def __init__(self, number, image):
        self.directory = WORK / str(number)
        self.env = {"PATH": PATH, "HOME": "/root"}
        self.user, self.workdir, self.command = "0:0", "/", {}
        subprocess.run(["cp", "-a", SLIM, self.directory], check=True)
        shutil.copy("/etc/resolv.conf", self.directory / "etc/resolv.conf")
        self.mount("/proc", "/proc")
        self.mount("/dev", "/dev")
        if image.startswith("rust:") and not PROGRAM:
            self.add_rust()

    def mount(self, source, target):
        place = self.directory / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        # This process has mounts of its own (unshare), so nobody outside removes what is behind them.
        subprocess.run(["mount", "--bind", source, place], check=True)

    def add_rust(self):
        sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
        home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
        self.mount(sysroot, sysroot)
        self.mount(f"{home}/registry", f"{home}/registry")
        self.env |= {"PATH": f"{sysroot}/bin:{PATH}", "CARGO_HOME": home}
        # Docker's image has a compiler, too.
        self.run("apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev ca-certificates")

    def chroot(self, words):
        shell = 'cd "$0" && exec "$@"'
        return ["chroot", f"--userspec={self.user}", self.directory, "/bin/sh", "-c", shell, self.workdir, *words]

    def run(self, shell):
        done = subprocess.run(
            self.chroot(["/bin/sh", "-c", shell]),
            env=self.env | {"DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        if done.returncode:
            sys.exit(f"not ok RUN {shell}\n{done.stdout[-3000:]}")

    def inside(self, path):
        return self.directory / os.path.join(self.workdir, path).lstrip("/")

    def copy(self, words, stages):
        *sources, target = [word for word in words if not word.startswith("--")]
        origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
        place = self.inside(target)
        into = target.endswith("/") or len(sources) > 1 or sources == ["."]
        if origin:
            files = [(stages[origin].directory / source.lstrip("/"), Path(source).name) for source in sources]
        else:
            kept = kept_files()
            files = [(ROOT / file, file) for file in kept if "." in sources]
            files += [(ROOT / file, Path(file).name) for file in kept if file in sources]
            missing = set(sources) - {"."} - set(kept)
            if missing:
                sys.exit(f"not ok COPY: not in the context: {missing}")
        for source, name in files:
            to = place / name if into else place
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to)


def build():
    stages, stage = {}, None
    for number, (word, rest) in enumerate(instructions((ROOT / "deploy/Dockerfile").read_text())):
        print(f"== {word} {rest}", flush=True)
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stage = stages[name or "last"] = Stage(number, image)
        elif word == "RUN":
            if "cargo build" in rest and PROGRAM:
                built = stage.inside("target/release/tableferry")
                built.parent.mkdir(parents=True)
                shutil.copy2(PROGRAM, built)
                continue
            if "cargo build" in rest:
                BUILT.mkdir(parents=True, exist_ok=True)
                stage.mount(str(BUILT), f"{stage.workdir}/target")
            stage.run(rest)
        elif word == "COPY":
            stage.copy(rest.split(), stages)
        elif word == "WORKDIR":
            stage.workdir = rest
            stage.inside(".").mkdir(parents=True, exist_ok=True)
        elif word == "ENV":
            stage.env |= dict(pair.split("=", 1) for pair in rest.split())
        elif word == "USER":
            stage.user = rest
        elif word in ("ENTRYPOINT", "CMD"):
            stage.command[word] = json.loads(rest)
        elif word == "HEALTHCHECK":
            stage.command[word] = json.loads(rest.partition(" CMD ")[2])
        elif word == "STOPSIGNAL":
            stage.command[word] = rest
        elif word not in ("VOLUME", "EXPOSE"):
            sys.exit(f"not ok {word}: this test does not know it")
    return stages


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def config_map():
    text = (ROOT / "deploy/kubernetes.yaml").read_text()
    block = re.search(r"^  tableferry\.toml: \|\n((?:    .*\n|\n)+)", text, re.M)
    return re.sub(r"^    ", "", block[1], flags=re.M)


failed = False


def check(what, holds):
    global failed
    failed |= not holds
    print(f"{'ok' if holds else 'not ok'} {what}", flush=True)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def soon(holds):
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


def start(stage, what, env):
    """Starts the image's command, looks at its health, and stops it as an engine would."""
    port = free_port()
    env = stage.env | env | {"TABLEFERRY__DAEMON__LISTEN": f"0.0.0.0:{port}"}
    words = stage.command["ENTRYPOINT"] + stage.command["CMD"]
    with open(WORK / "log", "w") as log:
        daemon = subprocess.Popen(stage.chroot(words), env=env, stdout=log, stderr=log)
    healthy = lambda: subprocess.run(  # noqa: E731
        stage.chroot(stage.command["HEALTHCHECK"]), env=env, capture_output=True
    ).returncode == 0
    check(f"{what}: the health check passes", soon(healthy))
    for path in ("/healthz", "/readyz"):
        check(f"{what}: {path} answers", answers(f"http://127.0.0.1:{port}{path}"))
    uids = re.search(r"^Uid:\s+(\d+)", Path(f"/proc/{daemon.pid}/status").read_text(), re.M)
    check(f"{what}: it is not root but user {uids[1]}", uids[1] == stage.user.split(":")[0] != "0")
    name = stage.command["STOPSIGNAL"].removeprefix("SIG")
    subprocess.run(["kill", "-s", name, str(daemon.pid)], check=True)
    try:
        status = daemon.wait(STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        status = None
    check(f"{what}: {stage.command['STOPSIGNAL']} ends it with exit code 0", status == 0)
    check(f"{what}: the health check fails afterwards", not healthy())
    if failed:
        print((WORK / "log").read_text()[-3000:])


def main():
    WORK.mkdir()
    stage = build()["last"]
    etc = stage.directory / "etc/tableferry"
    etc.mkdir()
    (etc / "tableferry.toml").write_text(config_map())
    start(stage, "as Docker starts it", {})
    # As in the pod: an emptyDir, and a Secret that the group may read.
    scratch = stage.directory / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    secrets = stage.directory / "run/secrets/tableferry"
    secrets.mkdir(parents=True)
    for server in ("shop", "warehouse"):
        file = secrets / server
        file.write_text("change-me\n")
        file.chmod(0o440)
        os.chown(file, 0, 10001)
    pod = {"RUNTIME_DIRECTORY": "/scratch/run", "STATE_DIRECTORY": "/scratch/state"}
    start(stage, "in the pod", pod)
    checked = subprocess.run(
        stage.chroot(["tableferry", "check"]), env=stage.env | pod, capture_output=True, text=True
    )
    check(f"in the pod: the configuration has no warning {checked.stderr}", checked.returncode == 0 and not checked.stderr)
    sys.exit(failed)


main()

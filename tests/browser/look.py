"""What tests/browser.sh looks at: look.py BINARY DIRECTORY."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from chromium import Chromium, Tab

BINARY = os.path.abspath(sys.argv[1])
PICTURES = sys.argv[2]
WAIT = 120.0
WIDE, NARROW = 1280, 400
HEIGHT_MAX = 2400
# What WCAG 2 wants of text (AA).
CONTRAST = 4.5

MARKUP = "<img src=x onerror=alert(1)>"

# The texts whose contrast to what is behind them is less than it should be.
PALE = """(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length == 3 || color[3] == 1) return color;
    }
    return [255, 255, 255];
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const pale = [];
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), element = walk.currentNode.parentElement;
    if (!text) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < CONTRAST) pale.push(`${contrast.toFixed(1)} ${text.slice(0, 30)}`);
  }
  return pale;
})()""".replace("CONTRAST", str(CONTRAST))

failed = passed = 0


def check(what, is_right, why=""):
    """`why` is shown if it is not."""
    global failed, passed
    if is_right:
        passed += 1
    else:
        failed += 1
        print(f"not ok {what}: {why}", flush=True)


def until(what, holds):
    end = time.monotonic() + WAIT
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"error: waited too long until {what}")
        time.sleep(0.05)


# ---- Servers, and daemons ----------------------------------------------------------------------------


def sql(side, *statements):
    words = [word for statement in statements for word in ("-c", statement)]
    at = ["-h", "127.0.0.1", "-p", os.environ[f"{side.upper()}_PORT"], "-U", "postgres", "-d", "postgres"]
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *at, *words], check=True)


def both(*statements):
    sql("source", *statements)
    sql("target", *statements)


def server(side):
    port = os.environ[f"{side.upper()}_PORT"]
    return (
        f'[servers.{side}]\nconninfo = "host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"\n'
        "max_connections = 20\n"
    )


def job(name, mode, tables, more=""):
    tables = json.dumps(tables)
    return (
        f'[jobs.{name}]\nsource = "source"\ntarget = "target"\nmode = "{mode}"\ntables = {tables}\n'
        f"retry = {{ max = 0 }}\n{more}\n"
    )


class Daemon:
    """A daemon with `listen`, in a directory of its own, whose `url` is known."""

    def __init__(self, jobs, more=""):
        self.home = tempfile.TemporaryDirectory(prefix="browser.", dir=os.environ["WORK"])
        head = f'[daemon]\nlisten = "127.0.0.1:0"\nshutdown_grace = "0s"\n{more}\n'
        with open(self.path("tableferry.toml"), "w") as file:
            file.write(head + server("source") + server("target") + jobs)
        self.env = {
            **os.environ,
            "RUNTIME_DIRECTORY": self.path("run"),
            "STATE_DIRECTORY": self.path("state"),
            "TABLEFERRY_CONFIG": self.path("tableferry.toml"),
        }
        with open(self.path("log"), "wb") as log:
            self.process = subprocess.Popen([BINARY, "daemon"], env=self.env, stderr=log)
        until("the daemon is ready", lambda: self.events("ready") or self.process.poll() is not None)
        if self.process.poll() is not None:
            sys.exit(open(self.path("log")).read())
        self.url = f"http://{self.events('listening')[0]['address']}"

    def path(self, name):
        return os.path.join(self.home.name, name)

    def events(self, message):
        with open(self.path("log")) as log:
            lines = [json.loads(line) for line in log if line.startswith("{") and line.endswith("}\n")]
        return [line for line in lines if line["message"] == message]

    def ask(self, *arguments):
        done = subprocess.run([BINARY, *arguments], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return done.stdout

    def run(self, name):
        self.ask("trigger", name, "--wait")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


# ---- Looking -----------------------------------------------------------------------------------------


def look(tab, daemon, name, path, says, width=WIDE, scheme="light"):
    """Opens a page, checks what holds of all pages and that it says these texts, and makes a screenshot."""
    tab.open(daemon.url + path, width, scheme)
    foreign = [url for url in tab.requests() if not url.startswith(daemon.url + "/")]
    check(f"{name}: no request leaves the origin", tab.requests() and not foreign, foreign)
    check(f"{name}: no complaint", not tab.complaints(), tab.complaints())
    wide = tab.value("document.documentElement.scrollWidth")
    check(f"{name}: fits {width} px", wide <= width, f"{wide} px")
    scrolls = "[...document.querySelectorAll('.wide')].map(region => region.scrollWidth - region.clientWidth)"
    check(f"{name}: no table must be scrolled", not any(tab.value(scrolls)), tab.value(scrolls))
    pale = tab.value(PALE)
    check(f"{name}: contrast", not pale, pale)
    text = tab.value("document.body.innerText")
    for wanted in says:
        check(f"{name}: says {wanted!r}", wanted in text, text)
    tab.screenshot(f"{PICTURES}/{name}.png", width, HEIGHT_MAX)
    print(f"{name}.png", flush=True)


def look_each_way(tab, daemon, name, path, says):
    look(tab, daemon, name, path, says)
    look(tab, daemon, f"{name}_dark", path, says, scheme="dark")
    look(tab, daemon, f"{name}_narrow", path, says, width=NARROW)


def no_jobs(tab):
    with Daemon("") as daemon:
        look(tab, daemon, "0_jobs", "/", ["No job is configured.", "0 all"])
        look(tab, daemon, "0_jobs_narrow", "/", ["No job is configured."], width=NARROW)


def three_jobs(tab):
    """One whose history is long, one that fails, one that has never run."""
    both(
        "CREATE TABLE customers (id int PRIMARY KEY, name text, visits int)",
        "CREATE TABLE customer_addresses_of_all_countries (id int PRIMARY KEY, street text)",
        "CREATE TABLE invoices (id int PRIMARY KEY, amount numeric)",
    )
    sql("target", "ALTER TABLE invoices ALTER amount SET NOT NULL", "ALTER TABLE customers ALTER visits TYPE bigint")
    sql("source", "INSERT INTO invoices VALUES (1, NULL)")
    jobs = (
        job("customers", "merge", ["public.customer*"], 'cron = "*/15 * * * *"\nfresh_within = "2h"')
        + job("invoices", "truncate", ["public.invoices"], 'every = "1h"')
        + job("archive_of_last_year", "append", ["public.invoices"])
    )
    with Daemon(jobs) as daemon:
        for turn in range(14):
            sql(
                "source",
                f"INSERT INTO customers SELECT i, 'n', 0 FROM generate_series({turn * 1000}, {turn * 1000 + turn * 60}) i",
                f"UPDATE customers SET visits = visits + 1 WHERE id % 7 = {turn % 7}",
                f"INSERT INTO customer_addresses_of_all_countries VALUES ({turn}, 'street')",
            )
            if turn == 9:
                sql("target", "ALTER TABLE customers RENAME TO elsewhere")
            daemon.run("customers")
            if turn == 9:
                sql("target", "ALTER TABLE elsewhere RENAME TO customers")
        daemon.run("invoices")
        overview = ["customers", "failing", "23502", "Hint: ", "idle"]
        look_each_way(tab, daemon, "3_jobs", "/", overview)
        history = ["public.customers", "merge", "text", "14 runs", "rolled back", "Rows written"]
        look_each_way(tab, daemon, "history", "/jobs/customers", history)
        look_each_way(tab, daemon, "failure", "/jobs/invoices", ["not-null constraint", "Hint: "])
        policy_works(tab, daemon)
        keyboard_works(tab, daemon)


def policy_works(tab, daemon):
    """The browser enforces the Content-Security-Policy, and this test hears of it."""
    tab.open(daemon.url + "/", WIDE, "light")
    elements = [
        "Object.assign(document.createElement('img'), {src: 'http://elsewhere.invalid/x.png'})",
        "Object.assign(document.createElement('script'), {text: 'window.harmed = true'})",
    ]
    tab.value(f"document.body.append({', '.join(elements)})")
    until("the browser refuses", lambda: tab.value("1") and len(tab.complaints()) >= 2)
    said = " ".join(tab.complaints())
    check("a foreign image is refused", "img-src" in said, said)
    check("a script is refused", "script-src" in said and not tab.value("!!window.harmed"), said)


def keyboard_works(tab, daemon):
    """The tab key leads to each link and field in the order of the page, and each shows that it has the focus."""
    tab.open(daemon.url + "/", WIDE, "light")
    wanted = tab.value("document.querySelectorAll('a, input:not([type=hidden]), button').length")
    seen = []
    for _ in range(wanted):
        for kind in ("keyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        at = "document.activeElement"
        outline = tab.value(f"getComputedStyle({at}).outlineStyle")
        seen.append(tab.value(f"[...document.querySelectorAll('*')].indexOf({at})"))
        check(f"element {len(seen)} shows the focus", outline not in ("none", ""), outline)
    check("the tab key reaches all in order", seen == sorted(set(seen)), seen)


def running(tab):
    """One job that runs, one that waits for it, one that is paused."""
    both("CREATE TABLE events (id int PRIMARY KEY, what text)")
    sql("source", "INSERT INTO events SELECT i, repeat('x', 100) FROM generate_series(1, 200000) i", "ANALYZE events")
    jobs = (
        job("events", "truncate", ["public.events"], 'rate_limit = "200kB"\nevery = "1d"')
        + job("after_events", "truncate", ["public.customer*"], 'after = ["events"]')
        + job("weekly", "truncate", ["public.customers"], 'cron = "0 3 * * sun"')
    )
    with Daemon(jobs, "max_running_jobs = 1") as daemon:
        daemon.ask("pause", "weekly")
        daemon.ask("trigger", "events")
        tab.open(daemon.url + "/jobs/events", WIDE, "light")

        def has_begun():
            tab.open(daemon.url + "/jobs/events", WIDE, "light")
            return "left" in tab.value("document.body.innerText")

        until("the copy has begun", has_begun)
        # The daemon looks into the ledger every 10 s.
        until("the pause is seen", lambda: '"paused_since":"' in daemon.ask("status", "weekly", "--json"))
        daemon.ask("trigger", "after_events")
        look_each_way(tab, daemon, "running", "/", ["1 running", "1 waiting", "1 paused", "for "])
        says = ["The run that is active", "public.events", "%", "left"]
        look_each_way(tab, daemon, "progress", "/jobs/events", says)


def markup(tab):
    name = f'"{MARKUP}"'
    both(f"CREATE TABLE {name} (id int PRIMARY KEY)")
    sql("source", f"INSERT INTO {name} VALUES (1)")
    with Daemon(job("markup", "truncate", [f"public.{name}"], "log_values = true")) as daemon:
        daemon.run("markup")
        look(tab, daemon, "markup", "/jobs/markup", [MARKUP, "committed"])
        sql(
            "target",
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION ''<script>alert(2)</script>''; END'",
            f"CREATE TRIGGER refuse BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        daemon.run("markup")
        look(tab, daemon, "markup_failure", "/", ["<script>alert(2)</script>"])
        look(tab, daemon, "markup_failure_narrow", "/", ["<script>alert(2)</script>"], width=NARROW)


def many_jobs(tab):
    """500 jobs in every state, one of which has the longest name."""
    both("CREATE TABLE small (id int PRIMARY KEY)")
    sql("source", "INSERT INTO small SELECT generate_series(1, 10)")

    def one(number):
        table = ["public.missing" if number % 50 == 0 else "public.small"]
        fresh = 'fresh_within = "1s"' if number % 40 == 1 else 'fresh_within = "1d"'
        name = f"region_{number:03}_" + "_".join(["orders", "stock", "prices", "ledger"][: number % 4 + 1])
        return name, job(name, "truncate", table, f'cron = "{number % 60} {number % 24} * * *"\n{fresh}')

    jobs = dict(one(number) for number in range(499))
    longest = "x" * 63
    jobs[longest] = job(longest, "truncate", ["public.missing"])
    with Daemon("".join(jobs.values())) as daemon:
        for name in [*list(jobs)[:24], longest]:
            daemon.run(name)
        daemon.ask("pause", list(jobs)[30])
        tab.open(daemon.url + "/?state=stale", WIDE, "light")
        look_each_way(tab, daemon, "500_jobs", "/", ["500 all", "failing", "stale", longest[:20]])
        look(tab, daemon, "500_jobs_filtered", "/?name=prices&state=ok", ["region_002_orders_stock_prices"])
        check("500 jobs: all are listed", tab_rows(tab, daemon) >= 500)


def tab_rows(tab, daemon):
    tab.open(daemon.url + "/", WIDE, "light")
    return tab.value("document.querySelectorAll('tbody th').length")


def main():
    with tempfile.TemporaryDirectory(prefix="chromium.", dir=os.environ["WORK"]) as directory:
        chromium = Chromium(directory)
        try:
            tab = Tab(chromium)
            for scene in (no_jobs, three_jobs, running, markup, many_jobs):
                scene(tab)
        finally:
            chromium.close()
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()

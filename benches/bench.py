"""Shared by the benches that benches/lib.sh starts: the two servers, meters, rounds, and tables in benches/README.md."""

import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.environ["WORK"]
TABLEFERRY = os.environ["tableferry"]
# What starts all clients: `chrt -b 0` is what the units of tableferry do.
LAUNCHER = os.environ.get("LAUNCHER", "").split()
POSTGRES = os.path.join(os.environ["PG_BIN"], "postgres")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
MIB = 1 << 20


def size(name, default):
    """A number that the environment sets; SCALE multiplies all defaults."""
    return int(os.environ.get(name) or max(1, default * float(os.environ.get("SCALE", "1"))))


def words(statements):
    """The words of a psql command for these statements."""
    return [word for statement in statements for word in ("-c", statement)]


class Server:
    def __init__(self, side):
        self.side = side
        self.port = int(os.environ[side.upper() + "_PORT"])
        with open(f"{WORK}/{side}/data/postmaster.pid") as file:
            self.postmaster = int(file.readline())

    def psql(self, *arguments, port=None):
        """The words of a psql command."""
        at = ["-h", "127.0.0.1", "-p", str(port or self.port), "-U", "postgres", "-d", "postgres"]
        return ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *at, *arguments]

    def sql(self, *statements):
        """Runs statements, each by itself; returns what the last ones print."""
        return subprocess.run(self.psql("-At", *words(statements)), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def wal(self):
        return int(self.sql("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def cpu(self):
        """CPU seconds of all processes of the server: those that ended are in the postmaster's sums."""
        ticks = 0
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it has ended
            if int(name) == self.postmaster:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self.postmaster:
                ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")


SOURCE, TARGET = Server("source"), Server("target")
SERVERS = (SOURCE, TARGET)


def on_both(*statements):
    for server in SERVERS:
        server.sql(*statements)


# The columns of a narrow table, and its rows.
NARROW = "id int PRIMARY KEY, n int, t text"


def narrow_rows(number):
    return f"SELECT i, i % 1000, 'row ' || i FROM generate_series(1, {number}) i"


def make_tables(schema, number):
    """Narrow tables t1, t2, … of 100 rows on both servers."""
    rows = narrow_rows(100).replace("'", "''").replace("%", "%%")
    on_both(
        f"CREATE SCHEMA {schema}",
        f"""DO $$ BEGIN FOR i IN 1..{number} LOOP
            EXECUTE format('CREATE TABLE {schema}.t%s ({NARROW}); INSERT INTO {schema}.t%s {rows}', i, i);
        END LOOP; END $$""",
        "VACUUM ANALYZE",
    )


def drop_tables(schema, number):
    # One statement for each table: all at once take more locks than a server may have room for.
    for server in SERVERS:
        statements = "".join(f"DROP TABLE {schema}.t{i};\n" for i in range(1, number + 1)) + f"DROP SCHEMA {schema};\n"
        subprocess.run(server.psql(), input=statements, text=True, check=True)


def write_config(jobs, head=""):
    """Writes the configuration file: `jobs` maps a name to the lines of a job from source to target."""
    with open(f"{WORK}/tableferry.toml", "w") as file:
        file.write(head)
        for server in SERVERS:
            file.write(
                f'[servers.{server.side}]\n'
                f'conninfo = "host=127.0.0.1 port={server.port} user=postgres dbname=postgres sslmode=disable"\n'
            )
        for name, lines in jobs.items():
            file.write(f'[jobs.{name}]\nsource = "source"\ntarget = "target"\nanalyze = false\n{lines}\n')
    os.environ["TABLEFERRY_CONFIG"] = f"{WORK}/tableferry.toml"


@dataclass
class Measured:
    """What one run took. Times are in seconds."""

    wall: float
    clients: list  # CPU of each client process with its children
    memory: float  # MiB, the largest process of the clients
    source_cpu: float
    target_cpu: float
    wal: float  # MiB on the target
    output: str = field(repr=False, default="")

    @property
    def client_cpu(self):
        return sum(self.clients)


def run(*commands):
    """Runs a pipeline of commands and measures it. GNU time starts each, because it is small: a process's peak memory is
    never less than that of whoever forks it."""
    os.sync()  # what earlier runs wrote must not be on its way to the disk meanwhile
    wal, cpu = TARGET.wal(), [server.cpu() for server in SERVERS]
    running, stdin = [], None
    began = time.monotonic()
    for at, command in enumerate(commands):
        last = at == len(commands) - 1
        timed = ["/usr/bin/time", "-q", "-o", f"{WORK}/time{at}", "-f", "%U %S %M", *LAUNCHER, *map(str, command)]
        with open(f"{WORK}/errors{at}", "w") as errors, open(f"{WORK}/output", "w") as output:
            process = subprocess.Popen(timed, stdin=stdin, stdout=output if last else subprocess.PIPE, stderr=errors)
        if stdin:
            stdin.close()
        stdin = process.stdout
        running.append(process)
    codes = [process.wait() for process in running]
    wall = time.monotonic() - began
    if any(codes):
        for at, command in enumerate(commands):
            sys.stderr.write(open(f"{WORK}/errors{at}").read())
        sys.exit(f"error: {' | '.join(' '.join(map(str, command)) for command in commands)}: exit codes {codes}")
    time.sleep(0.05)  # the backends end, too
    cpu = [server.cpu() - before for server, before in zip(SERVERS, cpu)]
    wal = (TARGET.wal() - wal) / MIB
    parts = [open(f"{WORK}/time{at}").read().split() for at in range(len(commands))]
    return Measured(
        wall=wall,
        clients=[float(user) + float(system) for user, system, _ in parts],
        memory=max(int(kib) for _, _, kib in parts) / 1024,
        source_cpu=cpu[0],
        target_cpu=cpu[1],
        wal=wal,
        output=open(f"{WORK}/output").read(),
    )


def tableferry(*arguments):
    """`tableferry run JOB…` with the JSON report."""
    return run([TABLEFERRY, "run", "--json", *arguments])


def psql_pipe(source, target, form="binary", ports=(None, None), before=(), after=()):
    """`psql | psql` from table to table; `before` and `after` are statements of the same transaction on the target. It names the
    table, as one does who wants it quickly: a query over it takes more of the source's CPU."""
    return (
        SOURCE.psql("-c", f"\\copy {source} TO STDOUT (FORMAT {form})", port=ports[0]),
        TARGET.psql("-1", *words(before), "-c", f"\\copy {target} FROM STDIN (FORMAT {form})", *words(after), port=ports[1]),
    )


def median(values):
    return statistics.median(list(values))


def in_turn(tools, rounds=ROUNDS):
    """Calls each tool once in each round, so that what disturbs one disturbs all, after a first round that does not count.
    `tools` maps a name to a function that returns what it measured. Returns the list of each."""
    measured = {name: [] for name in tools}
    for number in range(rounds + 1):
        # The order turns round, so that none is always first.
        names = list(tools) if number % 2 == 0 else list(tools)[::-1]
        for name in names:
            result = tools[name]()
            progress(f"round {number} of {rounds}: {name}: {result.wall:.2f} s")
            if number > 0:
                measured[name].append(result)
    return measured


def ratios(of, to, what=lambda measured: measured.wall):
    """The ratios of the same rounds."""
    return [what(a) / max(what(b), 0.001) for a, b in zip(of, to)]


def ratio(of, to, what=lambda measured: measured.wall):
    """The median of the ratios of the same rounds."""
    return median(ratios(of, to, what))


def middle_half(values):
    """The first and the third quartile: how much rounds differ, without the few that something else disturbed."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def launched():
    return f"; all clients are started by `{' '.join(LAUNCHER)}`" if LAUNCHER else ""


def progress(text):
    print(text, file=sys.stderr, flush=True)


def machine():
    """The machine and the server, in general words."""
    with open("/proc/meminfo") as file:
        gib = int(re.search(r"MemTotal: *(\d+)", file.read()).group(1)) / MIB
    version = subprocess.run([POSTGRES, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[2]
    return f"PostgreSQL {version}, both servers and all clients on one machine with {os.cpu_count()} cores and {gib:.0f} GiB, loopback"


def rounds_said():
    return "one round" if ROUNDS == 1 else f"medians of {ROUNDS} rounds"


def markdown(header, rows):
    """A table whose first column is text, and whose others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def publish(name, text, plots=()):
    """Prints a result. With WRITE=1 it also goes between the markers of this name in benches/README.md, and its plots
    ({file name: svg}) beside it; else plots go to the directory PLOTS, if that is set."""
    print(f"\n{text}\n")
    write = os.environ.get("WRITE") == "1"
    directory = HERE if write else os.environ.get("PLOTS")
    for file_name, svg in dict(plots).items() if directory else ():
        with open(os.path.join(directory, file_name), "w") as file:
            file.write(svg)
    if not write:
        return
    path = os.path.join(HERE, "README.md")
    with open(path) as file:
        page = file.read()
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    images = "".join(f"![{file_name}]({file_name})\n\n" for file_name in dict(plots))
    with open(path, "w") as file:
        file.write(f"{before}{begin}\n{images}{text}\n{end}{after}")

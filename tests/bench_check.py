"""How much `check` sees, what that costs, and whether its prediction is true.

1. The detection rate of each sensor, by how long a lock is held: the same locks with event triggers, and without them.
2. The migration's own time with the light sensors, beside a plain run of the same file on another fork, by turns.
3. The stall that `check` predicts from an idle fork, beside the one that readers and writers at work really felt while the
   same migration ran on a parent of their own.
4. The whole of a check beside the migration's own time.

A part of tests/bench.sh, which sets up the home that it runs in and an embedded Lakebase with a project `shop`. Nothing is
asserted. LAKEBASE_BENCH_ROWS says how large the table is."""

import glob
import json
import os
import statistics
import subprocess
import time

ROWS = int(os.environ.get("LAKEBASE_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("LAKEBASE_BENCH_ROUNDS", "5"))
# Pairs of runs a round, with the sensors and without: a few percent are looked for among runs that differ by twenty.
PAIRS = 4
HELD = (0, 1, 2, 5, 10, 20)
LOCKS = 40
PSQL = ["psql", "-Xq", "-v", "ON_ERROR_STOP=1"]


def run(*words, code=0, **more):
    ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if code is not None and ran.returncode != code:
        raise SystemExit(f"{' '.join(words)} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return ran.stdout


def production(sql):
    run("cargo-lakebase", "psql", "--parent", "--", *PSQL[1:], "-c", sql)


def check(file, *options):
    """A check of a file of SQL: its report."""
    words = ["cargo-lakebase", "check", "--format", "json", "--max-stall", "1h", *options, "--", *PSQL, "-f", file]
    return json.loads(run(*words))


def write(name, text):
    with open(name, "w") as file:
        file.write(text)
    return name


def short_locks():
    """Locks of every length, each on a table of its own."""
    for number in range(len(HELD) * LOCKS):
        yield number, HELD[number % len(HELD)]


def detection():
    tables = "".join(f"CREATE TABLE short_{number} (id int);" for number, _ in short_locks())
    production(tables)
    text = "".join(
        f"BEGIN; ALTER TABLE short_{number} ADD x int; SELECT pg_sleep({held / 1000}); COMMIT;\n" for number, held in short_locks()
    )
    file = write("short.sql", text)
    row = "{:<34}" + " {:>9}" * len(HELD)
    print("\n" + row.format("locks seen, held for ms at least", *HELD))
    for name, fault in (("event triggers", None), ("the sampler alone", "no-event-triggers")):
        if fault:
            run("cargo-lakebase", "embedded", "fault", "add", fault)
        report = check(file, "--quick")
        if fault:
            run("cargo-lakebase", "embedded", "fault", "clear")
        strong = [lock for lock in report["run"]["locks"] if lock["mode"] == "ACCESS_EXCLUSIVE" and lock["seen"] != "manual"]
        seen = {lock["relation"] for lock in strong}
        rates = [
            sum(f"short_{number}" in seen for number, of in short_locks() if of == held) / LOCKS * 100 for held in HELD
        ]
        print(row.format(name, *(f"{rate:.0f} %" for rate in rates)), flush=True)


def large(file):
    """A table worth waiting for, another one like it that no client knows, and what is done to the first."""
    for table in ("large", "other"):
        production(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, note text, total numeric); "
            f"INSERT INTO {table} SELECT n, md5(n::text), n FROM generate_series(1, {ROWS}) AS n; ANALYZE {table}"
        )
    return write(file, "CREATE INDEX large_note ON large (note); ALTER TABLE large ADD COLUMN more int;\nCREATE INDEX large_total ON large (total);\n")


def plain(file):
    """The migration on a fork of its own, without anybody looking; in milliseconds."""
    run("cargo-lakebase", "reset", "--yes", code=None)
    run("cargo-lakebase", "run", "--", "true")
    timed = f"t=$(date +%s%N); {' '.join(PSQL)} -f {file} && echo $((($(date +%s%N) - t) / 1000))"
    return int(run("cargo-lakebase", "run", "--", "sh", "-c", timed).split()[-1]) / 1000


def cost(file):
    with_sensors, without, whole = [], [], []
    for _ in range(PAIRS * ROUNDS):
        without.append(plain(file))
        with_sensors.append(check(file, "--quick")["run"]["ms"])
    for _ in range(ROUNDS):
        start = time.perf_counter()
        report = check(file)
        whole.append((time.perf_counter() - start) * 1000 / report["run"]["ms"])
    mine, theirs = statistics.median(with_sensors), statistics.median(without)
    low, _, high = statistics.quantiles(without, n=4)
    print(
        f"\na migration of {ROWS} rows, median of {PAIRS * ROUNDS}: {theirs:.0f} ms alone (the middle half {low:.0f} to {high:.0f}), "
        f"{mine:.0f} ms with light sensors ({mine / theirs * 100 - 100:+.1f} %)"
    )
    print(f"the whole check, both forks and all runs: {statistics.median(whole):.1f} times the migration")


# What hurts whom, and how long: in one piece, as it should not be done.
MIGRATIONS = {
    "an index": "CREATE INDEX ON {} (note)",
    "a check": "ALTER TABLE {} ADD CHECK (md5(md5(note)) <> note)",
    "another type": "ALTER TABLE {} ALTER COLUMN total TYPE text",
    "a backfill": "UPDATE {} SET note = note || '!'",
}
# Clients at work, as a script of pgbench's: each knocks at this rate, in transactions a second, whatever the last one took.
RATE = 100
CLIENTS = {
    "reader": f"\\set id random(1, {ROWS})\nSELECT total FROM large WHERE id = :id;\n",
    "writer": "INSERT INTO large (id, note, total) VALUES (nextval('fresh'), 'new', 1);\n",
    "row": f"\\set id random(1, {ROWS})\nUPDATE large SET total = total WHERE id = :id;\n",
}


def at_work(client, seconds):
    """Two clients of a kind, for so many seconds. Each of their transactions goes into a log."""
    file = write(f"{client}.sql", CLIENTS[client])
    for old in glob.glob(f"{client}.log*"):
        os.unlink(old)
    words = ["pgbench", "-n", "-c", "2", "-R", str(RATE), "-T", str(seconds), "-f", file, "-l", "--log-prefix", f"{client}.log"]
    return subprocess.Popen(["cargo-lakebase", "run", "--", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def longest(client, since):
    """The longest transaction of the log that was not over before a moment, in milliseconds, without the wait for its turn."""
    worst = 0.0
    for log in glob.glob(f"{client}.log*"):
        with open(log) as lines:
            for line in lines:
                _, _, took, _, second, microsecond, late = line.split()
                if int(second) + int(microsecond) / 1e6 >= since:
                    worst = max(worst, (int(took) - int(late)) / 1000)
    return worst


def branch(sql):
    return run("cargo-lakebase", "run", "--", *PSQL, "-At", "-c", sql).strip()


def felt(file, seconds):
    """What readers, writers and updaters wait for on a branch of their own while the migration runs there."""
    run("cargo-lakebase", "reset", "--yes", code=None)
    branch(f"CREATE SEQUENCE fresh START {ROWS + 1}")
    clients = {client: at_work(client, seconds) for client in CLIENTS}
    while branch("SELECT (last_value > %d)::int FROM fresh" % (ROWS + 50)) != "1":
        pass
    since = time.time()
    run("cargo-lakebase", "run", "--", *PSQL, "-f", file)
    for process in clients.values():
        process.wait()
    return {client: longest(client, since) for client in CLIENTS}


def truth():
    """Readers, writers and updaters of random rows, at work on a branch on which the same migration runs. What they wait for while
    it runs on a table of nobody's is the machine's load, and no lock: a stall counts where a lock is predicted, or felt beyond
    that."""
    row = "{:<14} {:<8} {:>10} {:>10} {:>10} {:>8}"
    print("\n" + row.format("migration", "client", "predicted", "felt", "by load", "ratio") + "   (longest stall, median ms)")
    ratios = []
    for name, sql in MIGRATIONS.items():
        file, elsewhere = write("truth.sql", sql.format("large") + ";\n"), write("elsewhere.sql", sql.format("other") + ";\n")
        predicted, real, load = [], [], []
        for _ in range(ROUNDS):
            report = check(file, "--quick")
            stalls = report["stalls"]["computed"]
            predicted.append({client: max((one["ms"] for one in stalls if one["client"] == client), default=0.0) for client in CLIENTS})
            seconds = int(report["run"]["ms"] / 1000 * 2) + 5
            real.append(felt(file, seconds))
            load.append(felt(elsewhere, seconds))
        for client in CLIENTS:
            mine, theirs, anyway = (statistics.median(one[client] for one in all) for all in (predicted, real, load))
            counts = mine > 100 or theirs > anyway + 100
            ratio = mine / max(theirs, 0.001)
            ratios += [ratio] * counts
            shown = f"{ratio:.2f}" if counts else "-"
            print(row.format(name, client, f"{mine:.0f}", f"{theirs:.0f}", f"{anyway:.0f}", shown), flush=True)
    apart = statistics.median(abs(1 - ratio) for ratio in ratios)
    print(f"of stalls over 100 ms: {apart * 100:.0f} % apart at the median; the least prediction is {min(ratios):.2f} of what was felt")


def main():
    detection()
    file = large("large.sql")
    cost(file)
    truth()


if __name__ == "__main__":
    main()

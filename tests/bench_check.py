"""How much `check` sees, what that costs, and whether its prediction is true.

1. The detection rate of each sensor, by how long a lock is held: the same locks with event triggers, and without them.
2. The migration's own time with the light sensors, beside a plain run of the same file on another fork, by turns.
3. The stall that `check` predicts from an idle fork, beside the one that readers and writers at work really felt while the
   same migration ran on a parent of their own.
4. The whole of a check beside the migration's own time.

A part of tests/bench.sh, which sets up the home that it runs in and an embedded Lakebase with a project `shop`. Nothing is
asserted. LAKEBASE_BENCH_ROWS says how large the table is."""

import json
import os
import statistics
import subprocess
import threading
import time

ROWS = int(os.environ.get("LAKEBASE_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("LAKEBASE_BENCH_ROUNDS", "5"))
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
    """A table worth waiting for, and what is done to it."""
    production(
        f"CREATE TABLE large (id bigint PRIMARY KEY, note text, total numeric); "
        f"INSERT INTO large SELECT n, md5(n::text), n FROM generate_series(1, {ROWS}) AS n; ANALYZE large"
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
    for _ in range(ROUNDS):
        without.append(plain(file))
        with_sensors.append(check(file, "--quick")["run"]["ms"])
        start = time.perf_counter()
        report = check(file)
        whole.append((time.perf_counter() - start) * 1000 / report["run"]["ms"])
    mine, theirs = statistics.median(with_sensors), statistics.median(without)
    print(f"\na migration of {ROWS} rows, median of {ROUNDS}: {theirs:.0f} ms alone, {mine:.0f} ms with light sensors ({mine / theirs * 100 - 100:+.1f} %)")
    print(f"the whole check, both forks and all runs: {statistics.median(whole):.1f} times the migration")


class Client(threading.Thread):
    """Knocks at the table in one way, and remembers its longest wait."""

    def __init__(self, statement, stop):
        super().__init__(daemon=True)
        self.statement, self.stop, self.longest, self.count = statement, stop, 0.0, 0
        words = ["cargo-lakebase", "run", "--", *PSQL, "-At"]
        self.psql = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def run(self):
        while not self.stop.is_set():
            start = time.perf_counter()
            self.psql.stdin.write(f"{self.statement};\n\\echo done\n")
            self.psql.stdin.flush()
            while self.psql.stdout.readline().strip() not in ("done", ""):
                pass
            self.longest = max(self.longest, (time.perf_counter() - start) * 1000)
            self.count += 1
        self.psql.stdin.close()
        self.psql.wait()


def truth(file):
    """Readers and writers, two of each, at work on a branch on which the same migration runs."""
    predicted, felt = {"reader": [], "writer": []}, {"reader": [], "writer": []}
    some = f"(SELECT (1 + random() * {ROWS - 1})::bigint)"
    for _ in range(ROUNDS):
        stalls = check(file, "--quick")["stalls"]["computed"]
        for client in predicted:
            predicted[client].append(max((stall["ms"] for stall in stalls if stall["client"] == client), default=0.0))
        run("cargo-lakebase", "reset", "--yes", code=None)
        run("cargo-lakebase", "run", "--", "true")
        stop = threading.Event()
        readers = [Client(f"SELECT total FROM large WHERE id = {some}", stop) for _ in range(2)]
        writers = [Client(f"UPDATE large SET total = total + 1 WHERE id = {some}", stop) for _ in range(2)]
        for client in readers + writers:
            client.start()
        while not all(client.count > 50 for client in readers + writers):
            time.sleep(0.01)
        for client in readers + writers:
            client.longest = 0.0
        run("cargo-lakebase", "run", "--", *PSQL, "-f", file)
        stop.set()
        for client in readers + writers:
            client.join()
        felt["reader"].append(max(client.longest for client in readers))
        felt["writer"].append(max(client.longest for client in writers))
    row = "{:<34} {:>10} {:>10} {:>8}"
    print("\n" + row.format("longest stall, median ms", "predicted", "felt", "ratio"))
    for client in predicted:
        mine, theirs = statistics.median(predicted[client]), statistics.median(felt[client])
        ratio = f"{mine / theirs:.2f}" if theirs else "-"
        print(row.format(f"{client}s at work", f"{mine:.0f}", f"{theirs:.0f}", ratio), flush=True)
    worst = min(p / f for client in predicted for p, f in zip(predicted[client], felt[client]) if f > 100)
    print(f"the least prediction beside what was felt, of stalls over 100 ms: {worst:.2f}")


def main():
    detection()
    file = large("large.sql")
    cost(file)
    truth(file)


if __name__ == "__main__":
    main()

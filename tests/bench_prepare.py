"""How long a branch takes to get ready: the calls made, the round trips waited for, and the time, at 0, 50 and 200 ms of
injected latency a call, beside a plain client that makes the same calls one after another over one connection. Then the
wall-clock of an `up` that changes nothing on 30 services, beside plain Compose's. Nothing is asserted.

A part of tests/bench.sh, which sets up the home that it runs in, the images, and an embedded Lakebase. Its argument is a
folder to make."""

import http.client
import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS = int(os.environ.get("LAKEBASE_BENCH_ROUNDS", "25"))
HOST, TOKEN = "", ""


def run(*words, **more):
    """Runs a command to its end, and gives what it printed."""
    ran = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **more)
    return ran.stdout


def milliseconds(work):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


class Client:
    """One connection, one call after another."""

    def __init__(self):
        self.connection = http.client.HTTPConnection(HOST, timeout=60)

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}

    def api(self, method, path, body=None):
        return self.call(method, f"/api/2.0/postgres/{path}", body)


def latency(added):
    client = Client()
    if added:
        client.call("PUT", "/embedded/faults", {"faults": [f"* delay={added} always"]})
    else:
        client.call("DELETE", "/embedded/faults")


def calls(since):
    return [call for call in Client().call("GET", f"/embedded/calls?since={since}")[1]["calls"]]


def last_call():
    made = calls(0)
    return made[-1]["number"] if made else 0


def waited_for(made):
    """The longest chain of calls of which each begins when the one before has ended."""
    longest = []
    for call in sorted(made, key=lambda call: call["start_ms"]):
        before = [length for length, end in longest if end <= call["start_ms"]]
        longest.append((1 + max(before, default=0), call["end_ms"]))
    return max((length for length, _ in longest), default=0)


def sequential(project, branch, create):
    """The same steps as ours, as anybody would write them down first."""
    client = Client()
    path = f"projects/{project}/branches/{branch}"
    client.api("GET", f"projects/{project}")
    client.call("GET", "/api/2.0/preview/scim/v2/Me")
    client.api("GET", path)
    endpoints = client.api("GET", f"{path}/endpoints")[1]
    if create:
        spec = {"source_branch": f"projects/{project}/branches/production", "ttl": "86400s"}
        operation = client.api("POST", f"projects/{project}/branches?branch_id={branch}", {"spec": spec})[1]
        while not operation.get("done"):
            time.sleep(0.1)
            operation = client.api("GET", operation["name"])[1]
        client.api("GET", path)
        endpoints = client.api("GET", f"{path}/endpoints")[1]
    client.api("POST", "credentials", {"endpoint": endpoints["endpoints"][0]["name"]})


def delete(project, branch):
    client = Client()
    path = f"projects/{project}/branches/{branch}?purge=true"
    client.api("DELETE", path)
    while client.api("GET", f"projects/{project}/branches/{branch}")[0] != 404:
        time.sleep(0.01)


def preparation():
    branch = json.loads(run("cargo-lakebase", "status", "--json"))["branch_id"]
    ours = ["cargo-lakebase", "run", "--", "true"]
    row = "{:<34} {:>7} {:>12} {:>10} {:>12}"
    print("\n" + row.format("preparing a branch, median ms", "calls", "round trips", "ours", "sequential"))
    for added in (0, 50, 200):
        for cold in (False, True):
            rounds = max(3, ROUNDS // (5 if cold else 2))
            mine, theirs, made = [], [], []
            for _ in range(rounds):
                latency(0)
                delete("shop", branch) if cold else run(*ours)
                latency(added)
                since = last_call()
                mine.append(milliseconds(lambda: run(*ours)))
                made = calls(since)
                latency(0)
                if cold:
                    delete("shop", branch)
                latency(added)
                theirs.append(milliseconds(lambda: sequential("shop", branch, cold)))
            latency(0)
            name = f"{'cold' if cold else 'warm'}, {added} ms a call"
            medians = [f"{statistics.median(times):.0f}" for times in (mine, theirs)]
            print(row.format(name, len(made), waited_for(made), *medians), flush=True)
    started = statistics.median(milliseconds(lambda: run("cargo-lakebase", "--version")) for _ in range(ROUNDS))
    print(f"(of ours, starting the program and `true` takes {started:.0f})")


def thirty_services(folder):
    """Up that changes nothing, by turns with plain Compose on the same containers' model."""
    os.makedirs(folder)
    os.chdir(folder)
    run("git", "init", "--quiet", "--initial-branch=main")
    run("git", "commit", "--quiet", "--allow-empty", "--message", "start")
    image = os.environ["TODO_PYTHON_IMAGE"]
    database = "  postgres:\n    image: postgres:17\n    environment: {POSTGRES_PASSWORD: local}\n"
    service = f"    image: {image}\n    entrypoint: [sleep, infinity]\n    init: true\n    environment: {{A: b}}\n"
    services = "".join(f"  service{number}:\n{service}" for number in range(29))
    with open("compose.yaml", "w") as file:
        file.write("services:\n" + database + services)
    run("cargo-lakebase", "init", "--project-name", "thirty", "--profile", "embedded")
    name = ["-p", "lakebase-bench-thirty"]
    up = ["docker", "compose", *name, "lakebase", "up", "-d"]
    # The peer: the same project with the gateway already in its place, by the file that we wrote.
    run(*up)
    override = [os.path.join(".lakebase", file) for file in os.listdir(".lakebase") if file.endswith(".yaml")][0]
    plain = ["docker", "compose", *name, "-f", "compose.yaml", "-f", override, "up", "-d"]
    try:
        mine, theirs = [], []
        for _ in range(max(5, ROUNDS // 3)):
            theirs.append(milliseconds(lambda: run(*plain)))
            mine.append(milliseconds(lambda: run(*up)))
        mine, theirs = statistics.median(mine), statistics.median(theirs)
        print(f"\n30 services, `up` that changes nothing: Compose {theirs:.0f} ms, ours {mine:.0f} ms ({mine / theirs:.2f} times)")
    finally:
        run(*up[:4], "-f", "compose.yaml", "-f", override, "down", "--timeout", "0")


def main():
    global HOST, TOKEN
    for line in run("cargo-lakebase", "embedded", "env").splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        value = value.strip("'")
        if name == "DATABRICKS_HOST":
            HOST = value.removeprefix("http://").rstrip("/")
        if name == "DATABRICKS_TOKEN":
            TOKEN = value
    preparation()
    thirty_services(sys.argv[1])


if __name__ == "__main__":
    main()

"""The speed budget: ours and the real Python agents against the same fakes, in the same run. `make bench` runs it.

Every line is a figure, what it is compared with, and its limit; the exit code is 1 when a limit is missed.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from peers import BOOTSTRAP, EMPTY, TOOLS, Function, World, python_agent

ROUND_TRIP_MS = 20
LAUNCHES = 100
REPEATS = 5
STARTS = 60
FLOW = {"id": "0b1c2d3e-4f50-4617-8283-94a5b6c7d8e9", "name": "nightly", "core_version": "0.15.0"}
PARAMETERS = "/psa/bench"

rows = []


def row(what, figure, compared, verdict=None):
    rows.append((what, figure, compared, "" if verdict is None else "ok" if verdict else "MISSED"))
    print(f"  {what}: {figure}", file=sys.stderr)


def seed(world, launches, **agent):
    """A deployment with one agent and so many due runs of one flow."""
    configuration = {"prefect": "0.15", "api": world.prefect1, "launch_rate": None, **agent}
    world.ask("ssm", {"name": f"{PARAMETERS}/config/etl", "value": json.dumps(configuration), "type": "String"})
    world.ask("ssm", {"name": f"{PARAMETERS}/secrets/etl/api-key", "value": "pcu_fakekey", "type": "SecureString"})
    schedule(world, launches)


def schedule(world, launches, **more):
    for _ in range(launches):
        world.create(flow=FLOW, start_in_seconds=-10, **more)


def ours(world):
    """One cold start and one poll. (when it was spawned, its report, peak memory in MB)"""
    with Function(BOOTSTRAP, {"AWS_ENDPOINT_URL": world.aws, "PARAMETER_ROOT": PARAMETERS}) as function:
        report = function.invoke()
        return function.spawned, report, function.peak_mb()


def span(world, since):
    """Milliseconds: from `since` to the last answered RunTask, and from the poll's first request to it."""
    journal = world.journal()
    asked = [one["at_epoch_ms"] for one in journal if "get_runs_in_queue" in one["operation"]]
    runs = [one for one in journal if one["operation"] == "RunTask"]
    assert len(runs) == LAUNCHES, f"{len(runs)} launches instead of {LAUNCHES}"
    last = max(one["at_epoch_ms"] - one["at_ms"] + one["answered_ms"] for one in runs)
    return last - since * 1000, last - min(asked)


def requests():
    with World() as world:
        seed(world, LAUNCHES)
        ours(world)
        counts = {}
        for one in world.journal():
            counts[one["service"]] = counts.get(one["service"], 0) + 1
        definitions = sum(one["operation"] == "RegisterTaskDefinition" for one in world.journal())
    total = sum(counts.values())
    split = ", ".join(f"{service} {count}" for service, count in sorted(counts.items()))
    row(f"requests for {LAUNCHES} launches of one flow, cold", f"{total} ({split})", "at most 120", total <= 120)
    row("definitions registered for them", definitions, "1", definitions == 1)


def launches():
    whole, poll = {"ours": [], "0.15.0": []}, {"ours": [], "0.15.0": []}
    for _ in range(REPEATS):
        for who in whole:
            with World(latency_ms=ROUND_TRIP_MS) as world:
                # It registers a definition per run, and loses runs when ECS refuses two at once: not here.
                world.ask("ecs/options", {"refuse_concurrent_registrations": False})
                seed(world, LAUNCHES)
                if who == "ours":
                    since, report, _ = ours(world)
                    assert len(report["agents"]["etl"]["launched"]) == LAUNCHES, report
                else:
                    # Its queue answers 25 ids at most, and it does not wait for its threads when its polls are used up.
                    since = python_agent(who, world, max_polls=10)
                total, alone = span(world, since)
            whole[who].append(total)
            poll[who].append(alone)
    for what, times in (("whole process", whole), ("poll alone", poll)):
        mine, python = statistics.median(times["ours"]), statistics.median(times["0.15.0"])
        row(
            f"{LAUNCHES} launches, {ROUND_TRIP_MS} ms a round trip, {what}",
            f"{mine:.0f} ms",
            f"Python 0.15.0 {python:.0f} ms: {python / mine:.1f} x (at least 12 x)",
            python / mine >= 12,
        )


def foreign_labels():
    with World() as world:
        seed(world, 0, labels=["prod"])
        for _ in range(80):
            world.create(flow=FLOW, start_in_seconds=-3600, labels=["other"])
        world.create(flow=FLOW, start_in_seconds=-10, labels=["prod"])
        _, report, _ = ours(world)
        launched = len(report["agents"]["etl"]["launched"])
    row("runs launched behind 80 older ones with foreign labels", launched, "1", launched == 1)


def first_poll():
    """Process start to the first request of a poll; ours with the registration remembered."""

    def first(world, since, skip):
        asked = [one["at_epoch_ms"] for one in world.journal()[skip:] if "get_runs_in_queue" in one["operation"]]
        return min(asked) - since * 1000

    times = {"ours": [], "0.15.0": [], "1.4.1": []}
    with World(latency_ms=ROUND_TRIP_MS) as world:
        seed(world, 0)
        ours(world)
        for _ in range(REPEATS):
            for who in times:
                skip = len(world.journal())
                since = ours(world)[0] if who == "ours" else python_agent(who, world, max_polls=1)
                times[who].append(first(world, since, skip))
    mine = statistics.median(times["ours"])
    for version, least in (("0.15.0", 20), ("1.4.1", None)):
        python = statistics.median(times[version])
        limit = "" if least is None else f" (at least {least} x)"
        verdict = None if least is None else python / mine >= least
        row(
            f"process start to first poll request, {ROUND_TRIP_MS} ms a round trip",
            f"{mine:.0f} ms",
            f"Python {version} {python:.0f} ms: {python / mine:.1f} x{limit}",
            verdict,
        )


def first_byte():
    """Process start to the first byte on the network, beside an empty program of lambda_runtime."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen = []
        accepting = threading.Thread(target=accept, args=(listener, seen), daemon=True)
        accepting.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        program = {"ours": (BOOTSTRAP, {"AWS_ENDPOINT_URL": f"http://{address}", "PARAMETER_ROOT": PARAMETERS}), "empty": (EMPTY, {})}
        times = {"ours": [], "empty": []}
        for _ in range(STARTS):
            for who, (binary, environment) in program.items():
                seen.clear()
                with Function(binary, environment, runtime=address) as function:
                    deadline = time.monotonic() + 10
                    while not seen and time.monotonic() < deadline:
                        time.sleep(0.0005)
                    times[who].append((seen[0] - function.spawned) * 1000)
    mine, floor = statistics.median(times["ours"]), statistics.median(times["empty"])
    row(
        "process start to first byte on the network, p50 of 60",
        f"{mine:.1f} ms",
        f"empty lambda_runtime program {floor:.1f} ms: {mine / floor:.1f} x (at most 4 x)",
        mine / floor <= 4,
    )


def accept(listener, seen):
    """Notes when the first byte of each connection came, and hangs up."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(5)
            try:
                if connection.recv(1):
                    seen.append(time.time())
            except OSError:
                pass


def memory():
    for what, launches, limit in (("idle", 0, 16), (f"{LAUNCHES} launches", LAUNCHES, 25)):
        with World() as world:
            seed(world, launches)
            peak = ours(world)[2]
        row(f"peak memory, {what}", f"{peak:.1f} MB", f"at most {limit} MB", peak <= limit)


def size():
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "lambda.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            file.write(BOOTSTRAP, "bootstrap")
        megabytes = archive.stat().st_size / 1e6
    row("deployment zip", f"{megabytes:.2f} MB", "under 4 MB", megabytes < 4)


def main():
    assert BOOTSTRAP.exists() and EMPTY.exists(), "run this by `make bench`"
    assert (TOOLS / "prefect-0.15").exists(), "run this by `make bench`"
    for measure in (requests, launches, foreign_labels, first_poll, first_byte, memory, size):
        measure()
    widths = [max(len(str(line[column])) for line in rows) for column in range(4)]
    print()
    for line in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip())
    return any(line[3] == "MISSED" for line in rows)


if __name__ == "__main__":
    sys.exit(main())

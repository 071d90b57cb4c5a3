#!/usr/bin/env python3
"""The speed budget: the `lambda` binary and the real Python agents against the same fakes, in one run; and the binary
against a real Prefect 3 server.

`make bench` builds and installs all it needs and starts this. It prints one table, and exits with 1 when a limit is
missed. `side_by_side.py launches memory` measures only these.
"""

import contextlib
import io
import json
import os
import statistics
import sys
import time
import uuid
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/conformance")]

import billed  # noqa: E402
import functions  # noqa: E402
import late  # noqa: E402
import peers  # noqa: E402
import pokes  # noqa: E402
import processes  # noqa: E402
import real_server  # noqa: E402

TARGET = Path(os.environ.get("PSA_TARGET", HERE.parent / "target"))
LAMBDA = TARGET / "lambda/lambda/bootstrap"
EMPTY = TARGET / "empty/release/empty"

LAUNCHES = 100
LATENCY_MS = 20
REPEAT = int(os.environ.get("PSA_BENCH_REPEAT", "5"))
FIRST_BYTES = 60
# More polls than any measure needs: an agent is killed when it has done what it is watched for.
POLLS = 1000

NAMES = {"name": "bench", "labels": ["prod"]}
FLOW = {"id": str(uuid.uuid4()), "name": "Nightly report"}
RUN = {"labels": ["prod"], "flow": FLOW, "run_config": {"type": "ECSRun", "image": "example/flow:1", "__version__": "0.15.0"}}
QUEUE = ("flow_run", "get_runs_in_queue")


class Table:
    """What was measured, and whether it is enough."""

    def __init__(self):
        self.rows = []

    def add(self, what, python, ours, limit=None, good=None):
        self.rows.append((what, python, ours, limit or "", {True: "pass", False: "FAIL", None: ""}[good]))
        print(f"  … {what}: {ours}", file=sys.stderr, flush=True)

    def faster(self, what, python, ours, at_least=None):
        """Both in milliseconds."""
        ratio = python / ours
        limit = f"{ratio:.1f} ×" + (f" (≥ {at_least})" if at_least else "")
        self.add(what, ms(python), ms(ours), limit, None if at_least is None else ratio >= at_least)

    def at_most(self, what, python, ours, limit, unit):
        show = (lambda value: f"{value:.1f} {unit}") if isinstance(ours, float) else (lambda value: f"{value} {unit}")
        self.add(what, "" if python is None else show(python), show(ours), f"≤ {limit} {unit}", ours <= limit)

    def show(self):
        rows = [("what", "Python", "ours", "ratio or limit", ""), *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for number, row in enumerate(rows):
            first, *others = (cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths)))
            print("  ".join([first, *others]).rstrip())
            if number == 0:
                print("  ".join("-" * width for width in widths))
        return all(row[-1] != "FAIL" for row in self.rows)


def ms(value):
    return f"{value:.0f} ms"


def begin(world, latency_ms, runs=0, **run):
    """Empty fakes with one configured agent and so many due runs of one flow."""
    world.ask("reset", {})
    # Python registers a definition per run; at AWS many of its launches fail by that. Here they may all succeed.
    world.ask("ecs/options", {"refuse_concurrent_registrations": False})
    config = {"prefect": 1, "api": world.prefect1, "launch_rate": None, **NAMES}
    world.ask("ssm", {"name": f"{functions.ROOT}/config/bench", "value": json.dumps(config)})
    key = {"name": f"{functions.ROOT}/secrets/bench/api-key", "value": "pcu_fakekey", "type": "SecureString"}
    world.ask("ssm", key)
    schedule(world, runs, **run)
    world.ask("latency", {"ms": latency_ms})


def schedule(world, runs, **run):
    if runs:
        world.ask("prefect1/create_flow_runs", [{**RUN, **run}] * runs)


def journal(world):
    return world.ask("journal")["requests"]


def asked_at(requests):
    """When the first poll request came in, in milliseconds since 1970."""
    return next(one["at_epoch_ms"] for one in requests if any(field in QUEUE for field in one["operation"].split(",")))


def launched_at(requests):
    """When the last RunTask was answered, in milliseconds since 1970."""
    tasks = [one for one in requests if one["operation"] == "RunTask"]
    assert len(tasks) == LAUNCHES and all(one["status"] == 200 for one in tasks), [one["status"] for one in tasks]
    return max(one["at_epoch_ms"] + one["answered_ms"] - one["at_ms"] for one in tasks)


def ours(world):
    return functions.Function(world, LAMBDA)


def remembered(world):
    """Lets one invocation register the agent: from then on every cold start finds it in the status."""
    world.ask("latency", {"ms": 0})
    with ours(world) as function:
        function.report()
    world.ask("latency", {"ms": LATENCY_MS})


def median(measure, times=REPEAT):
    """Of each figure that `measure` returns."""
    return [statistics.median(column) for column in zip(*(measure() for _ in range(times)))]


def total(counts):
    return sum(sum(operations.values()) for operations in counts.values())


def measure_requests(world, table):
    begin(world, 0, LAUNCHES)
    with ours(world) as function:
        launched = len(function.report()["launched"])
    counts = world.ask("counts")
    assert launched == LAUNCHES, f"{launched} launched"
    registered = counts["ecs"]["RegisterTaskDefinition"]
    begin(world, 0, LAUNCHES)
    with peers.running("0.15.0", world, max_polls=POLLS, **NAMES) as agent:
        agent.until(LAUNCHES, "prefect1", "write_run_logs")
    theirs = world.ask("counts")
    table.at_most(f"requests for {LAUNCHES} launches of one flow, cold", total(theirs), total(counts), 120, "")
    for service in ("prefect1", "ecs", "ec2", "ssm"):
        table.add(f"  {service}", *(str(sum(one.get(service, {}).values())) for one in (theirs, counts)))
    table.at_most("  definitions registered", theirs["ecs"]["RegisterTaskDefinition"], registered, 1, "")


def measure_launches(world, table):
    def lambda_binary():
        begin(world, LATENCY_MS, LAUNCHES)
        with ours(world) as function:
            assert len(function.report()["launched"]) == LAUNCHES
            started = function.started * 1000
        requests = journal(world)
        return launched_at(requests) - started, launched_at(requests) - asked_at(requests)

    def known():
        begin(world, LATENCY_MS)
        remembered(world)
        world.ask("journal/clear", {})
        schedule(world, LAUNCHES)
        with ours(world) as function:
            assert len(function.report()["launched"]) == LAUNCHES
            return (launched_at(journal(world)) - function.started * 1000,)

    def python(version):
        begin(world, LATENCY_MS, LAUNCHES)
        with peers.running(version, world, max_polls=POLLS, **NAMES) as agent:
            agent.until(LAUNCHES, "ecs", "RunTask")
            time.sleep(4 * LATENCY_MS / 1000)  # the last answer
            started = agent.started * 1000
        requests = journal(world)
        return launched_at(requests) - started, launched_at(requests) - asked_at(requests)

    # In turns, so that what else the machine does hits all alike.
    rounds = [(lambda_binary(), known(), python("0.15.0"), python("1.4.1")) for _ in range(REPEAT)]
    (whole, poll), (again,), *pythons = (map(statistics.median, zip(*figures)) for figures in zip(*rounds))
    for version, (python_whole, python_poll), limit in zip(peers.VERSIONS, pythons, (12, None)):
        case = f"{LAUNCHES} launches, +{LATENCY_MS} ms, {version}"
        table.faster(f"{case}: start → last RunTask, never registered", python_whole, whole, limit)
        table.faster(f"{case}: start → last RunTask, registered before", python_whole, again, limit)
        table.faster(f"{case}: first poll request → last RunTask", python_poll, poll, limit)


def measure_foreign(world, table):
    """80 older due runs of others, and ten of ours."""

    def seeded(foreign):
        begin(world, LATENCY_MS)
        if foreign:
            schedule(world, 80, labels=["other"], start_in_seconds=-600)
        schedule(world, 10, start_in_seconds=-10)

    def lambda_binary(foreign):
        seeded(foreign)
        with ours(world) as function:
            launched = len(function.report()["launched"])
            return launched, (time.time() - function.started) * 1000

    alone, with_others = median(lambda: lambda_binary(False)), median(lambda: lambda_binary(True))
    seeded(True)
    with peers.running("0.15.0", world, max_polls=POLLS, **NAMES) as agent:
        agent.until(3, "prefect1", "get_runs_in_queue")
        time.sleep(0.5)
        theirs = world.ask("counts").get("ecs", {}).get("RunTask", 0)
    table.add(
        "10 runs behind 80 older foreign ones: launched (Python: 3 polls)",
        str(theirs),
        f"{with_others[0]:.0f}",
        "10",
        with_others[0] == 10,
    )
    table.add("  whole poll with them, and without", "", f"{ms(with_others[1])}, {ms(alone[1])}")


def measure_start(world, table):
    def lambda_binary(first_time):
        begin(world, LATENCY_MS)
        if not first_time:
            remembered(world)
            world.ask("journal/clear", {})
        with ours(world) as function:
            function.report()
            return (asked_at(journal(world)) - function.started * 1000,)

    def python(version):
        begin(world, LATENCY_MS)
        with peers.running(version, world, max_polls=POLLS, **NAMES) as agent:
            agent.until(1, "prefect1", "get_runs_in_queue")
            return (asked_at(journal(world)) - agent.started * 1000,)

    (known,) = median(lambda: lambda_binary(False), 3 * REPEAT)
    (never,) = median(lambda: lambda_binary(True), 3 * REPEAT)
    for version, limit in (("0.15.0", 20), ("1.4.1", None)):
        (theirs,) = median(lambda: python(version))
        case = f"start → first poll request, +{LATENCY_MS} ms, {version}"
        table.faster(f"{case}: registered before", theirs, known, limit)
        table.faster(f"{case}: never registered", theirs, never)


def measure_first_byte(_, table):
    # Alternating, so that what else the machine does hits both alike.
    pairs = [(functions.first_byte_ms(EMPTY), functions.first_byte_ms(LAMBDA)) for _ in range(FIRST_BYTES)]
    empty, lambda_binary = (statistics.median(column) for column in zip(*pairs))
    ratio = lambda_binary / empty
    what = f"start → first byte, p50 of {FIRST_BYTES}; an empty function ready after {empty:.2f} ms"
    table.add(what, "", f"{lambda_binary:.2f} ms", f"{ratio:.2f} × (≤ 4)", ratio <= 4)


def measure_memory(world, table):
    def lambda_binary():
        begin(world, 0)
        with ours(world) as function:
            function.report()
            idle = functions.peak_mb(function.process.pid)
        begin(world, LATENCY_MS, LAUNCHES)
        with ours(world) as function:
            assert len(function.report()["launched"]) == LAUNCHES
            return idle, functions.peak_mb(function.process.pid)

    def python(version):
        begin(world, 0)
        with peers.running(version, world, max_polls=POLLS, **NAMES) as agent:
            agent.until(2, "prefect1", "get_runs_in_queue")
            idle = functions.peak_mb(agent.process.pid)
        begin(world, LATENCY_MS, LAUNCHES)
        with peers.running(version, world, max_polls=POLLS, **NAMES) as agent:
            agent.until(LAUNCHES, "ecs", "RunTask")
            return idle, functions.peak_mb(agent.process.pid)

    figures = [max(column) for column in zip(*(lambda_binary() for _ in range(REPEAT)))]
    theirs = python("0.15.0")
    for what, python_mb, mb, limit in zip(("idle", f"{LAUNCHES} launches"), theirs, figures, (16, 25)):
        table.at_most(f"peak memory, {what}, largest of {REPEAT}", python_mb, mb, limit, "MB")


def measure_size(_, table):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(LAMBDA, "bootstrap")
    # 0.7 MB of it are for unwinding: one agent's panic is no other's.
    table.at_most("deployment zip", None, len(packed.getvalue()) / 1e6, 5.2, "MB")


def measure_prefect3(world, table):
    real_server.measure(world, table, LAMBDA)


def measure_pokes(world, table):
    pokes.measure(world, table, LAMBDA)


def measure_billed(world, table):
    billed.measure(world, table, LAMBDA)


def measure_late(world, table):
    late.measure(world, table, LAMBDA)


MEASURES = {
    "requests": measure_requests,
    "launches": measure_launches,
    "foreign": measure_foreign,
    "start": measure_start,
    "first-byte": measure_first_byte,
    "memory": measure_memory,
    "prefect3": measure_prefect3,
    "late": measure_late,
    "pokes": measure_pokes,
    "billed": measure_billed,
    "size": measure_size,
}


def main(wanted):
    unknown = set(wanted) - set(MEASURES)
    if unknown:
        sys.exit(f"no such measure: {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}")
    table = Table()
    with processes.running_world() as world:
        for name, measure in MEASURES.items():
            if not wanted or name in wanted:
                measure(world, table)
    print()
    sys.exit(0 if table.show() else 1)


if __name__ == "__main__":
    main(sys.argv[1:])

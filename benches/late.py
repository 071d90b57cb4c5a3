"""Many due runs at the default launch rate, on a real Prefect 3 server whose services mark them Late meanwhile.

A run that is marked gets another state between our look at the queue and its launch; it is due all the same. Labels are
written when everything is launched, as many as the invocation has time for; a warm process writes the rest.
"""

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import functions
import postgres
import real_server
from prefect_server import server

RUNS = 300
# The server marks them so long after their time: in the middle of the poll, which takes 15 s at the default rate. By
# default it waits for 15 s.
LATE_AFTER_SECONDS = 4
SETTINGS = {
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": str(LATE_AFTER_SECONDS),
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
}
SEED_SECONDS = 60
SECONDS = 150
LABEL = "prefect.worker.name"


def polls(world, prefect, binary):
    """What two polls of one process make of them."""
    world.ask("reset", {})
    pool = f"late-{time.time_ns()}"
    due_at = datetime.now(timezone.utc) + timedelta(seconds=SEED_SECONDS)
    runs = prefect.seeded(pool, RUNS, due_at)
    config = {"prefect": 3, "api": prefect.url, "work_pool": pool}
    world.ask("ssm", {"name": f"{functions.ROOT}/config/bench", "value": json.dumps(config)})
    # However long seeding took, none is marked before the poll begins, and all that are left are in its middle.
    time.sleep(max(0, (due_at - datetime.now(timezone.utc)).total_seconds()))
    with functions.Function(world, binary) as function:
        began = time.monotonic()
        first = function.report(SECONDS)
        took = time.monotonic() - began
        second = function.poll_again(SECONDS)
    launched = {one["flow_run_id"] for report in (first, second) for one in report["launched"]}
    put_off = [one for one in first["skipped"] if "changed before its launch" in one.get("reason", "")]
    with ThreadPoolExecutor(2) as threads:
        rows = list(threads.map(lambda run: prefect.api.get(f"/flow_runs/{run}"), runs))
        histories = list(threads.map(lambda run: prefect.api.get(f"/flow_run_states/?flow_run_id={run}"), runs))
    return {
        "first": len(first["launched"]),
        "launched": len(launched),
        "put_off": len(put_off),
        "labelled": sum(LABEL in row["labels"] for row in rows),
        "late": sum(any(state["name"] == "Late" for state in history) for history in histories),
        "took": took,
    }


def databases():
    """PostgreSQL, and SQLite, which a server has by itself."""
    return {"PostgreSQL": postgres.running, "SQLite": lambda: contextlib.nullcontext(None)}


def measure(world, table, binary):
    for name, running in databases().items():
        with running() as database:
            settings = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}
            with real_server.running(**SETTINGS, **settings) as prefect:
                seen = polls(world, prefect, binary)
        # SQLite takes one write at a time: how far that goes is the server's doing.
        judged = name == "PostgreSQL"
        limit = (lambda text, good: (text, good)) if judged else (lambda _, __: (None, None))
        table.add(
            f"{RUNS} due runs at the default rate, Prefect {server.version_of()} on {name}: first poll launches",
            "",
            f"{seen['first']} in {seen['took']:.0f} s",
        )
        table.add("  marked Late meanwhile", "", str(seen["late"]), *limit("> 0", seen["late"] > 0))
        table.add("  put off because they changed", "", str(seen["put_off"]), *limit("0", seen["put_off"] == 0))
        table.add("  launched within two polls", "", str(seen["launched"]), *limit(str(RUNS), seen["launched"] == RUNS))
        table.add("  labelled within two polls", "", str(seen["labelled"]), *limit(str(RUNS), seen["labelled"] == RUNS))

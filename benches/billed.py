"""What an idle poll is billed for, by the function's memory: cold and warm, over TLS at 20 ms per round trip.

Lambda gives memory / 1,769 MB of a processor. Where a control group can be had, the binary runs under that very share;
else the time is computed from what the poll waits and what it computes: waiting + computing / share.
"""

import contextlib
import json
import os
import statistics
import time
from pathlib import Path

import distance
import functions

ROUND_TRIP = 0.02
MEMORIES = (128, 192, 256, 384, 512, 1024, 1769)
WHOLE_PROCESSOR_MB = 1769
# Lambda shares a processor out in slices of 20 ms.
PERIOD_US = 20_000
COLD, WARM = 3, 5
# USD per GB-second and per request, arm64, first tier: https://aws.amazon.com/lambda/pricing/, 2026-11-30.
GB_SECOND, REQUEST = 0.0000133334, 0.0000002
POLLS_A_MONTH = 43_800
# An environment of a function that is invoked every minute lives for about two hours.
COLD_A_MONTH = 365
GROUPS = Path("/sys/fs/cgroup/cpu")


@contextlib.contextmanager
def share_of_a_processor(memory):
    """A function that puts a process under the share that so much memory brings; `None` where that cannot be had."""
    group = GROUPS / f"psa-bench-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(int(PERIOD_US * min(1, memory / WHOLE_PROCESSOR_MB))))
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        for _ in range(50):
            with contextlib.suppress(OSError):
                group.rmdir()
                return
            time.sleep(0.1)


def computed(pid):
    """Seconds of a processor that a process has had so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def configured(world, prefect, root, agents):
    world.ask("reset", {})
    world.ask("prefect3/pool", {"name": "idle", "type": "ecs"})
    for number in range(agents):
        config = {"prefect": 3, "api": prefect, "work_pool": "idle", "ca_bundle": root}
        world.ask("ssm", {"name": f"{functions.ROOT}/config/agent-{number}", "value": json.dumps(config)})


def polls(world, binary, variables, under, hang_up):
    """Seconds of the first poll of a process, with its start, and of one that is warm; each as (passed, computed)."""
    with functions.Function(world, binary, variables, under) as function:
        function.answer()
        cold = (time.time() - function.started, computed(function.process.pid))
        warm = []
        for _ in range(WARM):
            hang_up()
            before, began = computed(function.process.pid), time.perf_counter()
            function.invoke()
            warm.append((time.perf_counter() - began, computed(function.process.pid) - before))
        return cold, warm


def month(cold, warm, memory):
    """USD of a month of idle polls without the free tier."""
    seconds = COLD_A_MONTH * cold + (POLLS_A_MONTH - COLD_A_MONTH) * warm
    return seconds * memory / 1024 * GB_SECOND + POLLS_A_MONTH * REQUEST


def measure(world, table, binary, agents=1):
    best = None
    with distance.far_away(ROUND_TRIP, world.aws, world.prefect3) as ((aws, prefect), root, hang_up):
        configured(world, prefect, root.read_text(), agents)
        variables = {"AWS_ENDPOINT_URL": aws, "AWS_CA_BUNDLE": str(root)}
        # One poll registers the agent: every later one finds it in the status.
        polls(world, binary, variables, None, hang_up)
        for memory in MEMORIES:
            with share_of_a_processor(memory) as under:
                cold, warm = zip(*(polls(world, binary, variables, under, hang_up) for _ in range(COLD)))
            share = 1.0 if under else min(1, memory / WHOLE_PROCESSOR_MB)
            billed = lambda times: statistics.median(passed + used * (1 / share - 1) for passed, used in times)  # noqa: E731
            used = lambda times: statistics.median(used for _, used in times)  # noqa: E731
            again = [one for process in warm for one in process]
            cost = month(billed(cold), billed(again), memory)
            best = min(best or (cost, memory), (cost, memory))
            how = "" if under else ", computed"
            table.add(
                f"idle poll of {agents} agent{'s' * (agents > 1)}, {memory} MB{how}: cold, warm (on the processor)",
                "",
                f"{billed(cold) * 1000:.0f} ms ({used(cold) * 1000:.0f}), {billed(again) * 1000:.0f} ms ({used(again) * 1000:.1f})",
                f"{cost:.3f} USD a month",
            )
    table.add("  cheapest", "", f"{best[1]} MB", f"{best[0]:.3f} USD a month")

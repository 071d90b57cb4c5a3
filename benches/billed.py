"""What the functions are billed for, by their memory: polls that find nothing, cold and warm, launches, and events of tasks,
over TLS at 20 ms per round trip.

Lambda gives memory / 1,769 MB of a processor. Where a control group can be had, the binary runs under that very share;
else the time is computed from what it waits and what it computes: waiting + computing / share.

With PSA_BENCH_RECORD=1 the figures are written down, and COSTS.md is made of them (tests/deploy/test_costs.py).
"""

import contextlib
import datetime
import json
import os
import statistics
import sys
import time
from pathlib import Path

import distance
import functions
import orders

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/deploy"))

import monthly  # noqa: E402

RECORDED = ROOT / "benches/billed.json"
ROUND_TRIP = 0.02
MEMORIES = (128, 192, 256, 384, 512, 1024, 1769)
# Where there is more than one agent, and for all that is not idle: the defaults, and what was one before.
FEWER_MEMORIES = (128, 256)
MANY_AGENTS = 10
WHOLE_PROCESSOR_MB = 1769
# Lambda shares a processor out in slices of 20 ms.
PERIOD_US = 20_000
COLD, WARM = 7, 15
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


class Stopwatch:
    """Takes the time of invocations of one function, as (passed, computed) in seconds, and how much they log."""

    def __init__(self, function, hang_up):
        self.function, self.hang_up = function, hang_up

    def invoke(self, event=None):
        """One invocation after the connections have been ended, as they are for a function that was frozen for a minute."""
        self.hang_up()
        pid = self.function.process.pid
        before, logged, began = computed(pid), len(self.function.output()), time.perf_counter()
        kind, body = self.function.invoke(event)
        assert kind == "response", f"{body.decode()}\n{self.function.output()}"
        passed = time.perf_counter() - began
        lines = self.function.output()[logged:].splitlines()
        return (passed, computed(pid) - before), {"lines": len(lines), "bytes": sum(len(line.encode()) for line in lines)}


class Bench:
    """The functions of a deployment of a pool that is far away, under what so much memory brings."""

    def __init__(self, world, prefect, binary, variables, hang_up):
        self.world, self.binary, self.variables, self.hang_up = world, binary, variables, hang_up
        self.api, self.prefect = orders.Prefect3(world.prefect3), prefect

    def configured(self, root, agents):
        """Agents, each with a pool and a key of its own; what is launched is the first one's."""
        self.world.ask("reset", {})
        pools = [self.api.pool() for _ in range(agents)]
        self.deployment = self.api.deployment(pools[0])
        for number, pool in enumerate(pools):
            config = {"prefect": 3, "api": self.prefect, "work_pool": pool, "ca_bundle": root}
            self.world.ask("ssm", {"name": f"{functions.ROOT}/config/agent-{number}", "value": json.dumps(config)})
            key = {"name": f"{functions.ROOT}/secrets/agent-{number}/api-key", "value": "pnu_bench", "type": "SecureString"}
            self.world.ask("ssm", key)

    def function(self, under=None, handler="poll"):
        return functions.Function(self.world, self.binary, {**self.variables, "_HANDLER": handler}, under)

    def idle(self, under):
        """The first poll of a process, with its start; those that are warm; its peak memory in MB."""
        with self.function(under) as function:
            function.answer()
            cold = (time.time() - function.started, computed(function.process.pid))
            watch = Stopwatch(function, self.hang_up)
            warm = [watch.invoke() for _ in range(WARM)]
            return cold, [times for times, _ in warm], warm[-1][1], functions.peak_mb(function.process.pid)

    def launching(self, under):
        """Warm polls that launch one run each; what one logs; the tasks."""
        with self.function(under) as function:
            function.answer()
            watch, polls = Stopwatch(function, self.hang_up), []
            for number in range(WARM + 1):
                self.api.run(self.deployment)
                polls.append(watch.invoke())
                (report, *_) = json.loads(function.api.answers[-1][1])["agents"].values()
                assert len(report["launched"]) == 1, report
            # The first one registers the task definition.
            return [times for times, _ in polls[1:]], polls[-1][1], functions.peak_mb(function.process.pid)

    def told(self, under):
        """Warm invocations by an event of a task that begins to run, and by one of a task that ended well."""
        tasks = [task["taskArn"] for task in self.world.ask("ecs")["tasks"]]
        event_of = lambda arn: {task["taskArn"]: task["event"] for task in self.world.ask("ecs")["tasks"]}[arn]  # noqa: E731
        changes, ends = [], []
        with self.function(under, "task-events") as function:
            watch = Stopwatch(function, self.hang_up)
            for number, task in enumerate(tasks):
                self.world.ask("ecs/status", {"task": task, "status": "RUNNING"})
                if number == 0:
                    function.answer()
                changes.append(watch.invoke(event_of(task)))
                run = task_run(event_of(task))
                self.api.take(run, ("RUNNING", None), ("COMPLETED", None))
                self.world.ask("ecs/stop", {"task": task, "code": "EssentialContainerExited", "reason": "Essential container in task exited", "exit_code": 0})
                ends.append(watch.invoke(event_of(task)))
        return changes[1:], ends[1:]


def task_run(event):
    """The flow run that a task of ours is signed with: `prefect/AGENT/FLOW-RUN`."""
    return event["detail"]["startedBy"].rsplit("/", 1)[-1]


def billed_ms(times, share):
    """What is billed at this share of a processor: the median of (passed, computed), in ms."""
    return statistics.median(passed + used * (1 / share - 1) for passed, used in times) * 1000


def measure(world, table, binary):
    found = {
        "measured": datetime.date.today().isoformat(),
        "round_trip_ms": ROUND_TRIP * 1000,
        "idle": [],
        "launches": [],
        "events": [],
        "peak_mb": {},
    }
    with distance.far_away(ROUND_TRIP, world.aws, world.prefect3) as ((aws, prefect), root, hang_up):
        bench = Bench(world, prefect, binary, {"AWS_ENDPOINT_URL": aws, "AWS_CA_BUNDLE": str(root)}, hang_up)
        for agents, memories in ((1, MEMORIES), (MANY_AGENTS, FEWER_MEMORIES)):
            bench.configured(root.read_text(), agents)
            # One poll registers the agents: every later one finds them in the status.
            bench.idle(None)
            for memory in memories:
                idle(bench, table, found, agents, memory)
        bench.configured(root.read_text(), 1)
        for memory in FEWER_MEMORIES:
            busy(bench, table, found, memory)
    best = min((one for one in found["idle"] if one["agents"] == 1), key=cost)
    table.add("  cheapest", "", f"{best['memory_mb']} MB", f"{cost(best):.3f} USD a month")
    if os.environ.get("PSA_BENCH_RECORD"):
        RECORDED.write_text(json.dumps(found, indent=1) + "\n")


def idle(bench, table, found, agents, memory):
    with share_of_a_processor(memory) as under:
        cold, warm, logs, peaks = zip(*(bench.idle(under) for _ in range(COLD)))
    share = 1.0 if under else min(1, memory / WHOLE_PROCESSOR_MB)
    warm = [one for process in warm for one in process]
    figures = {"agents": agents, "memory_mb": memory}
    figures |= {"cold_ms": round(billed_ms(cold, share)), "warm_ms": round(billed_ms(warm, share)), "log": logs[-1]}
    found["idle"].append(figures)
    found["peak_mb"][f"idle, {agents} agents"] = round(max(peaks), 1)
    used = lambda times: statistics.median(used for _, used in times) * 1000  # noqa: E731
    table.add(
        f"idle poll of {agents} agent{'s' * (agents > 1)}, {memory} MB{'' if under else ', computed'}: cold, warm (on the processor)",
        "",
        f"{figures['cold_ms']} ms ({used(cold):.0f}), {figures['warm_ms']} ms ({used(warm):.1f})",
        f"{cost(figures):.3f} USD a month",
    )


def busy(bench, table, found, memory):
    with share_of_a_processor(memory) as under:
        polls, log, peak = bench.launching(under)
        changes, ends = bench.told(under)
    share = 1.0 if under else min(1, memory / WHOLE_PROCESSOR_MB)
    launch = {"memory_mb": memory, "ms": round(billed_ms(polls, share)), "log": log}
    event = {"memory_mb": memory}
    for name, told in (("change", changes), ("end", ends)):
        event[name] = {"ms": round(billed_ms([times for times, _ in told], share)), "log": told[-1][1]}
    found["launches"].append(launch)
    found["events"].append(event)
    found["peak_mb"]["launching"] = round(peak, 1)
    what = f"{memory} MB{'' if under else ', computed'}: a poll that launches one run, an event of a task, one of its end"
    table.add(what, "", f"{launch['ms']} ms, {event['change']['ms']} ms, {event['end']['ms']} ms")


def cost(figures):
    """USD of a month of idle polls without the free tier."""
    usage = monthly.idle_polls(figures["cold_ms"], figures["warm_ms"], figures["memory_mb"])
    return sum(monthly.usd(usage, with_free_tier=False).values())

"""What a month costs: COSTS.md's tables, made of the template, list prices (list_prices.json) and what the functions are billed
for (benches/billed.json, which `make bench` writes).

After a change that is meant, PSA_COSTS_UPDATE=1 writes the tables anew; read the difference as part of the change.
"""

import datetime
import json
import os
import re

import expansion
import monthly
import pytest
from test_alarms import metrics_of
from test_functions import of_type, properties

BILLED = json.loads((expansion.ROOT / "benches/billed.json").read_text())
COSTS = expansion.ROOT / "COSTS.md"
RUNS_A_DAY = 1000
# States that ECS tells of from a task's beginning to its end, attachments included.
EVENTS_OF_A_TASK = 8
# Of an event: EventBridge sends it, Lambda receives and deletes it.
REQUESTS_OF_AN_EVENT = 3
# Lambda reads a queue that it serves with five pollers, each of which waits for 20 s.
IDLE_REQUESTS = 5 * 3 * monthly.MINUTES
# What Lambda itself writes of an invocation, and what CloudWatch adds to every line.
LAMBDAS_LINES, LAMBDAS_BYTES, BYTES_OF_A_LINE = 2, 600, 26
EMAILS = 100
# Prefect 1 looks so far ahead by default, and holds what it found until its time: with a run every minute, always.
HELD_SECONDS = 120
AGENTS = (1, 10)
SHOWN = {
    "invocation": "functions: invocations",
    "gb_second": "functions: GB-seconds",
    "scheduled": "schedule: invocations",
    "queue_request": "queue of events: requests",
    "decryption": "keys: decryptions",
    "log_gb": "logs: GB written",
    "log_gb_month": "logs: GB kept",
    "metric": "metrics",
}


def figures(kind, memory, **wanted):
    """What was measured with so much memory; a gap is one of the measurement, and says so."""
    for one in BILLED[kind]:
        if one["memory_mb"] == memory and all(one[key] == value for key, value in wanted.items()):
            return one
    raise AssertionError(f"benches/billed.json has no {kind} at {memory} MB {wanted}: PSA_BENCH_RECORD=1 make bench")


def log_gb(log):
    lines, size = log["lines"] + LAMBDAS_LINES, log["bytes"] + LAMBDAS_BYTES
    return (size + lines * BYTES_OF_A_LINE) / 1e9


def added(*usages):
    total = {}
    for usage in usages:
        for name, amount in usage.items():
            total[name] = total.get(name, 0) + amount
    return total


def invocations(count, ms, memory, log):
    return {"invocation": count, "gb_second": count * ms / 1000 * memory / 1024, "log_gb": count * log_gb(log)}


def memory_of(stack, function):
    return int(properties(stack, function)["MemorySize"])


def usage(stack, agents, runs_a_day):
    """What a month of a deployment is billed for, by the name of the price."""
    memory = memory_of(stack, "PollFunction")
    idle = figures("idle", memory, agents=agents)
    one_agent, launching = figures("idle", memory, agents=1), figures("launches", memory)
    launches = round(runs_a_day * monthly.HOURS / 24)
    # Runs that are spread over the day: the dearest way, one poll for each.
    busy_polls = min(launches, monthly.POLLS - monthly.COLD_STARTS)
    busy_ms = idle["warm_ms"] + launching["ms"] - one_agent["warm_ms"]
    busy_log = {key: idle["log"][key] + launching["log"][key] - one_agent["log"][key] for key in ("lines", "bytes")}
    found = added(
        invocations(monthly.COLD_STARTS, idle["cold_ms"], memory, idle["log"]),
        invocations(monthly.POLLS - monthly.COLD_STARTS - busy_polls, idle["warm_ms"], memory, idle["log"]),
        invocations(busy_polls, busy_ms, memory, busy_log),
        {"scheduled": monthly.POLLS * len(of_type(stack, "AWS::Scheduler::Schedule"))},
        {"queue_request": IDLE_REQUESTS * len(of_type(stack, "AWS::Lambda::EventSourceMapping"))},
        # A process decrypts one key of each agent, and anew what was written since.
        {"decryption": monthly.COLD_STARTS * agents},
        {"metric": metrics(stack, agents)},
    )
    if launches:
        memory = memory_of(stack, "TaskEventsFunction")
        told = figures("events", memory)
        found = added(
            found,
            invocations(monthly.COLD_STARTS, idle["cold_ms"], memory, told["change"]["log"]),
            invocations(launches * (EVENTS_OF_A_TASK - 1), told["change"]["ms"], memory, told["change"]["log"]),
            invocations(launches, told["end"]["ms"], memory, told["end"]["log"]),
            {"queue_request": launches * EVENTS_OF_A_TASK * REQUESTS_OF_AN_EVENT},
            {"decryption": monthly.COLD_STARTS * agents},
        )
    days = {properties(stack, name)["RetentionInDays"] for name in of_type(stack, "AWS::Logs::LogGroup")}
    (days,) = days
    return added(found, {"log_gb_month": found["log_gb"] * int(days) / (monthly.HOURS / 24)})


def metrics(stack, agents):
    """Those of the deployment, and those of its agents where they are asked for."""
    source = (expansion.ROOT / "src/telemetry/metrics.rs").read_text()
    (each,) = re.findall(r"pub const ALL: \[Self; (\d+)\]", source)
    wanted = properties(stack, "PollFunction")["Environment"]["Variables"]["AGENT_METRICS"] == "ENABLED"
    return int(each) * (1 + agents * wanted)


def beside(stack, agents):
    """What else a deployment can have: what is billed by the piece, and what is billed for tracing."""
    alarms = [item["Properties"] for item in of_type(stack, "AWS::CloudWatch::Alarm").values()]
    traced = properties(stack, "PollFunction")["TracingConfig"]["Mode"] == "Active"
    return {
        "alarm_metric": sum(len(metrics_of(alarm)) for alarm in alarms),
        "dashboard": len(of_type(stack, "AWS::CloudWatch::Dashboard")),
        "trace": monthly.POLLS * traced,
        "metric": metrics(stack, agents),
    }


def shown(usd):
    return "0" if usd == 0 else f"{usd:.3f}" if usd < 10 else f"{usd:.2f}"


def row(*cells):
    return f"| {' | '.join(cells)} |"


def scenarios():
    return [(agents, runs) for runs in (0, RUNS_A_DAY) for agents in AGENTS]


def main_table():
    stack = expansion.expand()
    amounts = [usage(stack, agents, runs) for agents, runs in scenarios()]
    costs = [[monthly.usd(one, with_free_tier) for with_free_tier in (True, False)] for one in amounts]
    names = ["idle, 1 agent", "idle, 10 agents", "1,000 runs a day, 1 agent", "1,000 runs a day, 10 agents"]
    rows = [row("USD a month: within the free tiers / beyond them", *names), row("---", *(["---:"] * len(names)))]
    for name, label in SHOWN.items():
        cells = [f"{shown(free[name])} / {shown(full[name])}" for free, full in costs]
        rows.append(row(label, *cells))
    totals = [[sum(one.values()) for one in both] for both in costs]
    rows.append(row("**all**", *(f"**{shown(free)} / {shown(full)}**" for free, full in totals)))
    return "\n".join(rows)


def options_table():
    plain = expansion.expand()

    def of(label, agents, parameters, name):
        stack = expansion.expand(**parameters)
        with_it, without = ({**usage(one, agents, 0), **beside(one, agents)} for one in (stack, plain))
        more = [sum(monthly.usd(with_it, free).values()) - sum(monthly.usd(without, free).values()) for free in (True, False)]
        assert with_it[name] > without[name], f"{label}: the template has no {name} more"
        return row(label, *map(shown, more))

    def used(label, name, amount):
        return row(label, *(shown(monthly.usd({name: amount}, free)[name]) for free in (True, False)))

    held = monthly.POLLS * HELD_SECONDS * memory_of(plain, "PollFunction") / 1024
    topic = {"AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:oncall"}
    return "\n".join([
        row("what else can be there", "free tiers otherwise unused, USD a month", "used up"),
        row("---", "---:", "---:"),
        of("`AlarmTopicArn` or `AlarmEmail`: the alarms", 1, topic, "alarm_metric"),
        used(f"{EMAILS} e-mails of alarms", "email", EMAILS),
        of("`Dashboard=ENABLED`", 1, {"Dashboard": "ENABLED"}, "dashboard"),
        of("`AgentMetrics=ENABLED`, 1 agent", 1, {"AgentMetrics": "ENABLED"}, "metric"),
        of("`AgentMetrics=ENABLED`, 10 agents", 10, {"AgentMetrics": "ENABLED"}, "metric"),
        of("`Tracing=ENABLED`, idle (X-Ray's own free tier not counted)", 1, {"Tracing": "ENABLED"}, "trace"),
        used("Prefect 1, a run every minute: launches that are held until their time, at the most", "gb_second", held),
    ])  # fmt: skip


def memory_table():
    rows = [row("agents", "`PollMemory`", "cold start", "warm", "idle, beyond the free tiers, USD a month"), row(*["---:"] * 5)]
    for one in BILLED["idle"]:
        rows.append(row(str(one["agents"]), f"{one['memory_mb']} MB", f"{one['cold_ms']} ms", f"{one['warm_ms']} ms", shown(of_polls(one))))
    return "\n".join(rows)


def of_polls(one):
    """USD of a month of idle polls without the free tier."""
    return sum(monthly.usd(monthly.idle_polls(one["cold_ms"], one["warm_ms"], one["memory_mb"]), False).values())


TABLES = {"a month": main_table, "what else": options_table, "by memory": memory_table}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_documentation_are_what_comes_out(name):
    text, table = COSTS.read_text(), TABLES[name]()
    begin, end = f"<!-- {name}: made by tests/deploy/test_costs.py -->\n", "\n<!-- end -->"
    before, rest = text.split(begin)
    written, after = rest.split(end, 1)
    if os.environ.get("PSA_COSTS_UPDATE"):
        COSTS.write_text(before + begin + table + end + after)
        return
    assert written == table, f"COSTS.md is out of date; PSA_COSTS_UPDATE=1 writes this:\n{table}"


@pytest.mark.parametrize("agents", AGENTS)
@pytest.mark.parametrize("alarms", [{}, {"AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:on-call"}])
def test_an_idle_month_costs_ten_cents_at_the_most_where_the_free_tiers_are_otherwise_unused(agents, alarms):
    stack = expansion.expand(**alarms)
    month = added(usage(stack, agents, 0), {"alarm_metric": beside(stack, agents)["alarm_metric"]})
    assert sum(monthly.usd(month, with_free_tier=True).values()) <= 0.10, month


def test_the_default_memory_is_the_cheapest_for_one_agent():
    costs = {one["memory_mb"]: of_polls(one) for one in BILLED["idle"] if one["agents"] == 1}
    assert memory_of(expansion.expand(), "PollFunction") == min(costs, key=costs.get), costs


def test_the_default_memory_is_three_times_what_was_ever_used():
    peak = max(BILLED["peak_mb"].values())
    assert 3 * peak <= memory_of(expansion.expand(), "PollFunction"), f"{peak} MB at the peak"


def test_what_the_tables_need_is_measured():
    assert datetime.date.fromisoformat(BILLED["measured"]) and BILLED["round_trip_ms"] == 20
    stack = expansion.expand()
    for agents in AGENTS:
        figures("idle", memory_of(stack, "PollFunction"), agents=agents)
    figures("launches", memory_of(stack, "PollFunction"))
    figures("events", memory_of(stack, "TaskEventsFunction"))


@pytest.mark.parametrize("name", monthly.PRICES)
def test_every_price_says_where_it_was_read_and_of_which_day(name):
    price = monthly.PRICES[name]
    quote = monthly.LISTED["quotes"][price["quote"]]
    repository, path = quote["file"].split(" ")
    assert repository.count("/") == 1 and "." in path
    assert datetime.date.fromisoformat(price["published"]) <= datetime.date.fromisoformat(quote["read"])
    assert quote["list"].startswith("https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/{offer}/")
    assert price["offer"] and price["of"] and price["usd"] > 0 <= price["free"]


def test_only_what_is_beyond_the_free_tier_costs():
    assert monthly.usd({"queue_request": 1_500_000}, True) == {"queue_request": pytest.approx(0.2)}
    assert monthly.usd({"queue_request": 1_500_000}, False) == {"queue_request": pytest.approx(0.6)}
    assert monthly.usd({"queue_request": 999_999}, True) == {"queue_request": 0}

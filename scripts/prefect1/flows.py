"""Flows of Prefect 0.15 and 1, as a container runs them when it is told `prefect execute flow-run`."""

import datetime
import time

import prefect
from prefect import Flow, Parameter, task
from prefect.executors import LocalExecutor


@task
def extract(rows):
    return list(range(rows))


@task
def transform(value):
    return 2 * value


@task
def load(values):
    prefect.context.get("logger").info("loaded %d rows, sum %d", len(values), sum(values))


@task(max_retries=2, retry_delay=datetime.timedelta(seconds=1))
def flaky():
    if prefect.context.get("task_run_count", 1) == 1:
        raise ConnectionError("the database is restarting")


@task
def fail():
    raise ValueError("there is no such table: orders_2019")


@task
def work(seconds):
    """As long as it takes, in small steps: a flow that is cancelled stops between two of them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.1)


with Flow("etl") as etl:
    load(transform.map(extract(Parameter("rows", default=3))))

with Flow("patient") as patient:
    flaky()

with Flow("fragile") as fragile:
    fail()

with Flow("long") as long:
    work(Parameter("seconds", default=60))

FLOWS = [etl, patient, fragile, long]
for flow in FLOWS:
    flow.executor = LocalExecutor()

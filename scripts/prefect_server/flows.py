"""The flows of the demo: what a container runs when it is told to execute a flow run."""

import os
import signal
import time
from pathlib import Path

from prefect import flow, task


@task
def extract(rows: int) -> list[int]:
    return list(range(rows))


@task
def load(values: list[int]) -> int:
    return sum(values)


@flow(log_prints=True)
def etl(source: str = "orders", rows: int = 100) -> int:
    """Two tasks, one after the other."""
    total = load(extract(rows))
    print(f"{rows} rows of {source}, sum {total}")
    return total


@flow(log_prints=True)
def report(customer: str = "everybody", seconds: float = 0.5) -> None:
    """Takes a parameter and a while."""
    time.sleep(seconds)
    print(f"the report for {customer} is ready")


@flow(log_prints=True)
def staged() -> None:
    """Tells what its container's environment says."""
    print(f"this is the stage {os.environ.get('STAGE', 'nowhere')}")


def clean_up(flow, flow_run, state) -> None:
    """What is still done for a flow that was cancelled."""
    Path(os.environ["CLEANED_UP"]).touch()


@flow(on_cancellation=[clean_up])
def patient(seconds: float = 300) -> None:
    """Waits, and has to clean up when it is cancelled."""
    time.sleep(seconds)


@flow
def fragile() -> None:
    """Fails, as flows do."""
    raise ValueError("there is no such table: orders_2019")


@flow(log_prints=True)
def hungry(gigabytes: int = 6) -> None:
    """Takes more memory than its container has."""
    print(f"loading {gigabytes} GB of orders at once")
    # What the kernel does about it: the whole container is gone, with the process that would tell of the flow's end.
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

"""`prefect-serverless-agent connect` on a real server and on the fake: the automation calls our `poke` function, which has
our `poll` function launch the run; and what our polls bring about calls nobody."""

import time

import functions
import processes
import pytest
from orders import AUTH_STRING, at

AGENT = "etl"
COMMAND = processes.LAMBDA.with_name("prefect-serverless-agent")
SECONDS = 60
# From creating a run to RunTask, on a machine that is busy with other tests; with the minute's tick it is half a minute.
AT_ONCE_SECONDS = 10
SLOT, GIVEN_BACK = "AwaitingConcurrencySlot", "AwaitingRetry"


class Deployed:
    """A deployment with a poke URL, for a pool of a server whose services run."""

    def __init__(self, world, api, poked):
        self.world, self.api, self.poked = world, api, poked
        self.pool = api.pool()
        config = {"prefect": 3, "api": api.url, "work_pool": self.pool, "launch_rate": None}
        functions.deployed(world, AGENT, config, processes.LAMBDA)
        secret = {"name": f"{functions.ROOT}/secrets/{AGENT}/auth-string", "value": AUTH_STRING, "type": "SecureString"}
        world.ask("ssm", secret)

    def connect(self, *arguments):
        """Runs the command; what it did about the agent."""
        return functions.connect(self.world, COMMAND, *arguments)[AGENT]

    def automations(self, name):
        """All of this name, as the server shows them."""
        return self.api.post("/automations/filter", {"automations": {"name": {"any_": [name]}}})

    def actions(self, automation):
        """What the automation's last action came to, as `check` asks for it; the server writes it down a little later."""
        wanted = {
            "event": {"name": ["prefect.automation.action.executed", "prefect.automation.action.failed"]},
            "resource": {"id": [f"prefect.automation.{automation['id']}"]},
            "occurred": {"since": at(-3600)},
            "order": "DESC",
        }
        return self.api.post("/events/filter", {"filter": wanted, "limit": 1})["events"]

    def block(self, name):
        """Status, and the block with its secrets."""
        path = f"/block_types/slug/webhook/block_documents/name/{name}?include_secrets=true"
        return self.api.ask("GET", path)

    def pokes(self):
        """The statuses of Prefect's own pokes: the first was the command's."""
        return [status for _, _, status in self.poked.calls[1:]]

    def until(self, condition, otherwise, seconds=SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{otherwise}\n{self.poked.calls}\n{self.poked.output()}"
            time.sleep(0.02)

    def launched(self):
        """Ids of the runs that have tasks."""
        tags = [{tag["key"]: tag["value"] for tag in task["tags"]} for task in self.world.ask("ecs")["tasks"]]
        return {one["prefect.io/flow-run-id"] for one in tags}

    def launched_at_once(self, deployment):
        """Makes a run due, as a person does, and waits for its task; seconds that it took."""
        began = time.monotonic()
        run = self.api.post(f"/deployments/{deployment}/create_flow_run", {})["id"]
        self.until(lambda: run in self.launched(), f"{run} was not launched at once", AT_ONCE_SECONDS)
        return time.monotonic() - began

    def polled(self):
        """One poll of the schedule's."""
        with functions.Function(self.world, processes.LAMBDA) as function:
            return function.report()

    def states(self, run):
        return [state["name"] for state in self.api.history(run)]


@pytest.fixture
def deployed(world, guarded):
    token = guarded.get("/csrf-token?client=pokes")["token"]
    guarded.headers.update({"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "pokes"})
    with functions.Poked(world, processes.LAMBDA) as poked:
        yield Deployed(world, guarded, poked)


def test_a_run_that_somebody_starts_is_launched_at_once_until_the_connection_is_taken_away(deployed):
    made = deployed.connect("--url", deployed.poked.url)
    assert (made["block"], made["automation"], made["duplicates_deleted"]) == ("made", "made", 0)
    name, url = made["name"], f"{deployed.poked.url}api/poke?agent={AGENT}"
    status, block = deployed.block(name)
    assert status == 200 and block["data"]["url"] == made["url"] == url, block
    automations = deployed.automations(name)
    assert [one["enabled"] for one in automations] == [True]

    deployment = deployed.api.deployment(deployed.pool)
    took = [deployed.launched_at_once(deployment) for _ in range(3)]
    print(f"create_flow_run → RunTask: {', '.join(f'{one:.2f}' for one in took)} s")

    deployed.until(lambda: deployed.actions(automations[0]), "no event tells what the poke came to")
    (event,) = deployed.actions(automations[0])
    assert (event["event"], event["payload"]["status_code"]) == ("prefect.automation.action.executed", 200), event
    assert event["occurred"]

    # Once more changes nothing: what a server adds or writes in another order is no difference.
    again = deployed.connect("--url", deployed.poked.url)
    assert (again["block"], again["automation"], again["duplicates_deleted"]) == ("unchanged", "unchanged", 0)
    assert deployed.automations(name) == automations and deployed.block(name) == (200, block)

    # Somebody disables the automation and points the block elsewhere.
    deployed.api.patch(f"/automations/{automations[0]['id']}", {"enabled": False})
    deployed.api.patch(f"/block_documents/{block['id']}", {"data": {"url": "https://elsewhere.example"}})
    mended = deployed.connect("--url", deployed.poked.url)
    assert (mended["block"], mended["automation"]) == ("changed", "changed")
    deployed.launched_at_once(deployment)

    gone = deployed.connect("--remove")
    assert (gone["automations_deleted"], gone["block_deleted"]) == (1, True)
    assert (deployed.automations(name), deployed.block(name)[0]) == ([], 404)
    gone = deployed.connect("--remove")
    assert (gone["automations_deleted"], gone["block_deleted"]) == (0, False)


def test_what_polls_bring_about_pokes_nobody_and_a_retry_by_a_person_does(deployed):
    world, api = deployed.world, deployed.api
    enqueues = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "ENQUEUE"}}
    full, other = api.deployment(deployed.pool, **enqueues), api.deployment(deployed.pool)
    # Before anything pokes: a run that has the slot, one that waits for it, and one that ECS has no room for.
    api.take(api.run(full), ("PENDING", None))
    waiting = api.run(full)
    deployed.connect("--url", deployed.poked.url)
    deployed.until(lambda: SLOT in deployed.states(waiting), "the poke of connect led to no poll")
    world.ask("ecs/refuse", {"reason": "RESOURCE:MEMORY", "count": 1000})
    refused = api.run(other, due_in=-1)
    deployed.until(lambda: len(deployed.pokes()) == 1, "a new run pokes")
    deployed.until(lambda: GIVEN_BACK in deployed.states(refused), "the run was not given back")
    for _ in range(3):
        # Both are due again: the poll finds neither slot nor room.
        for run, name in ((waiting, SLOT), (refused, GIVEN_BACK)):
            before = deployed.states(run).count(name)
            api.propose(run, "SCHEDULED", name, force=True, scheduled_time=at(-1))
            deployed.until(lambda: deployed.states(run).count(name) > before, "not due again")
        deployed.polled()
    assert min(deployed.states(waiting).count(SLOT), deployed.states(refused).count(GIVEN_BACK)) >= 6

    # A person's retry pokes, and so does a new run. Whatever was before them would have poked before them.
    api.propose(refused, "FAILED", force=True)
    api.propose(refused, "SCHEDULED", GIVEN_BACK, message="Retry from the UI", force=True)
    deployed.until(lambda: len(deployed.pokes()) >= 2, "a retry from the user interface does not poke")
    api.run(other, due_in=3600)
    deployed.until(lambda: len(deployed.pokes()) >= 3, "a new run does not poke")
    assert deployed.pokes() == [200, 200, 200]

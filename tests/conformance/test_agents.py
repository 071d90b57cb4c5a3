"""The real Prefect agents live in the fake world as they lived with Prefect and AWS."""

import pytest

TENANT = "6f1b2c3d-0000-4000-8000-000000000001"
ECS_RUN = {
    "type": "ECSRun",
    "image": "example/flow:1",
    "cpu": "512",
    "memory": "1024",
    "env": {"COLOUR": "blue"},
    "labels": ["prod"],
    "__version__": "0.15.0",
}


def states(run):
    return [state["state"] for state in run["states"]]


def messages(run):
    return [log["message"] for log in run["logs"]]


def only(items):
    assert len(items) == 1, items
    return items[0]


def flow_environment(task):
    (flow,) = [c for c in task["overrides"]["containerOverrides"] if c["name"] == "flow"]
    return {pair["name"]: pair["value"] for pair in flow["environment"]}


def test_a_due_run_becomes_a_task(world, poll, version):
    run_id = world.create(labels=["prod"], run_config=ECS_RUN, flow={"name": "Etl", "core_version": version})

    log = poll(labels=["prod", "dev"], name="etl")

    run = world.run(run_id)
    assert states(run) == ["Scheduled", "Submitted"], log
    task = only(world.ask("ecs")["tasks"])
    assert messages(run) == [f"Submitted for execution: Task {task['taskArn']}"]
    assert task["launchType"] == "FARGATE"
    assert (task["overrides"]["cpu"], task["overrides"]["memory"]) == ("512", "1024")
    environment = flow_environment(task)
    assert environment["PREFECT__CONTEXT__FLOW_RUN_ID"] == run_id
    assert environment["PREFECT__CLOUD__API"] == world.prefect1
    assert environment["COLOUR"] == "blue"
    definition = only(world.ask("ecs")["definitions"])
    assert definition["containerDefinitions"][0]["image"] == "example/flow:1"
    assert definition["status"] == "INACTIVE", "the agent deregisters what it registered"


def test_it_asks_in_the_order_that_prefect_knows(world, poll, version):
    world.create(labels=["prod"], run_config=ECS_RUN)

    poll(labels=["prod"])

    start = ["prefect1 auth_info", "prefect1 register_agent", "prefect1 hello"]
    network = ["ec2 DescribeVpcs", "ec2 DescribeSubnets"]
    a_poll = ["prefect1 get_runs_in_queue", "prefect1 flow_run"]
    launch = [
        "prefect1 set_flow_run_states",
        "ecs RegisterTaskDefinition",
        "ecs RunTask",
        "ecs DeregisterTaskDefinition",
        "prefect1 write_run_logs",
    ]
    assert world.requests("prefect1", "ec2", "ecs") == network + start + a_poll + launch


def test_it_is_registered_as_prefect_registers_agents(world, poll, version):
    poll(labels=["prod", "dev"], name="etl")
    poll(labels=["dev", "prod"], name="etl", max_polls=2)

    agent = only(world.ask("prefect1/agents"))
    assert (agent["type"], agent["name"], agent["core_version"]) == ("ECSAgent", "etl", version)
    assert agent["labels"] == ["dev", "prod"]
    assert agent["tenant_id"] == TENANT
    assert agent["last_queried"] is not None


def test_an_idle_poll_is_one_request(world, poll):
    poll(max_polls=3)
    assert world.requests("prefect1").count("prefect1 get_runs_in_queue") == 3
    assert "prefect1 flow_run" not in world.requests("prefect1")


@pytest.mark.parametrize(
    ("agent", "taken", "left"),
    [
        (["a", "b"], [["a"], ["b"], ["a", "b"]], [["a", "c"], ["c"], []]),
        ([], [[]], [["a"]]),
    ],
)
def test_labels_decide_who_takes_a_run(world, poll, agent, taken, left):
    # One flow each: the agent's registrations of one flow run into each other, as they do at AWS.
    ours = [world.create(labels=labels, flow={"name": f"flow {number}"}) for number, labels in enumerate(taken)]
    others = [world.create(labels=labels) for labels in left]
    poll(labels=agent)
    assert [states(world.run(run_id)) for run_id in ours] == [["Scheduled", "Submitted"]] * len(ours)
    assert [states(world.run(run_id)) for run_id in others] == [["Scheduled"]] * len(others)


def test_a_future_run_is_left_alone(world, poll):
    run_id = world.create(start_in_seconds=120)
    poll()
    assert states(world.run(run_id)) == ["Scheduled"]


def test_a_run_of_the_next_seconds_is_held(world, poll):
    run_id = world.create(start_in_seconds=4)
    poll()
    scheduled, submitted = world.run(run_id)["states"]
    assert submitted["state"] == "Submitted"
    assert submitted["timestamp"] >= scheduled["start_time"]


def test_a_due_task_retry_starts_the_running_run_again(world, poll):
    run_id = world.create(state="Running", version=4, start_in_seconds=-60, task_runs=[{"version": 3}])

    log = poll()

    run = world.run(run_id)
    assert states(run) == ["Running"], "the flow run keeps its state"
    assert run["version"] == 4
    assert only(run["task_runs"])["state"] == "Submitted", log
    assert "prefect1 set_task_run_states" in world.requests("prefect1")
    assert len(world.ask("ecs")["tasks"]) == 1


def test_a_wrong_run_config_fails_its_run_only(world, poll):
    wrong = world.create(run_config={"type": "KubernetesRun", "__version__": "0.15.0"})
    right = world.create()

    poll()

    run = world.run(wrong)
    reason = f"Flow run {wrong} has a `run_config` of type `KubernetesRun`, only `ECSRun` is supported"
    assert states(run)[-1] == "Failed"
    assert run["state_message"] == reason
    assert messages(run) == [reason]
    assert states(world.run(right)) == ["Scheduled", "Submitted"]


def test_failures_of_ecs_fail_the_run(world, poll):
    run_id = world.create()
    world.ask("ecs/refuse", {"reason": "RESOURCE:MEMORY"})

    poll()

    run = world.run(run_id)
    assert states(run) == ["Scheduled", "Submitted", "Failed"]
    assert "RESOURCE:MEMORY" in run["state_message"]
    assert world.ask("ecs")["tasks"] == []


def test_a_run_beyond_the_concurrency_limit_is_launched_all_the_same(world, poll):
    """Python ignores the status QUEUED; the answer has it nevertheless."""
    world.ask("prefect1/switches", {"flow_concurrency": 0})
    run_id = world.create()
    poll()
    assert states(world.run(run_id)) == ["Scheduled", "Queued"]
    assert len(world.ask("ecs")["tasks"]) == 1


def test_a_refused_claim_launches_nothing(world, poll):
    run_id = world.create()
    message = "State update failed: this run has already been submitted."
    world.ask("prefect1/switches", {"fail": [{"field": "set_flow_run_states", "message": message}]})

    poll()

    run = world.run(run_id)
    assert (states(run), run["logs"]) == (["Scheduled"], [])
    assert world.ask("ecs")["tasks"] == []


def test_server_needs_no_key(world, poll):
    world.ask("prefect1/switches", {"backend": "server"})
    run_id = world.create()

    poll({"PREFECT__BACKEND": "server"})

    assert states(world.run(run_id)) == ["Scheduled", "Submitted"]
    assert "prefect1 tenant" in world.requests("prefect1")
    assert flow_environment(only(world.ask("ecs")["tasks"]))["PREFECT__BACKEND"] == "server"


@pytest.mark.parametrize("version", ["0.15.0"], indirect=True)
def test_tokens_have_a_scope_and_no_tenant(world, poll):
    run_id = world.create()

    poll({"PREFECT__CLOUD__AGENT__AUTH_TOKEN": "tok"})

    assert states(world.run(run_id)) == ["Scheduled", "Submitted"]
    assert flow_environment(only(world.ask("ecs")["tasks"]))["PREFECT__CLOUD__AUTH_TOKEN"] == "tok"


@pytest.mark.parametrize("version", ["0.15.0"], indirect=True)
def test_a_token_without_the_runner_scope_is_refused(world, poll):
    world.ask("prefect1/token", {"token": "user", "scope": "USER"})
    with pytest.raises(AssertionError, match="does not have a RUNNER scope"):
        poll({"PREFECT__CLOUD__AGENT__AUTH_TOKEN": "user"})


def test_an_unknown_key_is_refused(world, poll):
    with pytest.raises(AssertionError, match="(?i)unauthenticated|unauthori[sz]ed|401"):
        poll({"PREFECT__CLOUD__API_KEY": "nobody"})

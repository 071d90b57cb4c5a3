"""What IAM decides: which permissions a request to AWS needs, and whether a role's policies give them.

The requests are those of the world's journal (service, operation, body, headers, line). The policies are those of an
expanded template."""

import fnmatch
import json
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

import deployed

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Permission:
    """One question to IAM."""

    action: str
    resource: str
    context: dict = field(default_factory=dict, hash=False)

    def __str__(self):
        conditions = "".join(f" {key}={value}" for key, value in self.context.items())
        return f"{self.action} on {self.resource}{conditions}"


def listed(value):
    return value if isinstance(value, list) else [value]


def is_like(pattern, text):
    """IAM's wildcards: `*` and `?`, which also match a slash and a colon. Brackets mean nothing."""
    return fnmatch.fnmatchcase(text, re.sub(r"\[", "[[]", pattern))


def holds(operator, wanted, found):
    """One condition. A key that the request does not have fails it, unless the operator ends in IfExists."""
    if operator.endswith("IfExists"):
        return found is None or holds(operator.removesuffix("IfExists"), wanted, found)
    if operator == "Null":
        return (found is None) == (str(listed(wanted)[0]).lower() == "true")
    if found is None:
        return False
    match operator:
        case "StringEquals" | "ArnEquals":
            return found in listed(wanted)
        case "StringLike" | "ArnLike":
            return any(is_like(pattern, found) for pattern in listed(wanted))
        case "StringNotEquals":
            return found not in listed(wanted)
    raise AssertionError(f"the templates use {operator}, which these tests do not evaluate")


def applies(statement, permission):
    if not any(is_like(action.lower(), permission.action.lower()) for action in listed(statement["Action"])):
        return False
    if not any(is_like(resource, permission.resource) for resource in listed(statement["Resource"])):
        return False
    conditions = statement.get("Condition", {})
    return all(
        holds(operator, wanted, permission.context.get(key))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def allows(statements, permission):
    """An explicit Deny beats every Allow; without an Allow it is denied."""
    effects = {statement["Effect"] for statement in statements if applies(statement, permission)}
    return effects == {"Allow"}


def statements_of(stack, role):
    """All statements of a role of an expanded template, references resolved."""
    policies = stack["Resources"][role]["Properties"].get("Policies", [])
    statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    return deployed.Deployed(stack).resolved(statements)


# Which permissions a request needs, as AWS's service authorization reference has it.


def permissions(request, definitions=()):
    """Of a journal entry. `definitions`: the registered task definitions, whose roles are passed by `RunTask`."""
    region = region_of(request)
    body = json.loads(request["body"]) if request["body"][:1] == "{" else {}
    service, operation = request["service"], request["operation"]
    arn = lambda of, rest: f"arn:aws:{of}:{region}:{ACCOUNT}:{rest}"  # noqa: E731
    match service, operation:
        case "ssm", "GetParametersByPath":
            return [Permission(f"ssm:{operation}", arn("ssm", f"parameter{body['Path'].rstrip('/')}"))]
        case "ssm", "GetParameters":
            return [Permission(f"ssm:{operation}", parameter(name, arn)) for name in body["Names"]]
        case "ssm", _:
            return [Permission(f"ssm:{operation}", parameter(body["Name"], arn))]
        case "ecs", "RunTask":
            return run_task(body, definitions, arn)
        case "ecs", "RegisterTaskDefinition":
            resource = arn("ecs", f"task-definition/{body['family']}:*")
            return [Permission("ecs:RegisterTaskDefinition", resource), *passed(body), *tagged(body, resource, operation)]
        case "ecs", "DescribeTasks" | "StopTask":
            tasks = body.get("tasks") or [body["task"]]
            context = {"ecs:cluster": cluster(body, arn)}
            return [Permission(f"ecs:{operation}", task_arn(task, body, arn), context) for task in tasks]
        case "ecs", "ListTasks":
            return [Permission("ecs:ListTasks", "*", {"ecs:cluster": cluster(body, arn)})]
        case "ecs", "DescribeClusters":
            return [Permission("ecs:DescribeClusters", arn("ecs", f"cluster/{name.split('/')[-1]}")) for name in body["clusters"]]
        case "ecs" | "ec2", _:
            return [Permission(f"{service}:{operation}", "*")]
        case "logs", "GetLogEvents":
            group = arn("logs", f"log-group:{body['logGroupName']}:log-stream:{body['logStreamName']}")
            return [Permission("logs:GetLogEvents", group)]
        case "s3", _:
            path = unquote(request["line"].split(" ")[1].split("?")[0]).lstrip("/")
            return [Permission("s3:GetObject", f"arn:aws:s3:::{path}")]
        case "lambda", "Invoke":
            name = unquote(request["line"].split(" ")[1].split("/")[3])
            return [Permission("lambda:InvokeFunction", arn("lambda", f"function:{name}"))]
        case "iam", _:
            source = re.search(r"PolicySourceArn=([^&]+)", request["body"])
            name = re.search(r"RoleName=([^&]+)", request["body"])
            role = unquote(source[1]) if source else role_arn(unquote(name[1]))
            return [Permission(f"iam:{operation}", role)]
        case "sts", "GetCallerIdentity":
            return []  # nobody needs leave to ask who they are
        case "cloudformation", "DescribeStackResources":
            stack = unquote(re.search(r"StackName=([^&]+)", request["body"])[1])
            return [Permission("cloudformation:DescribeStackResources", arn("cloudformation", f"stack/{stack}/0123"))]
        case "scheduler", "GetSchedule":
            path = unquote(request["line"].split(" ")[1])
            name, group = re.search(r"/schedules/([^?]+)", path)[1], re.search(r"groupName=([^&]+)", path)[1]
            return [Permission("scheduler:GetSchedule", arn("scheduler", f"schedule/{group}/{name}"))]
        case "events", "ListRuleNamesByTarget":
            return [Permission("events:ListRuleNamesByTarget", "*")]
        case "events", _:
            return [Permission(f"events:{operation}", arn("events", f"rule/{body.get('Name') or body['Rule']}"))]
        case "sqs", "GetQueueAttributes":
            return [Permission("sqs:GetQueueAttributes", arn("sqs", body["QueueUrl"].split("/")[-1]))]
        case "ecr", _:
            return [Permission(f"ecr:{operation}", arn("ecr", f"repository/{body['repositoryName']}"))]
        case "lambda", "GetFunctionConcurrency" | "GetFunctionUrlConfig":
            name = unquote(request["line"].split(" ")[1].split("/")[3])
            return [Permission(f"lambda:{operation}", arn("lambda", f"function:{name}"))]
        case "monitoring", "GetMetricStatistics":
            return [Permission("cloudwatch:GetMetricStatistics", "*")]
        case "quotas", _:
            return [Permission(f"servicequotas:{operation}", "*")]
        case "cloudformation", _:
            return [Permission(f"cloudformation:{operation}", "*")]
        case "logs", "DescribeLogGroups":
            return [Permission("logs:DescribeLogGroups", "*")]
        case "lambda", "GetEventSourceMapping":
            mapping = unquote(request["line"].split(" ")[1].split("/")[3])
            return [Permission("lambda:GetEventSourceMapping", arn("lambda", f"event-source-mapping:{mapping}"))]
        case "lambda", "GetAccountSettings":
            return [Permission("lambda:GetAccountSettings", "*")]
        case "sts", "AssumeRole":
            wanted = re.search(r"RoleArn=([^&]+)", request["body"])
            return [Permission("sts:AssumeRole", unquote(wanted[1]))]
    raise AssertionError(f"nobody said which permission {service} {operation} needs")


def region_of(request):
    """Of the signature: what the request was made for."""
    headers = dict(request["headers"])
    return re.search(r"Credential=[^/]+/\d+/([^/]+)/", headers["authorization"])[1]


def parameter(name, arn):
    return name if name.startswith("arn:") else arn("ssm", f"parameter{name if name.startswith('/') else '/' + name}")


def cluster(body, arn):
    name = body.get("cluster") or "default"
    return name if name.startswith("arn:") else arn("ecs", f"cluster/{name}")


def task_arn(task, body, arn):
    return task if task.startswith("arn:") else arn("ecs", f"task/{cluster(body, arn).split('/')[-1]}/{task}")


def passed(body):
    context = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    roles = [body.get(key) for key in ("taskRoleArn", "executionRoleArn")]
    return [Permission("iam:PassRole", role_arn(role), context) for role in roles if role]


def role_arn(role):
    return role if role.startswith("arn:") else f"arn:aws:iam::{ACCOUNT}:role/{role}"


def tagged(body, resource, operation):
    return [Permission("ecs:TagResource", resource, {"ecs:CreateAction": operation})] if body.get("tags") else []


def run_task(body, definitions, arn):
    """Roles are passed by whoever runs the task: those of the overrides, else those of its definition."""
    named = body["taskDefinition"]
    definition = next((one for one in definitions if is_called(one, named)), {})
    overrides = body.get("overrides", {})
    roles = {key: overrides.get(key) or definition.get(key) for key in ("taskRoleArn", "executionRoleArn")}
    wanted = definition.get("taskDefinitionArn") or (named if named.startswith("arn:") else arn("ecs", f"task-definition/{named}"))
    in_cluster = cluster(body, arn)
    task = arn("ecs", f"task/{in_cluster.split('/')[-1]}/*")
    return [Permission("ecs:RunTask", wanted, {"ecs:cluster": in_cluster}), *passed(roles), *tagged(body, task, "RunTask")]


def is_called(definition, name):
    arn = definition.get("taskDefinitionArn", "")
    revision = arn.split("/")[-1]
    return name in (arn, revision, revision.split(":")[0])

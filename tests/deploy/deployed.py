"""A stack as CloudFormation leaves it behind: physical ids, ARNs, parameters and outputs, for the local world to have it
(`POST /_world/cloudformation/deploy`), and for the stories' own (tests/it/command/check/stack.json)."""

import re

import expansion
from samcli.yamlhelper import yaml_parse

ACCOUNT = expansion.PSEUDO["AWS::AccountId"]
NAME = expansion.PSEUDO["AWS::StackName"]
# What somebody asks the local world about; the rest is listed by type and id alone.
KNOWN = {
    "AWS::Events::Rule": ["State", "EventPattern", "Targets"],
    "AWS::IAM::Role": ["AssumeRolePolicyDocument", "Policies"],
    "AWS::Lambda::EventSourceMapping": [],
    "AWS::SQS::Queue": [],
    "AWS::Scheduler::Schedule": ["GroupName", "ScheduleExpression", "State", "Target"],
}  # fmt: skip
# Properties in which a template names what it makes.
NAMES = ["FunctionName", "LogGroupName", "Name", "QueueName"]
MAPPING = "1f2e3d4c-0000-4000-8000-123456789abc"


class Deployed:
    """References to resources, resolved."""

    def __init__(self, evaluated, region="eu-west-1"):
        self.resources, self.region = evaluated["Resources"], region

    def name(self, logical):
        properties = self.resources[logical].get("Properties", {})
        return next((properties[key] for key in NAMES if isinstance(properties.get(key), str)), f"{NAME}-{logical}-1")

    def physical(self, logical):
        """What `Ref` gives, and DescribeStackResources tells."""
        match self.resources[logical]["Type"]:
            case "AWS::SQS::Queue":
                return f"https://sqs.{self.region}.amazonaws.com/{ACCOUNT}/{self.name(logical)}"
            case "AWS::Lambda::EventSourceMapping":
                return MAPPING
        return self.name(logical)

    def attribute(self, logical, attribute):
        name, arn = self.name(logical), lambda service, rest: f"arn:aws:{service}:{self.region}:{ACCOUNT}:{rest}"
        if attribute != "Arn":
            return name if attribute == "QueueName" else f"{name}.{attribute}"
        match self.resources[logical]["Type"]:
            case "AWS::Lambda::Function":
                return arn("lambda", f"function:{name}")
            case "AWS::Logs::LogGroup":
                return arn("logs", f"log-group:{name}:*")
            case "AWS::SQS::Queue":
                return arn("sqs", name)
            case "AWS::IAM::Role":
                return f"arn:aws:iam::{ACCOUNT}:role/{name}"
            case "AWS::Events::Rule":
                return arn("events", f"rule/{name}")
        return arn("unknown", name)

    def resolved(self, node):
        if isinstance(node, list):
            return [self.resolved(item) for item in node]
        if isinstance(node, str):
            return re.sub(r"\$\{(\w+)(?:\.(\w+))?\}", self.substituted, node)
        if not isinstance(node, dict):
            return node
        match list(node.items()):
            case [("GetAtt", [logical, attribute])]:
                return self.attribute(logical, attribute)
            case [("Ref", logical)] if logical in self.resources:
                return self.physical(logical)
        return {key: self.resolved(value) for key, value in node.items()}

    def substituted(self, match):
        logical, attribute = match.groups()
        if logical not in self.resources:
            return match[0]
        return self.attribute(logical, attribute) if attribute else self.physical(logical)

    def resource(self, logical):
        kind, properties = self.resources[logical]["Type"], self.resources[logical].get("Properties", {})
        kept = {key: self.resolved(properties[key]) for key in KNOWN.get(kind, []) if key in properties}
        return {"type": kind, "id": self.physical(logical), **({"properties": kept} if kept else {})}


def deployed(template, parameters, region="eu-west-1"):
    """A deployment of a template with these parameters, beside its defaults."""
    evaluated = expansion.evaluate(expansion.expanded_source(template), parameters, region=region)
    of = Deployed(evaluated, region)
    declared = yaml_parse(template.read_text())["Parameters"]
    return {
        "name": NAME,
        "parameters": {name: str(parameters.get(name, one.get("Default", ""))) for name, one in declared.items()},
        "outputs": {name: str(of.resolved(output["Value"])) for name, output in evaluated["Outputs"].items()},
        "resources": {logical: of.resource(logical) for logical in of.resources},
    }

"""What CloudFormation makes of a template: SAM's own transform, offline, then its functions and conditions evaluated."""

import copy
import functools
import re
from pathlib import Path

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).resolve().parents[2]
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/psa/0123",
    "AWS::StackName": "psa",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()  # AWS::NoValue


class NoManagedPolicies:
    """The transform wants a table of managed policies; the template names none."""

    def load(self):
        return {}


@functools.cache
def expanded_source(path=ROOT / "template.yaml"):
    """A SAM template after SAM's transform, functions of CloudFormation still in it."""
    template = yaml_parse(path.read_text())
    # What `sam build` and `aws cloudformation package` put in the place of what lies in a folder.
    uploaded = {"Bucket": "artifacts", "Key": "lambda.zip"}
    template["Globals"]["Function"]["CodeUri"] = uploaded
    for resource in template["Resources"].values():
        if "CodeUri" in resource.get("Properties", {}):
            resource["Properties"]["CodeUri"] = uploaded
    return transform(template, {}, NoManagedPolicies())


def expand(partition="aws", region="eu-west-1", **parameters):
    """Resources and outputs of a deployment of template.yaml with these parameters."""
    return evaluate(expanded_source(), parameters, partition, region)


def expand_file(path, **parameters):
    """The same of another template with these functions, such as a bundle's."""
    return evaluate(expanded_source(path), parameters)


def cluster_stack(**parameters):
    """Resources and outputs of a deployment of infra/cluster.yaml with these parameters."""
    return evaluate(yaml_parse((ROOT / "infra/cluster.yaml").read_text()), parameters)


def forward_stack(**parameters):
    """Resources and outputs of a deployment of infra/forward-events.yaml, in another account unless told otherwise."""
    bus = "arn:aws:events:eu-west-1:210987654321:event-bus/default"
    template = yaml_parse((ROOT / "infra/forward-events.yaml").read_text())
    return evaluate(template, {"EventBusArn": bus, **parameters})


def launcher_stack(region="eu-west-1", **parameters):
    """The same of infra/launcher-role.yaml."""
    return evaluate(yaml_parse((ROOT / "infra/launcher-role.yaml").read_text()), parameters, region=region)


def evaluate(template, parameters, partition="aws", region="eu-west-1"):
    """Evaluates conditions and functions. References to resources stay recognisable: `{Ref}` / `{GetAtt: [name, attribute]}`."""
    declared = template["Parameters"]
    unknown = set(parameters) - set(declared)
    assert not unknown, f"the template has no parameters {unknown}"
    values = {**PSEUDO, "AWS::Partition": partition, "AWS::Region": region}
    for name, declaration in declared.items():
        value = str(parameters[name] if name in parameters else declaration["Default"])
        pattern = declaration.get("AllowedPattern")
        assert not pattern or re.search(pattern, value), f"{name} refuses {value!r}"
        assert len(value) <= declaration.get("MaxLength", len(value)), f"{name} is too long"
        is_list = declaration["Type"] == "CommaDelimitedList"
        values[name] = value.split(",") if is_list else value
    evaluator = Evaluator(values, template.get("Conditions", {}))
    resources = {
        name: evaluator.value(resource)
        for name, resource in copy.deepcopy(template["Resources"]).items()
        if "Condition" not in resource or evaluator.condition(resource["Condition"])
    }
    outputs = {
        name: evaluator.value(output)
        for name, output in copy.deepcopy(template["Outputs"]).items()
        if "Condition" not in output or evaluator.condition(output["Condition"])
    }
    return {"Resources": resources, "Outputs": outputs}


class Evaluator:
    """The functions that the project's templates use, and no others."""

    def __init__(self, values, conditions):
        self.values = values
        self.conditions = conditions

    def condition(self, name):
        return self.value(self.conditions[name])

    def holds(self, node):
        return self.condition(node["Condition"]) if "Condition" in node else self.value(node)

    def value(self, node):
        if isinstance(node, list):
            return [item for item in map(self.value, node) if item is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, argument), = node.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self.call(function, argument)
        pairs = ((key, self.value(item)) for key, item in node.items())
        return {key: item for key, item in pairs if item is not NOTHING}

    def call(self, function, argument):
        match function:
            case "Ref" if argument == "AWS::NoValue":
                return NOTHING
            case "Ref":
                return self.values.get(argument, {"Ref": argument})
            case "Fn::GetAtt":
                name, attribute = argument.split(".") if isinstance(argument, str) else argument
                return {"GetAtt": [name, attribute]}
            case "Fn::Sub":
                # What it says of resources stays recognisable: `${Name}`.
                return re.sub(r"\$\{([^}]+)\}", lambda match: str(self.values.get(match[1], match[0])), argument)
            case "Fn::If":
                condition, yes, no = argument
                return self.value(yes if self.condition(condition) else no)
            case "Fn::Join":
                separator, items = argument
                return separator.join(self.value(items))
            case "Fn::Equals":
                left, right = self.value(argument)
                return left == right
            case "Fn::And":
                return all(self.holds(one) for one in argument)
            case "Fn::Or":
                return any(self.holds(one) for one in argument)
            case "Fn::Not":
                return not self.value(argument[0])
        raise AssertionError(f"the templates use {function}, which these tests do not evaluate")

use super::*;
use serde_json::json;

const ROLE: &str = "arn:aws:iam::123456789012:role/stack/task";
const CLUSTER: &str = "arn:aws:ecs:us-east-1:123456789012:cluster/prefect";

/// Its name, statements, action, resource, a context key with its values, and what becomes of it.
type Case = (&'static str, Value, &'static str, &'static str, Option<Key>, Decision);
type Key = (&'static str, &'static [&'static str]);

/// Each decided by hand, by the documentation of IAM.
#[test]
fn statements_decide_as_iam_documents_it() {
    use Decision::{Allowed, ExplicitDeny, ImplicitDeny};
    let run =
        |condition: Value| json!({"Effect": "Allow", "Action": "ecs:RunTask", "Resource": "*", "Condition": condition});
    let pass = |resource: &str| json!({"Effect": "Allow", "Action": "iam:PassRole", "Resource": resource});
    let table: Vec<Case> = vec![
        ("nothing is said", json!([]), "ecs:RunTask", "*", None, ImplicitDeny),
        ("one statement that is no list", pass("*"), "iam:PassRole", ROLE, None, Allowed),
        ("another action", json!([pass("*")]), "iam:GetRole", ROLE, None, ImplicitDeny),
        ("actions know no case", json!([pass("*")]), "IAM:passrole", ROLE, None, Allowed),
        (
            "a wildcard in a resource",
            json!([pass("arn:aws:iam::123456789012:role/stack/*")]),
            "iam:PassRole",
            ROLE,
            None,
            Allowed,
        ),
        (
            "resources know case",
            json!([pass("arn:aws:iam::123456789012:role/STACK/*")]),
            "iam:PassRole",
            ROLE,
            None,
            ImplicitDeny,
        ),
        (
            "a path is part of the name",
            json!([pass("arn:aws:iam::123456789012:role/task")]),
            "iam:PassRole",
            ROLE,
            None,
            ImplicitDeny,
        ),
        ("one letter", json!([pass("arn:aws:iam::123456789012:role/stack/tas?")]), "iam:PassRole", ROLE, None, Allowed),
        (
            "not even one letter",
            json!([pass("arn:aws:iam::123456789012:role/stack/task?")]),
            "iam:PassRole",
            ROLE,
            None,
            ImplicitDeny,
        ),
        (
            "a deny beats an allow",
            json!([pass("*"), {"Effect": "Deny", "Action": "iam:*", "Resource": "*"}]),
            "iam:PassRole",
            ROLE,
            None,
            ExplicitDeny,
        ),
        (
            "a deny of another resource",
            json!([pass("*"), {"Effect": "Deny", "Action": "iam:*", "Resource": "arn:aws:iam::*:role/other"}]),
            "iam:PassRole",
            ROLE,
            None,
            Allowed,
        ),
        (
            "all but some actions",
            json!([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]),
            "iam:PassRole",
            ROLE,
            None,
            ImplicitDeny,
        ),
        (
            "all but other actions",
            json!([{"Effect": "Allow", "NotAction": ["ecs:*"], "Resource": "*"}]),
            "iam:PassRole",
            ROLE,
            None,
            Allowed,
        ),
        (
            "all but some resources",
            json!([{"Effect": "Allow", "Action": "*", "NotResource": ROLE}]),
            "iam:PassRole",
            ROLE,
            None,
            ImplicitDeny,
        ),
        (
            "the cluster is the one",
            json!([run(json!({"ArnLike": {"ecs:cluster": CLUSTER}}))]),
            "ecs:RunTask",
            "*",
            Some(("ecs:cluster", &[CLUSTER])),
            Allowed,
        ),
        (
            "the cluster is like it",
            json!([run(json!({"ArnLike": {"ecs:cluster": "arn:aws:ecs:*:123456789012:cluster/*"}}))]),
            "ecs:RunTask",
            "*",
            Some(("ecs:cluster", &[CLUSTER])),
            Allowed,
        ),
        (
            "a star stays in its part",
            json!([run(json!({"ArnLike": {"ecs:cluster": "arn:aws:ecs:*:cluster/prefect"}}))]),
            "ecs:RunTask",
            "*",
            Some(("ecs:cluster", &[CLUSTER])),
            ImplicitDeny,
        ),
        (
            "another cluster",
            json!([run(json!({"ArnLike": {"ecs:cluster": [CLUSTER.replace("prefect", "other")]}}))]),
            "ecs:RunTask",
            "*",
            Some(("ecs:cluster", &[CLUSTER])),
            ImplicitDeny,
        ),
        (
            "nobody says which cluster",
            json!([run(json!({"ArnLike": {"ecs:cluster": "*"}}))]),
            "ecs:RunTask",
            "*",
            None,
            ImplicitDeny,
        ),
        (
            "if it is said at all",
            json!([run(json!({"ArnLikeIfExists": {"ecs:cluster": CLUSTER}}))]),
            "ecs:RunTask",
            "*",
            None,
            Allowed,
        ),
        (
            "one of several values",
            json!([run(json!({"StringEquals": {"ecs:CreateAction": ["RegisterTaskDefinition", "RunTask"]}}))]),
            "ecs:RunTask",
            "*",
            Some(("ecs:createaction", &["RunTask"])),
            Allowed,
        ),
        (
            "keys know no case",
            json!([run(json!({"StringEquals": {"ECS:CREATEACTION": "RunTask"}}))]),
            "ecs:RunTask",
            "*",
            Some(("ecs:createaction", &["RunTask"])),
            Allowed,
        ),
        (
            "equal is not like",
            json!([run(json!({"StringEquals": {"k": "Run*"}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["RunTask"])),
            ImplicitDeny,
        ),
        (
            "like",
            json!([run(json!({"StringLike": {"k": "Run*"}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["RunTask"])),
            Allowed,
        ),
        (
            "not equal",
            json!([run(json!({"StringNotEquals": {"k": "a"}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["a"])),
            ImplicitDeny,
        ),
        (
            "what is not there is not equal",
            json!([run(json!({"StringNotEquals": {"k": "a"}}))]),
            "ecs:RunTask",
            "*",
            None,
            Allowed,
        ),
        (
            "both conditions",
            json!([run(json!({"StringEquals": {"k": "a"}, "StringLike": {"l": "*"}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["a"])),
            ImplicitDeny,
        ),
        (
            "all values",
            json!([run(json!({"ForAllValues:StringEquals": {"k": ["a", "b"]}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["a", "c"])),
            ImplicitDeny,
        ),
        (
            "all of no values",
            json!([run(json!({"ForAllValues:StringEquals": {"k": "a"}}))]),
            "ecs:RunTask",
            "*",
            None,
            Allowed,
        ),
        (
            "any value",
            json!([run(json!({"ForAnyValue:StringEquals": {"k": "c"}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["a", "c"])),
            Allowed,
        ),
        (
            "there must be none",
            json!([run(json!({"Null": {"k": "true"}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["a"])),
            ImplicitDeny,
        ),
        (
            "an operator that nobody knows",
            json!([run(json!({"IpAddress": {"k": "a"}}))]),
            "ecs:RunTask",
            "*",
            Some(("k", &["a"])),
            ImplicitDeny,
        ),
        (
            "a deny whose condition does not hold",
            json!([pass("*"), {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"k": "a"}}}]),
            "iam:PassRole",
            ROLE,
            None,
            Allowed,
        ),
    ];
    for (name, statements, action, resource, context, expected) in table {
        let policies = [json!({"Version": "2012-10-17", "Statement": statements})];
        let context = context
            .into_iter()
            .map(|(key, values)| (key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()));
        let request = Request { action, resource, context: &context.collect() };
        assert_eq!(evaluate(&policies, &request), expected, "{name}");
    }
}

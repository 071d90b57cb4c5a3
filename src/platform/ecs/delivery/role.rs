//! Whose an execution role is, by its IAM path. `infra/cluster.yaml` creates roles that may read an agent's secrets in
//! paths of their own; what a role anywhere else may read, nobody here knows.

use serde_json::json;

/// Path of the roles that `infra/cluster.yaml` creates, of all deployments.
const SHARED: &str = "/prefect-serverless-agent/";

/// Whose an execution role is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoleOwner {
    /// This deployment's, or this agent's: it may read the agent's secrets.
    Own,
    /// Of a time when all deployments' roles had one path.
    Shared,
    /// Anybody's.
    Others,
}

/// `root`: of the deployment's parameters. Only exact paths count: `/a` and `/a/b` are two deployments.
pub(super) fn whose(role: &str, root: &str, agent: &str) -> RoleOwner {
    match path(role) {
        Some(SHARED) => RoleOwner::Shared,
        Some(path) if path == own_path(root) || path == format!("{}agent/{agent}/", own_path(root)) => RoleOwner::Own,
        _ => RoleOwner::Others,
    }
}

/// The path of the deployment's own roles.
pub(super) fn own_path(root: &str) -> String {
    format!("/prefect-serverless-agent{root}/")
}

/// The path that a role's ARN names: `/` or `/…/`. `None` = this is no ARN of a role.
fn path(role: &str) -> Option<&str> {
    let mut parts = role.splitn(6, ':');
    if parts.next() != Some("arn") || parts.nth(1) != Some("iam") {
        return None;
    }
    let resource = parts.nth(2)?.strip_prefix("role")?;
    resource.get(..=resource.rfind('/')?)
}

/// The IAM statement with which a role may read these parameters.
pub(super) fn statement(arns: &[String]) -> String {
    json!({"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": arns}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(path: &str) -> RoleOwner {
        whose(&format!("arn:aws:iam::111111111111:role{path}exec"), "/a/prod", "etl")
    }

    #[test]
    fn only_exact_paths_are_our_own() {
        for (path, expected) in [
            ("/prefect-serverless-agent/a/prod/", RoleOwner::Own),
            ("/prefect-serverless-agent/a/prod/agent/etl/", RoleOwner::Own),
            ("/prefect-serverless-agent/", RoleOwner::Shared),
            ("/prefect-serverless-agent/a/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/b/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod2/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/agent/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/agent/etl2/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/agent/other/", RoleOwner::Others),
            ("/prefect-serverless-agent/A/prod/", RoleOwner::Others),
            ("/x/prefect-serverless-agent/a/prod/", RoleOwner::Others),
            ("/a/prod/", RoleOwner::Others),
            ("/", RoleOwner::Others),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }

    #[test]
    fn whatever_is_no_arn_of_a_role_is_nobodys() {
        let path = "/prefect-serverless-agent/a/prod/";
        for role in [
            "ecsTaskExecutionRole".to_owned(),
            String::new(),
            format!("{path}exec"),
            format!("arn:aws:sts::111111111111:role{path}exec"),
            format!("arn:aws:iam::111111111111:user{path}exec"),
            "arn:aws:iam::111111111111:role".to_owned(),
            "arn:aws:iam".to_owned(),
        ] {
            assert_eq!(whose(&role, "/a/prod", "etl"), RoleOwner::Others, "{role}");
        }
        assert_eq!(whose(&format!("arn:aws-cn:iam::1:role{path}exec"), "/a/prod", "etl"), RoleOwner::Own);
    }

    proptest! {
        #[test]
        fn the_role_of_one_deployment_is_not_anothers(
            one in "(/[a-z]{1,2}){1,3}", other in "(/[a-z]{1,2}){1,3}", agent in "[a-z]{1,2}",
        ) {
            prop_assume!(one != other && one != format!("{other}/agent/{agent}"));
            let role = format!("arn:aws:iam::111111111111:role{}exec", own_path(&one));
            prop_assert_eq!(whose(&role, &one, &agent), RoleOwner::Own);
            prop_assert_eq!(whose(&role, &other, &agent), RoleOwner::Others);
        }

        #[test]
        fn no_text_makes_it_panic(role in any::<String>(), root in any::<String>()) {
            whose(&role, &root, "etl");
            whose(&format!("arn:aws:iam:::role{role}"), &root, "etl");
        }
    }
}

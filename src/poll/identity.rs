//! What names an agent among all agents of all deployments.

use crate::config::Root;

/// An agent's place in its deployment, and the deployment's place in the world.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// ARN of the agent's parameter; `None` = configured by a file.
    pub(super) parameter_arn: Option<String>,
    /// `<root>/<agent>`, or what a platform says instead.
    pub(super) marked_as: String,
    /// The root of its parameters, if it has one.
    pub(super) root: Option<Root>,
}

impl Identity {
    /// `<account>/<region>/<root>/<agent>`: the same whenever and wherever this agent polls, and no other agent's. Where no
    /// parameter's ARN tells account and region, `scope` stands for them.
    pub(super) async fn text<E>(&self, scope: impl Future<Output = Result<String, E>>) -> Result<String, E> {
        let scope = match self.parameter_arn.as_deref().and_then(account_and_region) {
            Some((account, region)) => format!("{account}/{region}"),
            None => scope.await?,
        };
        Ok(format!("{scope}/{}", self.marked_as.trim_start_matches('/')))
    }
}

fn account_and_region(arn: &str) -> Option<(String, String)> {
    match arn.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "ssm", region, account, _] if !region.is_empty() && !account.is_empty() => {
            Some(((*account).to_owned(), (*region).to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn identity(arn: Option<&str>, marked_as: &str) -> Identity {
        Identity { parameter_arn: arn.map(str::to_owned), marked_as: marked_as.to_owned(), root: None }
    }

    #[tokio::test]
    async fn a_parameters_arn_tells_account_and_region_and_nobody_is_asked() {
        for (arn, expected) in [
            ("arn:aws:ssm:us-east-2:123456789012:parameter/root/config/etl", "123456789012/us-east-2/root/etl"),
            ("arn:aws-cn:ssm:cn-north-1:210987654321:parameter/root/config/etl", "210987654321/cn-north-1/root/etl"),
        ] {
            let text = identity(Some(arn), "/root/etl").text(std::future::pending::<Result<_, ()>>()).await;
            assert_eq!(text.as_deref(), Ok(expected));
        }
    }

    #[tokio::test]
    async fn elsewhere_the_scope_tells() {
        for (arn, file) in [(None, "etl.yaml"), (Some("arn:aws:iam::1:x"), "other.yaml")] {
            let scope = async { Ok::<_, ()>("123456789012/eu-west-1".to_owned()) };
            let text = identity(arn, &format!("{file}/agent")).text(scope).await;
            assert_eq!(text.unwrap(), format!("123456789012/eu-west-1/{file}/agent"));
        }
    }
}

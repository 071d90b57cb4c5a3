//! What names an agent among all agents of all deployments.

use crate::aws::{AwsClients, AwsError};

/// An agent's place in its deployment, and the deployment's place in the world.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// ARN of the agent's parameter; `None` = configured by a file.
    pub(super) parameter_arn: Option<String>,
    /// `<root>/<agent>`.
    pub(super) marked_as: String,
}

impl Identity {
    /// `<account>/<region>/<root>/<agent>`: the same whenever and wherever this agent polls, and no other agent's. What
    /// account it is STS is asked, once per process, where no parameter's ARN tells it.
    pub(super) async fn text(&self, aws: &AwsClients) -> Result<String, AwsError> {
        let (account, region) = match self.parameter_arn.as_deref().and_then(account_and_region) {
            Some(known) => known,
            None => (aws.account().await?, aws.region.clone()),
        };
        Ok(format!("{account}/{region}/{}", self.marked_as.trim_start_matches('/')))
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
    use crate::aws::test_server::{Request, Server, clients, closed_port, text};

    fn identity(arn: Option<&str>, marked_as: &str) -> Identity {
        Identity { parameter_arn: arn.map(str::to_owned), marked_as: marked_as.to_owned() }
    }

    #[tokio::test]
    async fn a_parameters_arn_tells_account_and_region_and_nobody_is_asked() {
        let aws = clients(&closed_port(), &[]).await;
        for (arn, expected) in [
            ("arn:aws:ssm:us-east-2:123456789012:parameter/root/config/etl", "123456789012/us-east-2/root/etl"),
            ("arn:aws-cn:ssm:cn-north-1:210987654321:parameter/root/config/etl", "210987654321/cn-north-1/root/etl"),
        ] {
            assert_eq!(identity(Some(arn), "/root/etl").text(&aws).await.as_deref(), Ok(expected));
        }
    }

    #[tokio::test]
    async fn for_a_file_sts_is_asked_once_per_process() {
        let server = Server::start(|_: &Request| {
            text(200, "<R><GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult></R>")
        })
        .await;
        let aws = server.clients().await;
        for (arn, file) in [(None, "etl.yaml"), (Some("arn:aws:iam::1:x"), "other.yaml")] {
            let text = identity(arn, &format!("{file}/agent")).text(&aws).await;
            assert_eq!(text.unwrap(), format!("123456789012/eu-west-1/{file}/agent"));
        }
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn an_account_that_cannot_be_told_is_trouble_with_aws() {
        let aws = clients(&closed_port(), &[]).await;
        let trouble = identity(None, "etl.yaml/agent").text(&aws).await.unwrap_err();
        assert!(trouble.to_string().contains("cannot connect to AWS"), "{trouble}");
    }
}

//! Clients for an account that a run's own credentials lead to.

use super::AwsError;
use super::clients::{AgentAws, AwsClients};
use super::credentials::Cached;
use super::endpoints::{Endpoints, Service};
use super::sts::{AssumedRole, Sts};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// Where to, and with whose credentials, where that is not the agent's own. Its debug text tells no secret.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Region of the calls, that to STS too; `None` = the agent's.
    pub region: Option<String>,
    /// Access keys; `None` = the agent's own credentials.
    pub keys: Option<Credentials>,
    /// Parameters of `AssumeRole` in the API's own spelling; `None` = the credentials are used as they are.
    pub role: Option<Map<String, Value>>,
    /// Address of ECS and EC2, instead of those that the environment or the region names.
    pub endpoint_url: Option<String>,
}

impl AwsClients {
    /// The clients of an agent whose clients are `own`, for another account. Sends nothing: a role is assumed by
    /// [`AgentAws::renew`], or at the first call, and again shortly before its credentials end.
    pub fn for_account(&self, own: &AgentAws, account: &Account) -> AgentAws {
        let region = account.region.as_deref().unwrap_or(&own.region);
        let mut signed = own.signed.in_region(region);
        if let Some(keys) = &account.keys {
            signed = signed.with(Cached::new(SharedCredentialsProvider::new(keys.clone())));
        }
        if let Some(role) = &account.role {
            let assumed = AssumedRole::new(Sts::new(signed.clone()), role.clone());
            signed = signed.with(Cached::new(SharedCredentialsProvider::new(assumed)));
        }
        if let Some(url) = &account.endpoint_url {
            signed.endpoints = Endpoints::everywhere(url);
        }
        self.agent_aws(signed)
    }

    /// Number of the account whose credentials the process has. Asked for once.
    pub async fn account(&self) -> Result<String, AwsError> {
        let known = self.account.get_or_try_init(|| async { Sts::new(self.own.clone()).account().await }).await;
        known.cloned()
    }
}

impl AgentAws {
    /// Makes sure that there are credentials that last a while: assumes the role where there is one and it is time.
    pub async fn renew(&self) -> Result<(), AwsError> {
        self.signed.credentials().renew().await
    }

    /// Opens a connection to ECS, where a launch goes first. Best effort; nothing is signed.
    pub async fn warm_up(&self) {
        self.signed.warm_up(Service::Ecs).await;
    }
}

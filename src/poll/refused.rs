//! Pure: what to do about a refused credential, in the words of the agent's own Prefect and place.

use crate::config::{AgentSecrets, GenerationConfig, Root, Rules, StoredSecret};

/// Where an agent's credentials come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum ConfiguredIn<'a> {
    /// Parameters, and the environment where there are none.
    Parameters(&'a Root, &'a str),
    /// The environment alone.
    Environment,
}

/// A kind of credential.
#[derive(Debug, Clone, Copy)]
struct RefusedCredential {
    /// For people.
    name: &'static str,
    /// Last part of its parameter's name.
    parameter: &'static str,
    variable: &'static str,
    /// What belongs there.
    wanted: &'static str,
}

const KEY_1: RefusedCredential = RefusedCredential {
    name: "the API key",
    parameter: "api-key",
    variable: "PREFECT__CLOUD__API_KEY",
    wanted: "an API key that Prefect knows",
};
const TOKEN: RefusedCredential = RefusedCredential {
    name: "the token",
    parameter: "auth-token",
    variable: "PREFECT__CLOUD__AGENT__AUTH_TOKEN",
    wanted: "a RUNNER token that Prefect knows",
};
const KEY_3: RefusedCredential = RefusedCredential {
    name: "the API key",
    parameter: "api-key",
    variable: "PREFECT_API_KEY",
    wanted: "an API key that may enter this workspace",
};
const AUTH_STRING: RefusedCredential = RefusedCredential {
    name: "the auth string",
    parameter: "auth-string",
    variable: "PREFECT_API_AUTH_STRING",
    wanted: "the `user:password` that the server was started with",
};

/// Which credential was shown, and what is to be written where.
pub(super) fn remedy(generation: &GenerationConfig, secrets: &AgentSecrets, target: ConfiguredIn<'_>) -> String {
    let (shown, wanted): (Option<(RefusedCredential, &StoredSecret)>, Vec<RefusedCredential>) = match generation {
        GenerationConfig::One(one) => {
            let token = secrets.auth_token.as_ref().filter(|_| one.rules == Rules::V0_15);
            let shown = secrets.api_key.as_ref().map(|key| (KEY_1, key)).or(token.map(|token| (TOKEN, token)));
            (shown, vec![KEY_1])
        }
        GenerationConfig::Three(_) => {
            let auth_string = secrets.auth_string.as_ref().map(|auth_string| (AUTH_STRING, auth_string));
            (auth_string.or(secrets.api_key.as_ref().map(|key| (KEY_3, key))), vec![KEY_3, AUTH_STRING])
        }
    };
    let Some((kind, secret)) = shown else {
        let places = wanted.iter().map(|kind| match target {
            ConfiguredIn::Parameters(root, agent) => {
                format!("{} to the parameter {}", kind.wanted, kind.of(root, agent))
            }
            ConfiguredIn::Environment => format!("{} to the environment variable {}", kind.wanted, kind.variable),
        });
        return format!("The agent has no credential: write {}", places.collect::<Vec<_>>().join(", or "));
    };
    let RefusedCredential { name, variable, wanted, .. } = kind;
    match target {
        ConfiguredIn::Parameters(root, agent) if secret.arn.is_some() => {
            format!("It was shown {name} of the parameter {}: write {wanted} there", kind.of(root, agent))
        }
        _ => format!("It was shown {name} of the environment variable {variable}: set {wanted}"),
    }
}

impl RefusedCredential {
    fn of(self, root: &Root, agent: &str) -> String {
        format!("{}/{agent}/{}", root.secrets(), self.parameter)
    }
}

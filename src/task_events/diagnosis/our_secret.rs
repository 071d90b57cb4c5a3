//! A task that died because its execution role may not read a secret of its agent's own.

/// What the last segments of our secrets' parameters are called.
const KINDS: [&str; 4] = ["api-key", "auth-string", "auth-token", "client-headers"];

/// What to do about it, if the text (what ECS says) names a parameter of the agent that the task was started by.
pub(super) fn remedy(said: &str, started_by: Option<&str>) -> Option<String> {
    let agent = started_by?.strip_prefix("prefect/")?.split('/').next()?;
    let arn = said.split(|c: char| c.is_whitespace() || "\"'`,;[]()".contains(c)).find_map(|word| ours(word, agent))?;
    Some(format!(
        "Allow the task's execution role ssm:GetParameters on {arn} (and kms:Decrypt on the key, if a customer key \
         encrypts it): the role that infra/cluster.yaml creates for this deployment is allowed to. Or set the agent's \
         api_key_delivery to environment."
    ))
}

/// The ARN, if it is that of a parameter `…/secrets/{agent}/{kind}`.
fn ours<'a>(word: &'a str, agent: &str) -> Option<&'a str> {
    let arn = word.get(word.find("arn:")?..)?.trim_end_matches(['.', ':']);
    let (service, name) = arn.split_once(":parameter/")?;
    let is_ours = |kind: &&str| format!("/{name}").ends_with(&format!("/secrets/{agent}/{kind}"));
    (service.split(':').nth(2) == Some("ssm") && KINDS.iter().any(is_ours)).then_some(arn)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STARTED_BY: Option<&str> = Some("prefect/flows/8449522c-244c-499e-8a08-131a70e53c42");

    fn refused(parameter: &str) -> String {
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
             unable to retrieve secrets from ssm: service call has been retried 1 time(s): AccessDeniedException: User: \
             arn:aws:sts::123456789012:assumed-role/ecsTaskExecutionRole/f83b93a4dc3442a1 is not authorized to perform: \
             ssm:GetParameters on resource: arn:aws:ssm:eu-west-1:123456789012:parameter{parameter} because no \
             identity-based policy allows the ssm:GetParameters action status code: 400, request id: 1adcb55f"
        )
    }

    #[test]
    fn the_permission_and_the_setting_are_named() {
        for kind in KINDS {
            let parameter = format!("/psa/Prod/secrets/flows/{kind}");
            let remedy = remedy(&refused(&parameter), STARTED_BY).unwrap();
            let arn = format!("ssm:GetParameters on arn:aws:ssm:eu-west-1:123456789012:parameter{parameter} ");
            for part in [arn.as_str(), "kms:Decrypt", "api_key_delivery", "infra/cluster.yaml"] {
                assert!(remedy.contains(part), "{part}: {remedy}");
            }
        }
        let list = "invalid ssm parameters: [arn:aws-cn:ssm:cn-north-1:1:parameter/r/secrets/flows/api-key].";
        assert!(
            remedy(list, STARTED_BY)
                .unwrap()
                .contains("on arn:aws-cn:ssm:cn-north-1:1:parameter/r/secrets/flows/api-key ")
        );
    }

    #[test]
    fn secrets_of_others_are_their_own_matter() {
        for parameter in [
            "/psa/prod/secrets/other/api-key",
            "/psa/prod/secrets/flows/db-password",
            "/psa/prod/secrets/flows/api-key/more",
            "/psa/prod/mysecrets/flows2/api-key",
            "/flows/api-key",
        ] {
            assert_eq!(remedy(&refused(parameter), STARTED_BY), None, "{parameter}");
        }
        let ours = refused("/psa/prod/secrets/flows/api-key");
        for started_by in [None, Some("ecs-svc/1"), Some("prefect/other/run")] {
            assert_eq!(remedy(&ours, started_by), None, "{started_by:?}");
        }
        assert_eq!(remedy("arn:aws:secretsmanager:eu-west-1:1:secret:x arn: :parameter/", STARTED_BY), None);
    }
}

//! STS: identities. The access key of a request says whose account it speaks for.

use crate::{
    World,
    answer::{ServiceError, escape, service_error, xml},
    route::{Form, Scope, signer},
    world::State,
};
use axum::{body::Bytes, http::HeaderMap, response::Response};
use serde::Serialize;
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Who assumed which role.
#[derive(Default)]
pub struct Sts {
    /// The sessions given out, oldest first.
    pub sessions: Vec<Session>,
}

/// One assumed role.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// The access key that was given out.
    pub access_key_id: String,
    /// The role.
    pub role_arn: String,
    /// The session's name.
    pub session_name: String,
    /// The role's account.
    pub account: String,
}

impl Sts {
    /// Account and region of a request; unknown and missing access keys are the world's own account's.
    pub fn scope(&self, headers: &HeaderMap) -> Scope {
        let Some((key, region)) = signer(headers) else { return Scope::default() };
        let account = self.session(&key).map_or_else(|| Scope::default().account, |session| session.account.clone());
        Scope { account, region }
    }

    fn session(&self, access_key_id: &str) -> Option<&Session> {
        self.sessions.iter().find(|session| session.access_key_id == access_key_id)
    }
}

/// Answers one request of the query protocol.
pub fn handle(world: &World, headers: &HeaderMap, operation: &str, body: &Bytes) -> Response {
    let mut state = world.lock();
    let result = match operation {
        "AssumeRole" => assume_role(&mut state, &Form::parse(body)),
        "GetCallerIdentity" => Ok(caller_identity(&state.sts, headers)),
        _ => Err(ServiceError::new(
            "InvalidAction",
            format!("Could not find operation {operation} for version 2011-06-15"),
        )),
    };
    match result {
        Ok(fields) => xml(format!(
            "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result>{fields}</{operation}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{operation}Response>",
            crate::ids::uuid()
        )),
        Err(error) => service_error("sts", error),
    }
}

fn assume_role(state: &mut State, form: &Form) -> Result<String, ServiceError> {
    let role_arn = form.get("RoleArn").unwrap_or_default().to_owned();
    let session_name = form.get("RoleSessionName").unwrap_or_default().to_owned();
    let account = role_arn.split(':').nth(4).filter(|account| account.len() == 12);
    let Some(account) = account.map(str::to_owned) else {
        return Err(ServiceError::new("ValidationError", format!("{role_arn} is invalid")));
    };
    let seconds = form.get("DurationSeconds").and_then(|text| text.parse().ok()).unwrap_or(3600);
    let expiration = rfc3339(state.now() + Duration::from_secs(seconds));
    let access_key_id = format!("ASIAWORLD{:011}", state.sts.sessions.len() + 1);
    let role_name = role_arn.rsplit('/').next().unwrap_or_default();
    let fields = format!(
        "<AssumedRoleUser><AssumedRoleId>AROAWORLD:{session}</AssumedRoleId><Arn>arn:aws:sts::{account}:assumed-role/{role}/{session}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{access_key_id}</AccessKeyId><SecretAccessKey>secret-of-{access_key_id}</SecretAccessKey>\
         <SessionToken>token-of-{access_key_id}</SessionToken><Expiration>{expiration}</Expiration></Credentials>",
        session = escape(&session_name),
        role = escape(role_name),
    );
    state.sts.sessions.push(Session { access_key_id, role_arn, session_name, account });
    Ok(fields)
}

fn caller_identity(sts: &Sts, headers: &HeaderMap) -> String {
    let account = sts.scope(headers).account;
    let session = signer(headers).and_then(|(key, _)| sts.session(&key).cloned());
    let arn = session.map_or_else(
        || format!("arn:aws:iam::{account}:user/world"),
        |session| {
            let role = session.role_arn.rsplit('/').next().unwrap_or_default().to_owned();
            format!("arn:aws:sts::{account}:assumed-role/{role}/{}", session.session_name)
        },
    );
    format!("<Arn>{}</Arn><UserId>AIDAWORLD</UserId><Account>{account}</Account>", escape(&arn))
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

//! IAM: roles, and what their policies allow, as its simulator evaluates them ([`policy`]).

pub mod policy;

use crate::{
    World,
    answer::{ServiceError, escape, service_error, xml},
    route::{Form, Scope},
};
use axum::{body::Bytes, response::Response};
use policy::{Decision, Request};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write};

/// The roles of the world's own account.
#[derive(Default)]
pub struct Iam {
    /// By name.
    pub roles: BTreeMap<String, Role>,
}

/// A role.
#[derive(Clone, Debug)]
pub struct Role {
    /// Who may have it.
    pub trust: Value,
    /// Its policies.
    pub policies: Vec<Value>,
}

/// Answers one request of the query protocol.
pub fn handle(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let form = Form::parse(body);
    let state = world.lock();
    let result = match operation {
        "GetRole" => state.iam.get_role(scope, &form),
        "SimulatePrincipalPolicy" => state.iam.simulate(&form),
        _ => Err(ServiceError::new("InvalidAction", format!("Could not find operation {operation}"))),
    };
    match result {
        Ok(fields) => xml(format!(
            "<{operation}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><{operation}Result>{fields}</{operation}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{operation}Response>",
            crate::ids::uuid()
        )),
        Err(error) => service_error("iam", error),
    }
}

impl Iam {
    fn named(&self, name: &str) -> Result<&Role, ServiceError> {
        let message = format!("The role with name {name} cannot be found.");
        self.roles.get(name).ok_or_else(|| ServiceError::new("NoSuchEntity", message).status(404))
    }

    fn get_role(&self, scope: &Scope, form: &Form) -> Result<String, ServiceError> {
        let name = form.get("RoleName").unwrap_or_default();
        let role = self.named(name)?;
        let trust: String = form_urlencoded::byte_serialize(role.trust.to_string().as_bytes()).collect();
        Ok(format!(
            "<Role><Path>/</Path><RoleName>{}</RoleName><Arn>arn:aws:iam::{}:role/{}</Arn><AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument></Role>",
            escape(name),
            scope.account,
            escape(name),
            trust.replace('+', "%20"),
        ))
    }

    fn simulate(&self, form: &Form) -> Result<String, ServiceError> {
        let source = form.get("PolicySourceArn").unwrap_or_default();
        let role = self.named(source.rsplit('/').next().unwrap_or_default())?;
        let mut resources = form.list("ResourceArns.member");
        if resources.is_empty() {
            resources.push("*");
        }
        let context: BTreeMap<String, Vec<String>> = (1..)
            .map_while(|number| {
                let entry = format!("ContextEntries.member.{number}");
                let values = form.list(&format!("{entry}.ContextKeyValues.member"));
                let name = form.get(&format!("{entry}.ContextKeyName"))?;
                Some((name.to_lowercase(), values.into_iter().map(str::to_owned).collect()))
            })
            .collect();
        let missing = policy::missing(&role.policies, &context);
        let mut members = String::new();
        for action in form.list("ActionNames.member") {
            for resource in &resources {
                let decision = match policy::evaluate(&role.policies, &Request { action, resource, context: &context })
                {
                    Decision::Allowed => "allowed",
                    Decision::ImplicitDeny => "implicitDeny",
                    Decision::ExplicitDeny => "explicitDeny",
                };
                let (action, resource) = (escape(action), escape(resource));
                let missing = missing.iter().map(|key| escape(key)).collect::<Vec<_>>().join("</member><member>");
                let missing = if missing.is_empty() { missing } else { format!("<member>{missing}</member>") };
                let missing = format!("<MissingContextValues>{missing}</MissingContextValues>");
                // As documented: of "*" with the result, else with each resource's own.
                let (of_all, of_one) =
                    if resource == "*" { (missing, String::new()) } else { (String::new(), missing) };
                let _ = write!(
                    members,
                    "<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}</EvalResourceName><EvalDecision>{decision}</EvalDecision><MatchedStatements/>{of_all}<ResourceSpecificResults><member><EvalResourceName>{resource}</EvalResourceName><EvalResourceDecision>{decision}</EvalResourceDecision>{of_one}</member></ResourceSpecificResults></member>",
                );
            }
        }
        Ok(format!("<IsTruncated>false</IsTruncated><EvaluationResults>{members}</EvaluationResults>"))
    }
}

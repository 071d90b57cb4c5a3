//! What ECS would be asked to change. Pure.

use super::recorder::{Write, body_of};
use crate::http::Request;
use crate::transport::shape::text_at;
use serde_json::json;

/// The header that names the operation, and what its value begins with.
const TARGET: (&str, &str) = ("x-amz-target", "AmazonEC2ContainerServiceV20141113.");

/// What a request to AWS would change; `None` = nothing.
pub(super) fn write(request: &Request) -> Option<Write> {
    let operation = request.headers.get(TARGET.0)?.to_str().ok()?.strip_prefix(TARGET.1)?;
    if operation.starts_with("Describe") || operation.starts_with("List") {
        return None;
    }
    let body = body_of(request);
    let text = |key: &str| text_at(&body, &[key]).unwrap_or_default();
    let answer = match operation {
        "RunTask" => {
            let task = json!({"taskArn": "[the task's ARN]", "lastStatus": "PROVISIONING", "desiredStatus": "RUNNING"});
            json!({"tasks": [task], "failures": []})
        }
        "RegisterTaskDefinition" => {
            let arn = format!("[the ARN of the new revision of {}]", text("family"));
            json!({"taskDefinition": {"taskDefinitionArn": arn}})
        }
        _ => json!({}),
    };
    let (operation, of) = (operation.to_owned(), vec![text("clientToken").to_owned()]);
    Some(Write { operation, body, answer, of, ..Write::default() })
}

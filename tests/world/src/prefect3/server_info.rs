//! What the server tells of itself.

use super::{
    answer::{Answer, Outcome},
    routes::Call,
};
use serde_json::json;

#[allow(clippy::unnecessary_wraps, reason = "all handlers have one signature")]
fn ok(body: serde_json::Value) -> Outcome {
    Ok(Answer::ok(body))
}

/// `GET /health`
pub(super) fn health(_: &mut Call<'_>) -> Outcome {
    ok(json!(true))
}

/// `GET /ready`
pub(super) fn ready(_: &mut Call<'_>) -> Outcome {
    ok(json!({"message": "OK"}))
}

/// `GET /hello`
pub(super) fn hello(_: &mut Call<'_>) -> Outcome {
    ok(json!("👋"))
}

/// `GET /version`: the API's.
pub(super) fn api_version(_: &mut Call<'_>) -> Outcome {
    ok(json!("0.8.4"))
}

/// `GET /admin/version`: the server's.
pub(super) fn version(call: &mut Call<'_>) -> Outcome {
    ok(json!(call.prefect3.switches.generation.version()))
}

/// `GET /admin/storage`
pub(super) fn storage(_: &mut Call<'_>) -> Outcome {
    ok(json!({"default_result_storage_block_id": null}))
}

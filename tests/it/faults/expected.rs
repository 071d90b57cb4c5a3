//! Which faults fail the poll itself, as opposed to single runs that wait for a later poll.

use super::scenes::Scene;

/// Whether a poll in which this happens fails.
pub(crate) fn fails_the_poll(scene: Scene, operation: &str, occurrence: u32, kind: &str, always: bool) -> bool {
    if kind.starts_with("slow") {
        return false;
    }
    match operation {
        // Never: what is written for people decides nothing.
        "write_run_logs" => false,
        "PutParameter" if scene != Scene::Counted => false,
        // No poll without parameters; a cold start reads them twice when the first time fails.
        "GetParametersByPath" => always,
        "GetParameter" => always || !is_repeated_by_sdk(kind),
        // The number of the poll: what was taken although the answer was lost is found in the history.
        "PutParameter" => is_for_the_agent(kind) || (always && !has_effect(kind)),
        // Reads of Prefect are repeated after trouble of the way there. Our own look at the queue is replaced by the
        // queue's, once, unless fewer requests are asked for.
        "flow_run" if occurrence == 0 => always || kind == "429",
        // A server that does not know what it was asked is a warning: launches do not depend on it.
        "standing" if is_refusal(kind) => false,
        "auth_info" | "register_agent" | "standing" | "get_runs_in_queue" | "flow_run" => {
            always || !is_repeated_by_us(kind)
        }
        // A claim whose answer is unclear is looked for and sent again.
        "set_flow_run_states" | "set_task_run_states" => matches!(kind, "401" | "429") || (always && !has_effect(kind)),
        // ECS and EC2: runs wait, unless it would hit every run until somebody does something.
        _ => is_for_the_agent(kind),
    }
}

/// Permissions and credentials of the agent itself.
fn is_for_the_agent(kind: &str) -> bool {
    matches!(kind, "denied" | "expired token")
}

/// Only the answer is lost.
fn has_effect(kind: &str) -> bool {
    matches!(
        kind,
        "closed after"
            | "502 html after"
            | "504 html after"
            | "malformed"
            | "truncated"
            | "empty body"
            | "null data after"
    )
}

/// An answer that says no, or that cannot be understood.
fn is_refusal(kind: &str) -> bool {
    const KINDS: [&str; 9] = [
        "200 html",
        "malformed",
        "empty body",
        "errors without data",
        "null data",
        "null data after",
        "null field",
        "service down",
        "API_ERROR",
    ];
    KINDS.contains(&kind)
}

fn is_repeated_by_us(kind: &str) -> bool {
    const KINDS: [&str; 8] = [
        "closed before",
        "closed after",
        "truncated",
        "502 html",
        "503 html",
        "502 html after",
        "504 html after",
        "API_ERROR",
    ];
    KINDS.contains(&kind)
}

fn is_repeated_by_sdk(kind: &str) -> bool {
    const KINDS: [&str; 10] = [
        "closed before",
        "closed after",
        "truncated",
        "500 html",
        "502 html",
        "503 html",
        "502 html after",
        "504 html after",
        "throttled",
        "server error",
    ];
    KINDS.contains(&kind)
}

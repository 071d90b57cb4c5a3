//! Which faults fail the poll itself, as opposed to single runs that wait for a later poll.

use super::kinds::Asked;
use super::scenes::Scene;

/// What else there is to a pair.
pub(crate) struct Case {
    pub(crate) scene: Scene,
    pub(crate) occurrence: u32,
    pub(crate) always: bool,
}

/// Whether a poll in which this happens fails; `None` = that depends on the order in which requests arrive.
pub(crate) fn fails_the_poll(service: &str, asked: &Asked, kind: &str, case: &Case) -> Option<bool> {
    // Maintenance is nobody's failure.
    if kind.starts_with("slow") || kind == "maintenance" {
        return Some(false);
    }
    // Cancelled runs are read before their tasks are stopped, and wait if they cannot be; they are read again before
    // they are ended, and that is trouble.
    if case.scene == Scene::Cancelling && asked.operation == "flow_run" && case.occurrence > 0 {
        return None;
    }
    Some(match service {
        "prefect1" => of_prefect1(&asked.operation, kind, case),
        "prefect3" => of_prefect3(&asked.name(), kind, case),
        "ssm" => of_parameter_store(asked, kind, case.always),
        // ECS and EC2: runs wait, unless it would hit every run until somebody does something.
        _ => is_for_the_agent(kind),
    })
}

fn of_parameter_store(asked: &Asked, kind: &str, always: bool) -> bool {
    match (asked.operation.as_str(), asked.about) {
        // No poll without parameters; a cold start reads them twice when the first time fails.
        ("GetParametersByPath", _) => always,
        ("GetParameter", _) => always || !is_repeated_by_sdk(kind),
        // The number of the poll: what was taken although the answer was lost is found in the history.
        ("PutParameter", "/polls") => is_for_the_agent(kind) || (always && !has_effect(kind)),
        // Never: what is written for people decides nothing.
        _ => false,
    }
}

fn of_prefect1(operation: &str, kind: &str, case: &Case) -> bool {
    let Case { scene, occurrence, always } = *case;
    match operation {
        // Never: what is written for people decides nothing.
        "write_run_logs" => false,
        // Nothing is due here: an empty queue stands in for our own look at it.
        "flow_run" if scene == Scene::Cancelling => kind == "429",
        // Tasks that were stopped for runs that are not over, as far as can be told.
        "set_flow_run_states" if scene == Scene::Cancelling => true,
        // Reads of Prefect are repeated after trouble of the way there. Our own look at the queue is replaced by the
        // queue's, once, unless fewer requests are asked for.
        "flow_run" if occurrence == 0 => always || kind == "429",
        // A server that does not know what it was asked is a warning: launches do not depend on it.
        "standing" if is_refusal(kind) => false,
        "auth_info" | "register_agent" | "standing" | "get_runs_in_queue" | "flow_run" => {
            always || !is_repeated_by_us(kind)
        }
        // A claim whose answer is unclear is looked for and sent again.
        _ => matches!(kind, "401" | "429") || (always && !has_effect(kind)),
    }
}

fn of_prefect3(asked: &str, kind: &str, case: &Case) -> bool {
    let always = case.always;
    match asked {
        // Runs wait whose flow or deployment cannot be read. An answer that makes no sense is the agent's trouble as well.
        "flows/filter" | "deployments/filter" => is_success(kind) && kind != "truncated",
        // Told to others, and looked at once more by the next poll; and runs wait whose earlier attempts cannot be read.
        "logs"
        | "events"
        | "labels"
        | "update_flow_run"
        | "flow_runs/filter end_time"
        | "flow_runs/filter RUNNING"
        | "flow_runs/filter id" => false,
        // Nobody reads the answer to a sign of life.
        "heartbeat" if is_success(kind) => false,
        "flow_runs/filter CANCELLING" if is_refusal(kind) => false,
        // A run that is gone is nobody's claim.
        "set_state PENDING" | "set_state CANCELLED" if kind == "404 json" => false,
        "set_state PENDING" => matches!(kind, "401" | "429" | "422") || (always && !has_effect(kind)),
        _ => always || !is_repeated_by_us(kind),
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
            | "503 busy after"
            | "other shape after"
    )
}

/// An answer whose status says that all is well.
fn is_success(kind: &str) -> bool {
    matches!(kind, "200 html" | "malformed" | "truncated" | "empty body" | "null" | "other shape" | "other shape after")
}

/// An answer that says no, or that cannot be understood.
fn is_refusal(kind: &str) -> bool {
    const KINDS: [&str; 14] = [
        "404 json",
        "422",
        "null",
        "other shape",
        "other shape after",
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
    const KINDS: [&str; 11] = [
        "503 again",
        "503 busy",
        "503 busy after",
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

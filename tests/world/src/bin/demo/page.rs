//! What is printed.

use crate::{
    flows::Scene,
    ink::{Ink, padded, shortened},
    story::{Poll, Story, UrlCall},
    verdict::Verdict,
};
use serde_json::Value;
use std::time::Duration;

/// Prints the story; whether everything ended as it should.
pub(crate) fn show(story: &Story) -> bool {
    let ink = Ink::of_stdout();
    let mut wrong = Vec::new();
    println!(
        "\n{}",
        ink.title("First act. Real: the lambda binary, its requests and answers, and how runs were recorded")
    );
    println!("{}", ink.faint("Not real: Prefect 1's API and AWS (local ones that speak their protocols), and in this scene the program in the"));
    println!("{}", ink.faint("containers, which walks its run through the states as `prefect execute flow-run` does"));
    println!("\n{}", ink.title("Polls, invoked under a local Runtime API"));
    for poll in &story.polls {
        wrong.extend(show_poll(ink, poll));
    }
    let agents = [
        ("etl", "Prefect Cloud, rules of Prefect 1, labels etl, a, b"),
        ("reports", "Prefect Cloud, rules of Prefect 0.15, label reports, max_polls 2"),
        ("lab", "Prefect Server, no labels, tasks on Spot"),
    ];
    for (agent, what) in agents {
        println!("\n{}", ink.title(&format!("Flow runs of agent {agent}: {what}")));
        let (name, kind) = (padded("flow run", 36), padded("run config · storage", 24));
        println!("    {}", ink.faint(&format!("{name} {kind} {} launched after", padded("states", 42))));
        for verdict in story.verdicts.iter().filter(|verdict| verdict.agent == agent) {
            show_run(ink, verdict);
        }
    }
    println!("\n{}", ink.title("Health: the same binary behind its Function URL"));
    for call in &story.urls {
        wrong.extend(show_url(ink, call));
    }
    show_figures(ink, story);
    conclude(ink, story, &wrong)
}

/// Prints the second scene; whether everything ended as it should.
pub(crate) fn show_flows(scene: &Scene) -> bool {
    let ink = Ink::of_stdout();
    println!(
        "\n{}",
        ink.title(
            "Real too from here on: Prefect 1.4.1. Its own `prefect execute flow-run` is what runs in the containers,"
        )
    );
    println!("{}", ink.title("with exactly the environment of the tasks"));
    let wrong = show_poll(ink, &scene.poll);
    for verdict in &scene.verdicts {
        show_run(ink, verdict);
    }
    println!();
    for wrong in &wrong {
        println!("{} {wrong}", mark(ink, false));
    }
    let good = scene.verdicts.iter().filter(|verdict| verdict.wrong.is_empty()).count();
    ended(ink, good, scene.verdicts.len(), scene.took, wrong.is_empty())
}

/// The last line of a scene; whether all ended as it should.
fn ended(ink: Ink, good: usize, total: usize, took: Duration, nothing_else: bool) -> bool {
    let text = format!("{good} of {total} flow runs ended as they should, in {:.1} s", took.as_secs_f64());
    let all = good == total && nothing_else;
    println!("{}", if all { ink.good(&text) } else { ink.bad(&text) });
    all
}

pub(crate) fn mark(ink: Ink, good: bool) -> String {
    if good { ink.good("✔") } else { ink.bad("✘") }
}

fn show_poll(ink: Ink, poll: &Poll) -> Vec<String> {
    let report = match &poll.answer {
        Ok(report) => report,
        Err(error) => {
            println!("  {} {}", mark(ink, false), poll.what);
            return vec![format!("{}: {}: {}", poll.what, error.error_type, error.error_message)];
        }
    };
    let agents = report["agents"].as_object();
    let wrong: Vec<String> = agents
        .into_iter()
        .flatten()
        .filter(|(name, agent)| {
            agent["ok"] != true || (agent["stopped"] == true) != poll.stopped.contains(&name.as_str())
        })
        .map(|(name, agent)| format!("{}: agent {name} reports {agent}", poll.what))
        .collect();
    let requests = poll.requests.map(|count| format!(", {count} requests")).unwrap_or_default();
    let took = format!("{:>7.3} s{requests}", poll.took.as_secs_f64());
    println!("  {} {} {took}", mark(ink, wrong.is_empty()), padded(poll.what, 48));
    for (name, agent) in agents.into_iter().flatten() {
        println!("      {}", ink.faint(&format!("{} {}", padded(name, 8), summary(agent))));
    }
    wrong
}

/// An agent's report in a line.
pub(crate) fn summary(agent: &Value) -> String {
    if agent["stopped"] == true {
        return "stopped: max_polls is reached".to_owned();
    }
    let count = |list: &str| agent[list].as_array().map_or(0, Vec::len);
    let mut parts = vec![format!("poll {}: {} ready", agent["poll"], agent["ready"])];
    for list in ["launched", "failed", "deferred", "skipped", "recovered", "cancelled", "warnings"] {
        match count(list) {
            0 => {}
            1 => parts.push(format!("1 {}", list.trim_end_matches('s'))),
            count => parts.push(format!("{count} {list}")),
        }
    }
    parts.join(", ")
}

fn show_run(ink: Ink, verdict: &Verdict) {
    let late = verdict.late.map_or_else(|| "–".to_owned(), |late| format!("+{late:.2} s"));
    println!(
        "  {} {} {} {} {}",
        mark(ink, verdict.wrong.is_empty()),
        padded(verdict.name, 36),
        padded(&verdict.kind, 24),
        padded(&verdict.states.join(" → "), 42),
        ink.title(&format!("{late:>14}")),
    );
    let labels = if verdict.labels.is_empty() { "none".to_owned() } else { verdict.labels.join(", ") };
    println!("      {}", ink.faint(&format!("{}; labels: {labels}", verdict.why)));
    for task in &verdict.tasks {
        let image = if task.image.is_empty() { String::new() } else { format!(", image {}", task.image) };
        let (definition, on, key) = (shortened(&task.definition, 48), &task.on, task.key);
        println!("      {}", ink.faint(&format!("task of {definition} on {on}{image}, API key {key}")));
    }
    if verdict.tasks.is_empty() && verdict.states.len() > 1 {
        println!("      {}", ink.faint(&shortened(&format!("“{}”", verdict.message), 150)));
    }
    for wrong in &verdict.wrong {
        println!("      {}", ink.bad(wrong));
    }
}

fn show_url(ink: Ink, call: &UrlCall) -> Option<String> {
    let answer = match &call.answer {
        Ok(answer) => answer,
        Err(error) => {
            println!("  {} {}", mark(ink, false), call.what);
            return Some(format!("{}: {}: {}", call.what, error.error_type, error.error_message));
        }
    };
    let good = answer["statusCode"] == call.status;
    let body: Value = answer["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
    let agents = body["agents"].as_object().into_iter().flatten();
    let agents: Vec<String> =
        agents.map(|(name, agent)| format!("{name} {}", agent["status"].as_str().unwrap_or_default())).collect();
    println!("  {} {} {}  {}", mark(ink, good), padded(call.what, 32), answer["statusCode"], agents.join(", "));
    (!good).then(|| format!("{}: should answer {}, and answers {answer}", call.what, call.status))
}

fn show_figures(ink: Ink, story: &Story) {
    println!("\n{}", ink.title("Requests of the functions"));
    for (service, operations) in &story.requests {
        let total: usize = operations.values().sum();
        println!("  {} {total:>4}", padded(service, 16));
        for (operation, count) in operations {
            println!("      {}", ink.faint(&format!("{count:>4} {operation}")));
        }
    }
    let launched: usize = story.verdicts.iter().map(|verdict| verdict.tasks.len()).sum();
    println!("\n{}", ink.title("The poll function's process"));
    println!("  cold start, process to first event    {:>7.0} ms", story.cold_start.as_secs_f64() * 1000.0);
    if let Some(peak_kib) = story.peak_kib {
        println!(
            "  peak memory                           {:>7.1} MB",
            MEBI * f64::from(u32::try_from(peak_kib).unwrap_or(u32::MAX))
        );
    }
    println!("  tasks launched                        {launched:>7}");
}

/// What the function itself found worth a warning.
fn show_log(story: &Story) {
    let serious = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"") || !line.starts_with('{');
    for line in story.log.lines().filter(serious) {
        eprintln!("the poll function's log: {line}");
    }
}

/// Mebibytes in a kibibyte.
const MEBI: f64 = 1.0 / 1024.0;

fn conclude(ink: Ink, story: &Story, wrong: &[String]) -> bool {
    let total = story.verdicts.len();
    let good = story.verdicts.iter().filter(|verdict| verdict.wrong.is_empty()).count();
    println!();
    for wrong in wrong {
        println!("{} {wrong}", mark(ink, false));
    }
    if good < total || !wrong.is_empty() {
        show_log(story);
    }
    ended(ink, good, total, story.took, wrong.is_empty())
}

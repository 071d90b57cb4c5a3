//! What is printed of the second act, while it goes on.

use super::{
    cloud::{AGENT, AT_ONCE, INTERVAL, Polled},
    run::Run,
    server::Server,
};
use crate::{
    ink::{Ink, padded, shortened},
    page::{mark, summary},
};
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// Seconds.
const NOTABLY_EARLY: f64 = 0.5;

/// The page; times are shown from `began` on.
pub(crate) struct Page<'a> {
    pub(crate) ink: Ink,
    pub(crate) server: &'a Server,
    pub(crate) began: OffsetDateTime,
}

impl Page<'_> {
    /// Where everything is.
    pub(crate) fn opening(&self, version: &Value) {
        let Server { ui, start_ms, work_pool, flow_runs, deployments, .. } = self.server;
        let took = Duration::from_millis(*start_ms).as_secs_f64();
        let version = version.as_str().unwrap_or_default();
        let title =
            format!("Second act: a real Prefect {version} server, which started in {took:.1} s beside the first");
        let deployments: Vec<_> = deployments.keys().map(String::as_str).collect();
        println!("\n{}", self.ink.title(&title));
        println!("  {}   its pages, while it runs", padded(&format!("{ui}/dashboard"), 58));
        println!(
            "  work pool {}, type ecs; deployments {}; {} flow runs scheduled\n",
            work_pool.name,
            deployments.join(", "),
            flow_runs.len()
        );
    }

    /// A poll and, in a line, its report; what is wrong about it.
    pub(crate) fn poll(&self, what: &str, polled: &Polled, as_expected: impl Fn(&Value) -> bool) -> Option<String> {
        let (report, wrong) = match &polled.answer {
            Ok(report) => {
                let report = &report["agents"][AGENT];
                let good = report["ok"] == true && as_expected(report);
                (Some(report), (!good).then(|| format!("{what}: the report is {report}")))
            }
            Err(error) => (None, Some(format!("{what}: {}: {}", error.error_type, error.error_message))),
        };
        let took = polled.took.as_secs_f64();
        println!("  {} {} {took:>7.3} s", mark(self.ink, wrong.is_none()), padded(what, 62));
        if let Some(report) = report {
            println!("      {}", self.ink.faint(&format!("{AGENT}    {}", summary(report))));
        }
        wrong
    }

    /// How soon a run was launched that somebody started by hand.
    pub(crate) fn by_hand(&self, after: Option<time::Duration>, wrong: bool) {
        let after = after.map_or_else(|| "      –  ".into(), |after| format!("{:>7.3} s", after.as_seconds_f64()));
        let what = "somebody starts a run by hand: Prefect pokes, and its task is there";
        println!("  {} {} {after}", mark(self.ink, !wrong), padded(what, 62));
        println!("      {}", self.ink.faint("without `connect` it waits for the schedule: up to two minutes"));
    }

    /// Above the flow runs.
    pub(crate) fn heading(&self) {
        let columns = format!(
            "{} {} {:>8} {:>8} {:>8} {:>8}",
            padded("flow run", 22),
            padded("deployment, parameters", 38),
            "claimed",
            "task",
            "running",
            "ended"
        );
        println!("\n    {}", self.ink.faint(&columns));
    }

    /// A flow run that has ended.
    pub(crate) fn run(&self, run: &Run, wrong: Option<&str>) {
        let what = format!("{}({})", run.deployment, run.parameters);
        println!(
            "  {} {} {} {} {} {} {} {}",
            mark(self.ink, wrong.is_none()),
            padded(&shortened(&run.name, 22), 22),
            padded(&shortened(&what, 38), 38),
            self.after(run.claimed),
            self.after(run.task),
            self.after(run.running),
            self.after(run.ended),
            if run.state == "COMPLETED" { self.ink.good(&run.state) } else { self.ink.title(&run.state) },
        );
        println!("      {}", self.ink.faint(&format!("{}/runs/flow-run/{}", self.server.ui, run.id)));
        if let Some(note) = note(run) {
            println!("      {}", self.ink.faint(&note));
        }
        if let Some(wrong) = wrong {
            println!("      {}", self.ink.bad(wrong));
        }
    }

    fn after(&self, at: Option<OffsetDateTime>) -> String {
        at.map_or_else(
            || format!("{:>8}", "–"),
            |at| format!("{:>8}", format!("+{:.1} s", (at - self.began).as_seconds_f64())),
        )
    }

    /// The end.
    pub(crate) fn conclude(&self, good: usize, total: usize, wrong: &[String]) {
        println!();
        for wrong in wrong {
            println!("{} {wrong}", mark(self.ink, false));
        }
        let took = (OffsetDateTime::now_utc() - self.began).as_seconds_f64();
        let text = format!("{good} of {total} flow runs ended as they should in the real server, in {took:.1} s");
        let all = good == total && wrong.is_empty();
        println!("{}", if all { self.ink.good(&text) } else { self.ink.bad(&text) });
        if !all {
            eprintln!("the end of the server's log:\n{}", self.server.log_tail());
        }
    }

    /// What there is to explore.
    pub(crate) fn exploring(&self) {
        let Server { ui, api, work_pool, .. } = self.server;
        println!("\n{}", self.ink.title("Everything keeps running; ctrl-c ends it"));
        println!("  dashboard   {ui}/dashboard");
        println!("  work pool   {ui}/work-pools/work-pool/{}", work_pool.name);
        println!("  try this    {ui}/deployments: open `nightly`, Run, Quick run");
        println!("              PREFECT_API_URL={api} prefect deployment run etl/nightly -p rows=42");
        println!(
            "  What you start is launched at once, the rest by a poll every {INTERVAL} s; {AT_ONCE} containers run at once, and \
             what ends is shown here:"
        );
        self.heading();
    }
}

/// What is worth knowing of a flow run.
fn note(run: &Run) -> Option<String> {
    let early = (run.due? - run.task?).as_seconds_f64();
    match run.state.as_str() {
        "COMPLETED" if early > NOTABLY_EARLY => {
            Some(format!("launched {early:.1} s early, which hides how long a task takes to start"))
        }
        "COMPLETED" => None,
        "CRASHED" => Some(format!("its task died without a word; task-events told the server: “{}”", run.message)),
        _ => Some(format!("“{}”", run.message)),
    }
}

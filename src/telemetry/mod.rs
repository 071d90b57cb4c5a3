//! Logs and metrics, both lines on standard output, where `CloudWatch` picks them up.

pub mod metrics;

use crate::config::Environment;
use crate::redaction::Redaction;
use std::io::{IsTerminal, Write};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

// JSON lines by `tracing`: one event a line, its ids as fields of their own so that they can be queried.

/// What a level is read from, the first that is set: the usual Rust variable, then the one that Lambda sets from the
/// function's logging configuration, then the Prefect agent's own.
const LEVEL_VARIABLES: [&str; 3] = ["RUST_LOG", "AWS_LAMBDA_LOG_LEVEL", "PREFECT__CLOUD__AGENT__LEVEL"];

/// Where the Lambda runtime logs what a handler returned as its error.
const RUNTIME_ERRORS: &str = "lambda_runtime::layers::panic";

/// The filter the environment asks for, else `default`. Libraries speak up only when something is wrong, unless
/// `RUST_LOG` asks for more, by `level` and `target=level`. (Filtering by the fields of spans would bring a regular
/// expression engine into the function.)
pub fn log_filter(environment: &Environment, default: &str) -> Targets {
    let wanted = LEVEL_VARIABLES.iter().find_map(|name| environment.get(*name).filter(|value| !value.is_empty()));
    let level = wanted.map_or(default, String::as_str);
    if environment.get("RUST_LOG").is_some_and(|value| !value.is_empty()) {
        return level
            .split(',')
            .map(str::trim)
            .filter(|directive| !directive.is_empty())
            .fold(Targets::new(), directive);
    }
    // Python spells two levels differently.
    let level = match level.to_ascii_lowercase().as_str() {
        "warning" => LevelFilter::WARN,
        "critical" | "fatal" => LevelFilter::ERROR,
        other => other.parse().unwrap_or(LevelFilter::INFO),
    };
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("prefect_serverless_agent", level);
    // Where it looked in vain for a region or credentials (an instance's metadata, …) is no news for anybody: what is
    // missing is our own sentence.
    filter.with_target("aws_config", LevelFilter::ERROR)
}

/// One part of `RUST_LOG`. A target alone means all that it says.
fn directive(filter: Targets, directive: &str) -> Targets {
    if let Ok(level) = directive.parse::<LevelFilter>() {
        return filter.with_default(level);
    }
    let (target, level) = directive.split_once('=').unwrap_or((directive, "trace"));
    match level.parse::<LevelFilter>() {
        Ok(level) => filter.with_target(target, level),
        Err(_) => filter,
    }
}

/// The most that a filter lets through: what is beyond it costs nothing.
fn most(filter: &Targets) -> LevelFilter {
    Layer::<Registry>::max_level_hint(filter).unwrap_or(LevelFilter::TRACE)
}

/// Libraries that say too much.
///
/// At `trace` the AWS SDK prints whole answers, Parameter Store's secrets among them, and the Lambda runtime whole events: a
/// task's environment, a caller's token. Nobody may ask for that. Errors of invocations are logged here (see
/// [`guarded`](crate::functions::guarded)); the runtime would say them once more, as debug texts.
fn without_bodies() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| {
        let target = metadata.target();
        if target == RUNTIME_ERRORS {
            return false;
        }
        *metadata.level() != Level::TRACE || !(target.starts_with("aws_") || target.starts_with("lambda_runtime"))
    })
}

/// What writes lines without secrets. A line comes in one piece.
struct Discreet<W> {
    to: W,
    redaction: Redaction,
}

impl<W: Write> Write for Discreet<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.to.write_all(self.redaction.line(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

fn discreet<W: Write + 'static>(
    to: fn() -> W,
    redaction: &Redaction,
) -> impl Fn() -> Discreet<W> + Send + Sync + 'static {
    let redaction = redaction.clone();
    move || Discreet { to: to(), redaction: redaction.clone() }
}

/// A line of the log that is no event of a library: one JSON object.
pub fn log_line(redaction: &Redaction, line: &serde_json::Value) {
    let text = format!("{line}\n");
    // Nobody can be told that standard output is gone.
    let _ = std::io::stdout().lock().write_all(redaction.line(&text).as_bytes());
}

/// Logs as JSON on standard output, for Lambda. A second call does nothing.
pub fn init_json(environment: &Environment, redaction: &Redaction) {
    let filter = log_filter(environment, "info");
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_max_level(most(&filter))
        .with_writer(discreet(std::io::stdout, redaction))
        .finish()
        .with(without_bodies())
        .with(filter);
    // Fails only when another subscriber is set, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
    crate::panics::install();
}

/// Logs for people on standard error, for the command line; as JSON when asked. `default`: the level when the
/// environment asks for none.
pub fn init_terminal(environment: &Environment, json: bool, default: &str, redaction: &Redaction) {
    let filter = log_filter(environment, default);
    let builder =
        tracing_subscriber::fmt().with_max_level(most(&filter)).with_writer(discreet(std::io::stderr, redaction));
    let set = if json {
        let subscriber = builder.json().flatten_event(true).finish();
        tracing::subscriber::set_global_default(subscriber.with(without_bodies()).with(filter))
    } else {
        let colours = std::io::stderr().is_terminal() && !environment.contains_key("NO_COLOR");
        let subscriber = builder.with_target(false).with_ansi(colours).finish();
        tracing::subscriber::set_global_default(subscriber.with(without_bodies()).with(filter))
    };
    let _ = set;
    crate::panics::install();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pairs: &[(&str, &str)]) -> String {
        log_filter(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), "info")
            .to_string()
    }

    #[test]
    fn the_level_comes_from_the_usual_variables_in_order() {
        assert!(shown(&[]).contains("prefect_serverless_agent=info"), "{}", shown(&[]));
        assert!(shown(&[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")]).contains("prefect_serverless_agent=debug"));
        assert!(shown(&[("PREFECT__CLOUD__AGENT__LEVEL", "WARNING")]).contains("prefect_serverless_agent=warn"));
        assert_eq!(shown(&[("RUST_LOG", "trace"), ("AWS_LAMBDA_LOG_LEVEL", "ERROR")]), "trace");
    }

    #[test]
    fn rust_log_names_targets() {
        let shown = shown(&[("RUST_LOG", "warn, hyper=debug,aws_config,nonsense=loud")]);
        for part in ["warn", "hyper=debug", "aws_config=trace"] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("nonsense"), "{shown}");
    }

    #[test]
    fn libraries_stay_quiet_and_nonsense_means_info() {
        assert!(shown(&[("AWS_LAMBDA_LOG_LEVEL", "TRACE")]).contains("warn"));
        assert!(shown(&[("AWS_LAMBDA_LOG_LEVEL", "very loud")]).contains("info"));
    }
}

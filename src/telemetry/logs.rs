//! JSON lines by `tracing`: one event a line, its ids as fields of their own so that they can be queried.

use crate::config::Environment;
use std::io::IsTerminal;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;

/// What a level is read from, the first that is set: the usual Rust variable, then the one that Lambda sets from the
/// function's logging configuration, then the Prefect agent's own.
const LEVEL_VARIABLES: [&str; 3] = ["RUST_LOG", "AWS_LAMBDA_LOG_LEVEL", "PREFECT__CLOUD__AGENT__LEVEL"];

/// The filter the environment asks for; `info` otherwise. Libraries speak up only when something is wrong, unless
/// `RUST_LOG` asks for more.
pub fn filter(environment: &Environment) -> EnvFilter {
    let wanted = LEVEL_VARIABLES.iter().find_map(|name| environment.get(*name).filter(|value| !value.is_empty()));
    let level = wanted.map_or("info", String::as_str);
    if environment.get("RUST_LOG").is_some_and(|value| !value.is_empty()) {
        return EnvFilter::builder().parse_lossy(level);
    }
    // Python spells two levels differently.
    let level = match level.to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        "critical" | "fatal" => "error".to_owned(),
        other => other.to_owned(),
    };
    let own: Directive =
        format!("prefect_serverless_agent={level}").parse().unwrap_or_else(|_| tracing::Level::INFO.into());
    EnvFilter::builder().with_default_directive(tracing::Level::WARN.into()).parse_lossy("").add_directive(own)
}

/// At `trace` the AWS SDK prints whole answers, Parameter Store's secrets among them: nobody may ask for that.
fn without_bodies() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| *metadata.level() != Level::TRACE || !metadata.target().starts_with("aws_"))
}

/// Logs as JSON on standard output, for Lambda. A second call does nothing.
pub fn init_json(environment: &Environment) {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter(environment))
        .with_writer(std::io::stdout)
        .finish()
        .with(without_bodies());
    // Fails only when another subscriber is set, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Logs for people on standard error, for the command line; as JSON when asked.
pub fn init_terminal(environment: &Environment, json: bool) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(environment)).with_writer(std::io::stderr);
    let set = if json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish().with(without_bodies()))
    } else {
        let colours = std::io::stderr().is_terminal() && !environment.contains_key("NO_COLOR");
        tracing::subscriber::set_global_default(
            builder.with_target(false).with_ansi(colours).finish().with(without_bodies()),
        )
    };
    let _ = set;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pairs: &[(&str, &str)]) -> String {
        filter(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).to_string()
    }

    #[test]
    fn the_level_comes_from_the_usual_variables_in_order() {
        assert!(shown(&[]).contains("prefect_serverless_agent=info"), "{}", shown(&[]));
        assert!(shown(&[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")]).contains("prefect_serverless_agent=debug"));
        assert!(shown(&[("PREFECT__CLOUD__AGENT__LEVEL", "WARNING")]).contains("prefect_serverless_agent=warn"));
        assert_eq!(shown(&[("RUST_LOG", "trace"), ("AWS_LAMBDA_LOG_LEVEL", "ERROR")]), "trace");
    }

    #[test]
    fn libraries_stay_quiet_and_nonsense_means_info() {
        assert!(shown(&[("AWS_LAMBDA_LOG_LEVEL", "TRACE")]).contains("warn"));
        assert!(shown(&[("AWS_LAMBDA_LOG_LEVEL", "very loud")]).contains("info"));
    }
}

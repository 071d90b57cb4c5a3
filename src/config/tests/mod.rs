#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod documents;
mod example;
mod fallbacks;
mod keys;
mod loading;
mod near;
mod properties;
mod settings;
mod valid;
mod worker;
mod worker_loading;
mod worker_properties;

use super::{
    AgentConfig, ConfigErrors, ConfigSource, Environment, GenerationConfig, Prefect1Config, Prefect3Config, read_agent,
};

/// Environment variables of a test.
fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The text as agent `etl` of `/root`, with these environment variables.
fn read_with(text: &str, variables: &[(&str, &str)]) -> Result<AgentConfig, ConfigErrors> {
    let source = ConfigSource { parameter: "/root/config/etl", agent: "etl", local_files: false };
    read_agent(text, &source, &environment(variables))
}

fn read(text: &str) -> Result<AgentConfig, ConfigErrors> {
    read_with(text, &[])
}

fn good(text: &str) -> AgentConfig {
    read(text).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

fn one(config: &AgentConfig) -> &Prefect1Config {
    match &config.generation {
        GenerationConfig::One(one) => one,
        GenerationConfig::Three(_) => panic!("an agent of Prefect 2 or 3"),
    }
}

fn three(config: &AgentConfig) -> &Prefect3Config {
    match &config.generation {
        GenerationConfig::Three(three) => three,
        GenerationConfig::One(_) => panic!("an agent of Prefect 1"),
    }
}

/// As [`good`], with the settings of Prefect 1.
fn one_of(text: &str) -> AgentConfig<Prefect1Config> {
    let config = good(text);
    let one = one(&config).clone();
    config.with(one)
}

/// Path, found and allowed of every problem.
fn problems(result: Result<AgentConfig, ConfigErrors>) -> Vec<(String, String, String)> {
    let errors = result.expect_err("a wrong configuration was accepted");
    errors.problems.into_iter().map(|problem| (problem.path, problem.found, problem.allowed)).collect()
}

/// Paths of every problem.
fn paths(text: &str) -> Vec<String> {
    problems(read(text)).into_iter().map(|(path, _, _)| path).collect()
}

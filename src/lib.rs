//! Prefect's agent as a serverless function: one poll iteration per invocation, flow runs launched as ECS tasks.
//!
//! The map of the crate. Data flows one way: parameters → configuration → observe → plan → perform → report.
//!
//! | module | what happens there |
//! |---|---|
//! | [`config`] | parameters and files become typed configuration, all errors at once (pure) |
//! | [`costs`] | what a task cost: its size and time, prices, and the query that adds them up (pure) |
//! | [`documents`] | task definitions and keyword arguments that a configuration points to |
//! | [`ecs_model`] | the shapes of the requests that start a task, and what botocore says of others (pure) |
//! | [`explain`] | one flow run: what became of it, and what happens next (all but `read` is pure) |
//! | [`model`] | the nouns that all modules share |
//! | [`orchestrator`] | the seam to a Prefect API: what a poll asks of it and tells it |
//! | [`prefect1`] | Prefect 0.15 and 1: the GraphQL API |
//! | [`prefect3`] | Prefect 2 and 3: the REST API, as a worker of one work pool |
//! | [`flow_run`] | what a flow run asks for on any platform, by its generation of Prefect (pure) |
//! | [`platform`] | what names a launch, what becomes of it; the seam to a platform, ECS and processes of this machine |
//! | [`page`] | the page that people look at: what it says (pure), how it looks, who sees it |
//! | [`panics`] | what a bug ends: one agent's poll, one event; locks that survive it |
//! | [`poke`] | somebody says that a run is due: who may, whose poll begins when (pure) |
//! | [`poll`] | one iteration: observe → plan (pure) → perform → report |
//! | [`state`] | what is remembered in Parameter Store: the poll counter, the status |
//! | [`survey`] | what the runs of an agent would ask of AWS, read from its pool and rendered |
//! | [`task_events`] | a task's change of state → what is to be done about its flow run (pure) |
//! | [`aws`] | thin adapters: SSM, ECS, EC2, S3, Lambda |
//! | [`guardrails`] | what a run may ask for, judged on its rendered requests (pure) |
//! | [`functions`] | the Lambda functions: events in, answers out |
//! | [`health`] | whether agents are well, and who may poke: `/api/health`, `/api/poke` (pure) |
//! | [`held`] | what is read from elsewhere at most once in a while, however many ask |
//! | [`http`] | how requests leave: the one client, its seam, what a failed exchange says about its effect |
//! | `transport` | what the ways to both Prefect APIs have in common |
//! | [`cli`] | the `prefect-serverless-agent` command: one poll, a dry run, the long-lived loop |
//! | [`check`] | the doctor: what is wrong with a deployment, and the command that mends it (half of it pure) |
//! | [`redaction`] | what must not be shown: whatever leaves the process passes it |
//! | `python_text` | texts and times exactly as Python and its slugify write them (pure) |
//! | [`telemetry`] | JSON logs and CloudWatch embedded metrics |

pub mod aws;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod costs;
pub mod documents;
pub mod ecs_model;
pub mod explain;
/// What a flow run asks for, whatever platform it runs on, by the rules of its generation of Prefect. Pure.
pub mod flow_run {
    pub mod prefect1;
    pub mod prefect3;
}
pub mod functions;
pub mod guardrails;
pub mod health;
pub mod held;
pub mod http;
pub mod image;
pub mod model;
pub mod orchestrator;
pub mod page;
pub mod panics;
pub mod platform;
pub mod poke;
pub mod poll;
pub mod prefect1;
pub mod prefect3;
mod python_text;
pub mod redaction;
pub mod state;
pub mod survey;
pub mod task_events;
pub mod telemetry;
mod transport;

//! How the page looks: one document, nothing in it that runs, nothing that is loaded from elsewhere.

use super::{AgentCard, Harm, HarmedRow, Moment, Page, PollRow, Summary, WaitingRow};
use crate::health::status::{AgentStatus, Overall};
use aws_smithy_types::base64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("style.css");

/// A page that stays open asks again after so many seconds.
const REFRESH: u32 = 30;

/// What a browser may do with these documents: show them with this very style, and send the form back. Nothing is loaded,
/// nothing runs, nobody puts them into a frame.
pub fn content_security_policy() -> String {
    let style = base64::encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

/// What stands around the agents.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    /// It is served: it asks again by itself.
    pub refreshes: bool,
    /// Whoever sees it came by the form, and may go.
    pub sign_out: bool,
}

/// The page.
pub fn page(page: &Page, around: Around) -> String {
    let tone = if page.status == Overall::Ok { "good" } else { "bad" };
    let content = html! {
        header {
            h1 { span.dot.(tone) aria-hidden="true" {} (page.heading) }
            p { (page.root) " · " time datetime=(page.at.machine) { (page.at.absolute) } }
            @if !page.agents.is_empty() { (summary(&page.summary)) }
        }
        main {
            @for agent in &page.agents { (card(agent)) }
            @if page.agents.is_empty() {
                section.card.full {
                    p { "Nothing lies below " code { (page.root) "/config" } "." }
                    p.say { "prefect-serverless-agent init sets an agent up." }
                }
            }
        }
        footer {
            span { "prefect-serverless-agent " (env!("CARGO_PKG_VERSION")) " · all times are UTC" }
            @if around.sign_out {
                form method="post" action="/" { button name="sign-out" value="1" { "Sign out" } }
            }
        }
    };
    document(&page.heading, tone, around.refreshes, &content)
}

/// Why somebody is asked for the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nobody has tried.
    First,
    /// What was sent is not the token.
    Wrong,
    /// There is none that could be sent.
    NoToken,
    /// There is one that is too easily guessed.
    ShortToken,
    /// Parameter Store does not say.
    Unknown,
}

/// What the form calls the token's parameter: strangers are not told the deployment's root.
const PARAMETER: &str = "{root}/secrets/page-token";

/// The form.
pub fn form(asked: Asked) -> String {
    let make = html! {
        p.hint { "Make one, with access to the AWS account; it counts within ten seconds ({root} is the stack’s ParameterRoot):" }
        pre { code { "aws ssm put-parameter --overwrite --type SecureString --name " (PARAMETER) " --value \"$(openssl rand -hex 32)\"" } }
    };
    let content = html! {
        header { h1 { "The agents’ page" } }
        main {
            section.card.full {
                @match asked {
                    Asked::First => {}
                    Asked::Wrong => p.alert.bad role="alert" { "This is not the page’s token." }
                    Asked::NoToken => p.alert.doubt role="alert" { "No token for this page has been made yet, so nobody can see it." }
                    Asked::ShortToken => p.alert.doubt role="alert" {
                        "The page’s token has fewer than " (super::access::SHORTEST_TOKEN) " characters: too easily guessed, so it is not accepted."
                    }
                    Asked::Unknown => p.alert.bad role="alert" { "Parameter Store does not answer, so the token cannot be compared. Try again in a moment." }
                }
                @if !matches!(asked, Asked::NoToken | Asked::ShortToken) {
                    form method="post" action="/" {
                        label for="token" { "Page token" }
                        // Nobody has a name here; password keepers want one.
                        input type="text" name="username" autocomplete="username" value="prefect-serverless-agent" hidden;
                        input type="password" id="token" name="token" autocomplete="current-password" required autofocus;
                        button { "Show the page" }
                    }
                    p.hint { "The token is the SecureString " code { (PARAMETER) } " in Parameter Store. It lets you read this page for twelve hours, and do nothing else." }
                } @else { (make) }
            }
        }
        footer { span { "prefect-serverless-agent " (env!("CARGO_PKG_VERSION")) } }
    };
    document("The agents’ page", "still", false, &content)
}

/// Nothing can be shown now.
pub fn trouble() -> String {
    let content = html! {
        header { h1 { span.dot.bad aria-hidden="true" {} "The agents’ state is not known" } }
        main {
            section.card.full {
                p role="alert" { "Parameter Store does not answer, so nobody can say how the agents are. This page tries again by itself." }
                p.say { "If it stays, look at the log of the health function." }
            }
        }
    };
    document("The agents’ state is not known", "bad", true, &content)
}

fn document(title: &str, tone: &str, refreshes: bool, content: &Markup) -> String {
    // A mark in the tab: a dot in the colour of the state, readable on light and dark.
    let colour = match tone {
        "good" => "2aa36b",
        "bad" => "d8453c",
        _ => "8a929c",
    };
    let icon = format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='6' fill='%23{colour}'/%3E%3C/svg%3E"
    );
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                @if refreshes { meta http-equiv="refresh" content=(REFRESH); }
                title { (title) }
                link rel="icon" href=(icon);
                style { (PreEscaped(STYLE)) }
            }
            body { div.wide { (content) } }
        }
    };
    document.into_string()
}

fn summary(summary: &Summary) -> Markup {
    let tile = |name: &str, tone: &str, value: &str, more: &str| {
        html! { div { dt { (name) } dd.(tone) { (value) @if !more.is_empty() { small { (more) } } } } }
    };
    let count = |count: usize| count.to_string();
    let tone = |is_well: bool, otherwise: &'static str| if is_well { "plain" } else { otherwise };
    html! {
        dl.tiles {
            (tile("Due, no task yet", tone(summary.oldest.is_none(), "doubt"), &summary.waiting.to_string(), summary.oldest.as_deref().unwrap_or_default()))
            (tile("Come again", "plain", &count(summary.given_back), if summary.given_back > 0 { "given back for now" } else { "" }))
            (tile("Not launched, or died", tone(summary.harmed == 0, "bad"), &count(summary.harmed), "in the last hour"))
            @match &summary.next_poll {
                Some(moment) => (tile("Next poll", "plain", &moment.relative, &moment.absolute)),
                None => (tile("Next poll", "plain", "none", "")),
            }
        }
    }
}

fn card(agent: &AgentCard) -> Markup {
    let (tone, id) = (tone(agent.status), format!("agent-{}", agent.name));
    let is_failing = agent.status == AgentStatus::Failing;
    let has_rows = !(agent.waiting.is_empty() && agent.given_back.is_empty() && agent.harmed.is_empty());
    html! {
        section.card.failing[is_failing].full[is_failing || has_rows] aria-labelledby=(id) {
            div.top {
                h2 id=(id) { (agent.name) }
                span.state.(tone) { span.dot aria-hidden="true" {} (agent.status.name()) }
            }
            @for sentence in agent.sentences.iter().filter(|sentence| !sentence.is_empty()) { p.say { (sentence) } }
            dl {
                (fact("Last poll", agent.last_poll.as_ref()))
                @if agent.last_success != agent.last_poll { (fact("Last success", agent.last_success.as_ref())) }
                @if agent.next_poll.is_some() { (fact("Next poll", agent.next_poll.as_ref())) }
                div { dt { "Polls" } dd { (agent.polls) } }
                @if let Some(outstanding) = agent.outstanding.filter(|outstanding| *outstanding > 0) {
                    div { dt { "Claims whose flow has not begun" } dd { (outstanding) } }
                }
            }
            @if !agent.waiting.is_empty() || agent.waiting_more > 0 { (waiting(&agent.waiting, agent.waiting_more)) }
            @if !agent.given_back.is_empty() { (given_back(&agent.given_back)) }
            @if !agent.harmed.is_empty() { (harmed(&agent.harmed)) }
            @if !agent.past_polls.is_empty() { (polls(&agent.past_polls)) }
        }
    }
}

fn tone(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Ok => "good",
        AgentStatus::Failing => "bad",
        AgentStatus::Starting | AgentStatus::Maintenance => "doubt",
        AgentStatus::Stopped | AgentStatus::Disabled => "still",
    }
}

fn fact(name: &str, moment: Option<&Moment>) -> Markup {
    html! {
        div {
            dt { (name) }
            dd {
                @match moment {
                    Some(moment) => { (moment.relative) (absolute(moment)) }
                    None => "never",
                }
            }
        }
    }
}

fn absolute(moment: &Moment) -> Markup {
    html! { small { time datetime=(moment.machine) { (moment.absolute) } } }
}

fn run_and_why(run: &str, reason: &str) -> Markup {
    html! { td.run { code { (run) } p.why { (reason) } } }
}

fn waiting(runs: &[WaitingRow], more: u64) -> Markup {
    html! {
        @if !runs.is_empty() {
            table.runs {
                caption { "Due, and without a task" }
                thead { tr { th scope="col" { "Flow run, and why it waits" } th scope="col" { "How late" } } }
                tbody {
                    @for run in runs {
                        tr { (run_and_why(&run.run, &run.reason)) td.when { (run.late) @if let Some(due) = &run.due { (absolute(due)) } } }
                    }
                }
            }
        }
        @if more > 0 { p.more { (more) @if runs.is_empty() { " due and without a task" } @else { " more" } } }
    }
}

fn given_back(runs: &[WaitingRow]) -> Markup {
    html! {
        table.runs {
            caption { "Given back, and due again" }
            thead { tr { th scope="col" { "Flow run, and why it was given back" } th scope="col" { "Comes again" } } }
            tbody {
                @for run in runs {
                    tr {
                        (run_and_why(&run.run, &run.reason))
                        td.when { @if let Some(again) = &run.again { (again.relative) (absolute(again)) } }
                    }
                }
            }
        }
    }
}

fn harmed(runs: &[HarmedRow]) -> Markup {
    let tone = |harm| if harm == Harm::DiedAndComesAgain { "doubt" } else { "bad" };
    html! {
        table.runs {
            caption { "Not launched, or died" }
            thead { tr { th scope="col" { "Flow run, and why" } th scope="col" { "When" } } }
            tbody {
                @for run in runs {
                    tr {
                        (run_and_why(&run.run, &run.reason))
                        td.when { (run.at.relative) (absolute(&run.at)) small.(tone(run.harm)) { (run.harm.name()) } }
                    }
                }
            }
        }
    }
}

fn polls(polls: &[PollRow]) -> Markup {
    let mark = |poll: &PollRow| match (poll.error, poll.counts) {
        (Some(_), _) => "bad",
        (None, [_, launched, ..]) if launched > 0 => "busy good",
        _ => "good",
    };
    html! {
        details {
            summary {
                @if let [_] = polls { "The last poll" } @else { "The last " (polls.len()) " polls" }
                span.strip aria-hidden="true" { @for poll in polls.iter().rev() { i class=(mark(poll)) {} } }
            }
            table.polls {
                thead {
                    tr {
                        th scope="col" { "Ended" }
                        @for heading in ["Due", "Launched", "Left", "Failed"] { th.number scope="col" { (heading) } }
                    }
                }
                tbody {
                    @for poll in polls {
                        tr {
                            td {
                                (poll.at.relative)
                                small { time datetime=(poll.at.machine) { (poll.at.absolute) } " · " (poll.took) }
                                @if let Some(error) = poll.error { small.bad { (error) } }
                            }
                            @for count in poll.counts { td.number { (count) } }
                        }
                    }
                }
            }
        }
    }
}

//! What somebody can do who wrote a member that the model does not know.

use super::check::{Problems, ShapeError, ShapeProblem, shortened};
use super::model::botocore;

/// What AWS says of a task definition beyond what was registered.
const SAID_BY_AWS: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// The known member that an unknown one differs from by case and separators only: `Family`, `ephemeral_storage`.
pub fn near(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = |text: &str| text.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect::<String>();
    let wanted = plain(name);
    known.iter().find(|known| wanted.eq_ignore_ascii_case(&plain(known))).copied()
}

/// Whether a member belongs to an answer of `describe-task-definition`, and not to what is registered.
pub fn is_said_by_aws(name: &str) -> bool {
    SAID_BY_AWS.contains(&name)
}

impl Problems<'_> {
    /// What to do about unknown members; `None` = there are none.
    pub fn advice(&self) -> Option<String> {
        let unknown: Vec<_> = self.first.iter().filter_map(ShapeProblem::unknown).collect();
        if unknown.is_empty() {
            return None;
        }
        let mut advice = Vec::new();
        for (_, name, known) in &unknown {
            if let Some(near) = near(name, known) {
                advice.push(format!("Write \"{near}\" for \"{}\".", shortened(name)));
            }
        }
        let of_input = |name: &str| unknown.iter().any(|(path, unknown, _)| path.is_empty() && *unknown == name);
        if of_input("taskDefinition") {
            advice.push(
                "An answer of describe-task-definition has the definition below \"taskDefinition\": take that part."
                    .into(),
            );
        }
        if SAID_BY_AWS.iter().any(|name| of_input(name)) {
            let all = SAID_BY_AWS.join(", ");
            advice.push(format!("What AWS says of a registered definition is not part of it: leave out {all}."));
        }
        advice.push(format!(
            "This is the model of botocore {}: what AWS has added since is sent as it is with `unknown_members: send` in \
             the agent's configuration.",
            botocore()
        ));
        advice.dedup();
        Some(advice.join(" "))
    }
}

impl ShapeProblem<'_> {
    /// Where an unknown member is, its name and those that are known.
    fn unknown(&self) -> Option<(&str, &str, &[&'static str])> {
        match &self.trouble {
            ShapeError::Unknown { name, known } => Some((&self.path, name, known)),
            _ => None,
        }
    }
}

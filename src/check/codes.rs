//! Every finding that there is. TROUBLESHOOTING.md has an anchor for each, and for no other.

use super::{Group, Severity};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `PSA` and a number whose first digit is the group.
    pub id: &'static str,
    /// Where it is looked for.
    pub group: Group,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in general.
    pub title: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal $group:ident $severity:ident $title:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = Code {
            id: $id, group: Group::$group, severity: Severity::$severity, title: $title,
        };)*
        /// All of them, in their order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    PARAMETERS_UNREADABLE = "PSA100" Configuration Failure "The parameters below the root cannot be read";
    CONFIGURATION_INVALID = "PSA101" Configuration Failure "A configuration is invalid";
    NO_AGENT = "PSA102" Configuration Failure "No agent is configured";
    SECRET_IN_CLEAR = "PSA103" Configuration Failure "A secret is a plain String";
    SECRET_MISSING = "PSA104" Configuration Failure "An agent has no credential";
    PARAMETER_UNUSED = "PSA105" Configuration Warning "A parameter belongs to no agent";
    SECRETS_UNREADABLE = "PSA106" Configuration Failure "Secrets cannot be decrypted";
    DOCUMENT_UNREADABLE = "PSA107" Configuration Failure "A document that a configuration names cannot be read";
    STACK_MISSING = "PSA110" Configuration Failure "No stack is deployed for this root";
    SCHEDULE_MISSING = "PSA111" Configuration Failure "The schedule is gone";
    SCHEDULE_DISABLED = "PSA112" Configuration Failure "The schedule is disabled";
    INTERVAL_DIFFERS = "PSA113" Configuration Warning "The interval of polls is not that of the schedule";
    SILENCE_IMPATIENT = "PSA114" Configuration Warning "The alarm of silence is impatient";
    CONFIGURATION_UNKNOWN = "PSA199" Configuration Unknown "Something of the configuration could not be asked";

    NAME_UNKNOWN = "PSA201" Prefect Failure "The name of the Prefect API is not known";
    NOT_REACHED = "PSA202" Prefect Failure "The Prefect API cannot be reached";
    CERTIFICATE_EXPIRED = "PSA203" Prefect Failure "The API's certificate has expired";
    AUTHORITY_UNKNOWN = "PSA204" Prefect Failure "The API's certificate is of an unknown authority";
    TLS_FAILED = "PSA205" Prefect Failure "TLS with the API fails";
    CERTIFICATE_ENDS = "PSA206" Prefect Warning "The API's certificate ends soon";
    CLOCK_OFF = "PSA207" Prefect Failure "The clock is wrong";
    CLOCK_DRIFTS = "PSA208" Prefect Warning "The clock drifts";
    CREDENTIAL_UNKNOWN = "PSA209" Prefect Failure "The credential is not known (401)";
    CREDENTIAL_FORBIDDEN = "PSA210" Prefect Failure "The credential may not do this (403)";
    NO_PREFECT_API = "PSA211" Prefect Failure "Something answers that is no Prefect API";
    API_TROUBLE = "PSA212" Prefect Failure "The Prefect API answers with an error";
    API_MAINTENANCE = "PSA213" Prefect Warning "Prefect is in maintenance";
    POOL_MISSING = "PSA221" Prefect Failure "There is no such work pool";
    POOL_OF_OTHER_TYPE = "PSA222" Prefect Failure "The work pool is of another type";
    POOL_PAUSED = "PSA223" Prefect Failure "The work pool is paused";
    QUEUE_MISSING = "PSA224" Prefect Failure "There is no such work queue";
    QUEUE_PAUSED = "PSA225" Prefect Warning "A work queue is paused";
    TEMPLATE_BROKEN = "PSA226" Prefect Failure "The work pool's job template does not render";
    DEPLOYMENT_BROKEN = "PSA227" Prefect Failure "A deployment does not render";
    OTHER_WORKER = "PSA228" Prefect Information "Another worker serves the work pool";
    GUARDRAILS_REFUSE = "PSA229" Prefect Failure "A deployment asks for more than the guardrails allow";
    GUARDRAILS_REPORT = "PSA230" Prefect Warning "A deployment asks for more than the guardrails would allow";
    POKE_URL_MISSING = "PSA231" Prefect Warning "Prefect cannot poke: there is no poke URL";
    NOT_CONNECTED = "PSA232" Prefect Information "Nothing pokes for an agent";
    CONNECTION_DIFFERS = "PSA233" Prefect Warning "What pokes is not as it should be";
    POKE_REFUSED = "PSA234" Prefect Warning "A poke is refused";
    POKES_FAIL = "PSA235" Prefect Warning "Prefect's last poke came to nothing";
    NO_POLL_FOLLOWS = "PSA236" Prefect Warning "No poll follows a poke";
    PREFECT_UNKNOWN = "PSA299" Prefect Unknown "Something of Prefect could not be asked";

    RUN_TASK_DENIED = "PSA301" Permissions Failure "A function may not launch in a cluster";
    PASS_ROLE_DENIED = "PSA302" Permissions Failure "A function may not pass a role";
    LOGS_DENIED = "PSA303" Permissions Warning "A function may not read a log group";
    OBJECT_DENIED = "PSA304" Permissions Failure "A function may not read an object";
    PARAMETER_DENIED = "PSA305" Permissions Failure "A function may not read a parameter";
    ASSUME_DENIED = "PSA306" Permissions Failure "A function may not assume a role";
    OTHER_DENIED = "PSA307" Permissions Failure "A function may not do what it always does";
    PERMISSIONS_UNKNOWN = "PSA399" Permissions Unknown "Some permissions could not be asked";

    CLUSTER_MISSING = "PSA401" Ecs Failure "There is no such cluster";
    CLUSTER_INACTIVE = "PSA402" Ecs Failure "A cluster is not active";
    CAPACITY_PROVIDER_UNATTACHED = "PSA403" Ecs Failure "A capacity provider is not attached";
    FARGATE_SIZE_ILLEGAL = "PSA404" Ecs Failure "Fargate has no tasks of this size";
    ROLE_MISSING = "PSA405" Ecs Failure "There is no such role";
    ROLE_UNTRUSTED = "PSA406" Ecs Failure "A role does not trust ECS";
    EXECUTION_DENIED = "PSA407" Ecs Failure "An execution role may not do what its tasks need";
    IMAGE_MISSING = "PSA408" Ecs Failure "There is no such image";
    ARCHITECTURE_DIFFERS = "PSA409" Ecs Failure "An image is of another architecture";
    LOG_GROUP_MISSING = "PSA410" Ecs Failure "There is no such log group";
    DEFINITION_MISSING = "PSA411" Ecs Failure "There is no such task definition";
    ECS_UNKNOWN = "PSA499" Ecs Unknown "Something of ECS could not be asked";

    SUBNET_MISSING = "PSA501" Network Failure "There is no such subnet";
    SECURITY_GROUP_MISSING = "PSA502" Network Failure "There is no such security group";
    VPCS_DIFFER = "PSA503" Network Failure "A network is of several VPCs";
    NO_WAY_OUT = "PSA504" Network Failure "A subnet has no way out";
    NO_ADDRESSES = "PSA505" Network Failure "No address is left";
    EGRESS_CLOSED = "PSA506" Network Failure "Security groups let nothing out";
    NO_DEFAULT_VPC = "PSA507" Network Failure "There is no VPC to look subnets up in";
    EGRESS_LIMITED = "PSA508" Network Warning "Security groups let port 443 out to some addresses only";
    NETWORK_UNKNOWN = "PSA599" Network Unknown "Something of the network could not be asked";

    RULE_MISSING = "PSA601" Events Failure "A rule or a queue for the tasks' events is gone";
    RULE_DISABLED = "PSA602" Events Failure "A rule for the tasks' events is disabled";
    TARGET_MISSING = "PSA603" Events Failure "A rule sends its events elsewhere";
    FAILURES_WAIT = "PSA604" Events Warning "Events could not be told to Prefect";
    FORWARDING_MISSING = "PSA605" Events Warning "Events of another account or region do not come here";
    QUEUE_UNREAD = "PSA606" Events Failure "Nobody reads the queue of events";
    EVENTS_UNKNOWN = "PSA699" Events Unknown "Something of the events could not be asked";

    LAUNCH_RATE_HIGH = "PSA701" Quotas Warning "More launches per second than the quota";
    VCPU_QUOTA_SMALL = "PSA702" Quotas Failure "Fargate's quota is smaller than a task";
    CONCURRENCY_SMALL = "PSA703" Quotas Warning "Too few invocations at once";
    PUBLIC_URL_OPEN = "PSA704" Quotas Warning "A public URL can use up the account's concurrency";
    VCPU_QUOTA_USED = "PSA705" Quotas Warning "Fargate's quota is used up";
    QUOTAS_UNKNOWN = "PSA799" Quotas Unknown "Some quotas could not be asked";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    const BOOK: &str = include_str!("../../TROUBLESHOOTING.md");

    #[test]
    fn codes_are_unique_and_numbered_by_group() {
        let ids: BTreeSet<_> = ALL.iter().map(|code| code.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for code in ALL {
            let digits = code.id.strip_prefix("PSA").filter(|digits| digits.len() == 3).expect(code.id);
            let group = Group::ALL.iter().position(|group| *group == code.group).unwrap() + 1;
            assert!(digits.starts_with(&group.to_string()), "{}", code.id);
            assert_eq!(digits == format!("{group}99"), code.severity == Severity::Unknown, "{}", code.id);
        }
        assert!(ALL.is_sorted_by_key(|code| code.id));
    }

    #[test]
    fn every_code_has_an_anchor_with_its_title_and_every_anchor_a_code() {
        let headings = BOOK.lines().filter_map(|line| line.strip_prefix("### PSA"));
        let anchors: Vec<String> = headings.map(|digits| format!("PSA{}", digits.trim())).collect();
        let ids: Vec<String> = ALL.iter().map(|code| code.id.to_owned()).collect();
        assert_eq!(anchors, ids, "the anchors of TROUBLESHOOTING.md, against the codes");
        for code in ALL {
            let section = BOOK.split(&format!("### {}\n", code.id)).nth(1).expect(code.id);
            assert!(section.trim_start().starts_with(&format!("**{}.**", code.title)), "{}: {}", code.id, code.title);
        }
    }

    /// Test code of a file: all of it, or what follows the attribute.
    fn tests_of(path: &Path) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        let is_tests = path.ends_with("tests.rs") || path.starts_with(Path::new(HERE).join("tests"));
        if is_tests {
            text
        } else {
            text.split_once("#[cfg(test)]\nmod tests {").map_or(String::new(), |(_, tests)| tests.into())
        }
    }

    fn files_below(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        files.into_iter().chain(directories.iter().flat_map(|inner| files_below(inner))).collect()
    }

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    /// A finding that nothing leads to helps nobody: tests and stories expect codes word by word.
    #[test]
    fn every_code_is_what_some_test_or_story_expects() {
        let here = Path::new(HERE);
        let mut files =
            [here.join("src/check"), here.join("tests/it/command/check")].map(|at| files_below(&at)).concat();
        files.push(here.join("tests/it/command/check.rs"));
        files.retain(|path| path.extension() == Some("rs".as_ref()) && !path.ends_with("check/codes.rs"));
        let expected: String = files.iter().map(|path| tests_of(path)).collect();
        let unexpected = ALL.iter().filter(|code| !expected.contains(&format!("\"{}\"", code.id)));
        assert_eq!(unexpected.map(|code| code.id).collect::<Vec<_>>(), [""; 0]);
    }
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn fault(run_sets: &[&str], status: u16, code: &str, message: &str) -> Fault {
    let run_sets: Vec<String> = run_sets.iter().map(|key| (*key).to_owned()).collect();
    Origin { run_sets: &run_sets, ..Origin::nobodys() }.fault(status, code, message)
}

#[test]
fn in_an_account_that_the_run_chose_everything_is_the_runs_doing() {
    for (status, code, message) in [
        (400, "AccessDeniedException", "User: x is not authorized to perform: ecs:RunTask on resource: *"),
        (400, "ClusterNotFoundException", "Cluster not found."),
        (400, "InvalidParameterException", "subnet-1 does not exist"),
        (400, "ClientException", "Role is not valid"),
        (400, "InvalidParameterException", "The specified capacity provider was not found"),
    ] {
        assert_eq!(fault(&[], status, code, message), Fault::Agent, "{message}");
        assert_eq!(fault(&[CHOSEN_ACCOUNT], status, code, message), Fault::Run, "{message}");
    }
}

#[test]
fn keys_are_the_runs_fault_only_where_it_brought_them() {
    for code in ["UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException"] {
        assert_eq!(fault(&[CHOSEN_ACCOUNT], 400, code, ""), Fault::Agent, "{code}: the agent's own keys");
        assert_eq!(fault(&[CHOSEN_ACCOUNT, CHOSEN_KEYS], 400, code, ""), Fault::Run, "{code}");
    }
}

#[test]
fn what_stands_between_us_and_aws_is_nobodys_configuration() {
    assert_eq!(fault(&[CHOSEN_ACCOUNT, CHOSEN_KEYS], 404, "", "<html>"), Fault::Agent);
}

//! `prefect-serverless-agent push`: a configuration from a file to Parameter Store.

use super::process::{agent, end};
use crate::support::{Deployment, ROOT};

#[tokio::test]
async fn a_configuration_is_checked_shown_and_written_once() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.yaml");
    let parameter = format!("{ROOT}/config/flows");
    let push = |flags: &str| format!("push {} --root {ROOT} {flags}", file.display());
    let text = format!("prefect: 1\napi: {}\nlabels: [prod]\n", deployment.world.prefect1_url());
    std::fs::write(&file, &text).unwrap();

    let unasked = end(agent(&deployment, &push(""))).await;
    assert_eq!(unasked.code, Some(1), "{unasked:?}");
    assert!(unasked.stderr.contains("--yes") && deployment.world.parameter(&parameter).is_none(), "{unasked:?}");

    let written = end(agent(&deployment, &push("--yes"))).await.well();
    assert!(written.stdout.contains("+labels: [prod]\n") && written.stdout.contains("version 1"), "{written:?}");
    assert_eq!(deployment.world.parameter(&parameter).unwrap().value, text);

    let again = end(agent(&deployment, &push("--yes"))).await.well();
    assert!(again.stdout.contains("says this already"), "{again:?}");

    std::fs::write(&file, text.replace("labels", "labelz")).unwrap();
    let wrong = end(agent(&deployment, &push("--yes"))).await;
    assert!(wrong.stderr.contains("labelz") && wrong.stderr.contains(&parameter), "{wrong:?}");
    assert_eq!(deployment.world.count("ssm", "PutParameter"), 1);

    // Neither a secret nor a command to the terminal is shown of what changes.
    let secret = format!("{text}env_vars: {{\"API_TOKEN\": \"of-a-variable\"}}\n");
    std::fs::write(&file, &secret).unwrap();
    let before = secret.replace("of-a-variable", "of-before");
    for (before, said) in [
        (before.clone(), "-env_vars: {\"API_TOKEN\": \"[redacted]\"}"),
        (format!("{before}# \u{1b}[2J\n"), "(now, which cannot be understood, and is not shown)"),
    ] {
        deployment.world.put_parameter(&parameter, &before);
        let shown = end(agent(&deployment, &push("--yes"))).await.well();
        assert!(shown.stdout.contains(said), "{said}: {shown:?}");
        assert!(shown.stdout.contains("+env_vars: {\"API_TOKEN\": \"[redacted]\"}"), "{shown:?}");
        for hidden in ["of-a-variable", "of-before", "\u{1b}"] {
            assert!(!shown.stdout.contains(hidden), "{hidden:?}: {shown:?}");
        }
    }
}

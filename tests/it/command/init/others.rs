//! The other agents of the deployment, whose stack it is too.

use super::{POOL, about, init, pool, role};
use crate::command::process::end;
use crate::support::{Deployment, ROOT};
use serde_json::json;
use world::{Fault, FaultKind};

#[tokio::test]
async fn the_parameters_do_for_the_other_agents_of_the_deployment_too() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &json!({"task_role_arn": role("mine"), "cluster": "mine"}));
    pool(&deployment, "theirs", "ecs", &json!({"task_role_arn": role("theirs"), "cluster": "theirs"}));
    let config = json!({"prefect": 3, "api": deployment.world.prefect3_url(), "work_pool": "theirs"});
    deployment.configure("theirs", &config.to_string());
    deployment.configure("away", &json!({"prefect": 3, "api": "http://127.0.0.1:9/api", "work_pool": "x"}).to_string());
    deployment.configure("wrong", "prefect: 9");

    let line = format!("--yes --json --root {ROOT} --work-pool {POOL}");
    let outcome = end(init(&deployment, folder.path(), &line)).await.well().json();
    assert_eq!(outcome["other_agents"], json!(["away", "theirs", "wrong"]));
    let roles = format!("{},{}", role("mine"), role("theirs"));
    assert_eq!(outcome["stack"]["parameters"]["PassableRoleArns"], json!(roles), "{outcome:#}");
    let clusters = outcome["stack"]["parameters"]["ClusterArns"].as_str().unwrap();
    assert!(clusters.contains("cluster/mine") && clusters.contains("cluster/theirs"), "{clusters}");
    for unknown in ["away", "wrong"] {
        let [finding] = about(&outcome, unknown).try_into().unwrap();
        assert!(
            finding["level"] == "warning" && finding["next"].as_str().unwrap().contains("parameters"),
            "{finding:#}"
        );
    }
    // One that configures another pool of the same server is asked beside the others, and each pool is read once.
    assert_eq!(deployment.world.count("prefect3", "read_work_pool"), 2, "this one's, and theirs");
    assert_eq!(deployment.world.count("prefect3", "work_pools/filter"), 0, "the pool is named");
    // One whose parameters cannot be read is said to be not known.
    let kind = FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    let (service, operation) = ("ssm".into(), "GetParametersByPath".into());
    deployment.world.fault(Fault { service, operation, body_contains: None, skip: 0, count: 9, kind });
    let shown = end(init(&deployment, folder.path(), &format!("--yes --root {ROOT} --work-pool {POOL}"))).await.well();
    assert!(shown.stdout.contains("whether other agents are configured there is not known"), "{shown:?}");
}

#[tokio::test]
async fn other_agents_are_asked_side_by_side() {
    const OTHERS: usize = 8;
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &json!({}));
    for number in 0..OTHERS {
        let pool_name = format!("pool-{number}");
        pool(&deployment, &pool_name, "ecs", &json!({"cluster": pool_name}));
        let config = json!({"prefect": 3, "api": deployment.world.prefect3_url(), "work_pool": pool_name});
        deployment.configure(&format!("agent-{number}"), &config.to_string());
    }
    let line = format!("--yes --json --root {ROOT} --work-pool {POOL}");
    let latency = std::time::Duration::from_millis(700);
    deployment.world.latency(latency);
    let begun = std::time::Instant::now();
    let outcome = end(init(&deployment, folder.path(), &line)).await.well().json();
    let took = begun.elapsed();
    let clusters = outcome["stack"]["parameters"]["ClusterArns"].as_str().unwrap();
    assert_eq!(clusters.matches(":cluster/pool-").count(), OTHERS, "{clusters}");
    // One after the other, each with its pool and then what is in it, they alone would take this long.
    assert!(took < latency * 2 * u32::try_from(OTHERS).unwrap(), "it took {took:?}");
}

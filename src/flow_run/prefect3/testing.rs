//! What tests of job configurations share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::{Flow, FlowRun, FlowRunContext, Generation, PrefectDeployment, WorkPool, WorkerSettings};
use crate::ecs_model::UnknownMembers;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) fn worker() -> WorkerSettings {
    WorkerSettings {
        generation: Generation::Three,
        worker_name: "worker-1".into(),
        worker_id: None,
        prefect_version: "3.8.8".into(),
        default_image: "default:1".into(),
        unknown_members: UnknownMembers::Refuse,
        region: "eu-west-1".into(),
        base_environment: vec![
            ("PREFECT_API_URL".into(), "https://prefect/api".into()),
            ("PREFECT_API_KEY".into(), "pnu_k".into()),
        ],
        process_environment: BTreeMap::new(),
    }
}

/// A run with all that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Everything {
    pub(crate) flow_run: FlowRun,
    pub(crate) deployment: Option<PrefectDeployment>,
    pub(crate) flow: Flow,
    pub(crate) work_pool: WorkPool,
}

impl Everything {
    pub(crate) fn context(&self) -> FlowRunContext<'_> {
        FlowRunContext {
            flow_run: &self.flow_run,
            deployment: self.deployment.as_ref(),
            flow: &self.flow,
            work_pool: &self.work_pool,
        }
    }
}

/// A run of a pool whose template is this job configuration, with these job variables of its deployment.
pub(crate) fn run(job_configuration: Value, job_variables: Value) -> Everything {
    let parsed = json!({"job_configuration": job_configuration, "variables": {"properties": {}}});
    Everything {
        flow_run: serde_json::from_value(json!({"id": "run-1", "name": "otter", "flow_id": "flow-1",
            "deployment_id": "deployment-1", "job_variables": {}, "tags": ["t"]}))
        .unwrap(),
        deployment: Some(
            serde_json::from_value(json!({"id": "deployment-1", "name": "nightly",
                "updated": "2026-03-04T05:06:07.100000+02:00", "job_variables": job_variables}))
            .unwrap(),
        ),
        flow: serde_json::from_value(json!({"id": "flow-1", "name": "etl", "tags": []})).unwrap(),
        work_pool: serde_json::from_value(json!({"id": "pool-1", "name": "pool", "base_job_template": parsed}))
            .unwrap(),
    }
}

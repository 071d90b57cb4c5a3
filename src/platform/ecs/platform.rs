//! The hook, for ECS.

use super::accounts::{AccountsLauncher, AwsConnect};
use super::definitions::{Keyed, SingleFlight};
use super::delivery::{Delivered, Delivery, deliver};
use super::guarded::{AgentGuardrails, Guard};
use super::launcher::LaunchRate;
use super::prefect1::{self, TemplatePlace, template_path};
use super::request::{definition_problems, run_task_problems, shape_refusal};
use super::{LaunchSpec, LaunchTarget, Launcher, PreparedLaunch, prefect3};
use crate::aws::{AgentAws, AwsClients};
use crate::clock::Clock;
use crate::config::{Document, DocumentKind, GenerationConfig, WorkerRules, check_document};
use crate::documents::{DocumentError, RunDocuments, load_document, without_query};
use crate::ecs_model::UnknownMembers;
use crate::flow_run::prefect1::{AgentSettings, FlowRun};
use crate::model::{ErrorKind, Object, RenderError, RoleToAssume, RunRefusal, SetupError};
use crate::platform::{
    AgentPlatform, AgentSetup, LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, Place, Platform,
    RunDescription, WithWarning, WorkPoolType,
};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use time::OffsetDateTime;

/// Loads the template that a run configuration names by path (`s3://…`, `https://…`, `ssm://…`, a local file).
pub type LoadTemplate = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Object, RenderError>> + Send + Sync>;

/// What an agent of Prefect 1 needs that lies outside its configuration, loaded.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// The agent's task definition template; `None` = the built-in one.
    pub task_definition: Option<Object>,
    /// Keyword arguments of every `RunTask`.
    pub run_task_kwargs: Object,
}

/// What the launches of one agent depend on, besides what Prefect says.
#[derive(Clone)]
pub struct LaunchRules {
    /// The agent's documents.
    pub documents: Documents,
    /// How keys are delivered.
    pub delivery: Arc<Delivery>,
    /// What becomes of members of requests that are not known.
    pub unknown_members: UnknownMembers,
    /// Capacity refusals of a Spot strategy before on-demand is used; `None` = never.
    pub spot_fallback_after: Option<u32>,
    /// What runs may ask for; `None` = whatever they like.
    pub guardrails: Option<Arc<AgentGuardrails>>,
    /// How templates that run configurations name are loaded.
    pub load_template: LoadTemplate,
}

/// Work pools of type `ecs`.
pub const WORK_POOL: WorkPoolType = WorkPoolType {
    name: "ecs",
    template: |rules| match rules {
        WorkerRules::Two => include_str!("work_pool_template/prefect2.json"),
        WorkerRules::Three => include_str!("work_pool_template/prefect3.json"),
    },
};

/// Deploys flow runs as ECS tasks.
pub struct EcsPlatform<L> {
    launcher: L,
    rules: LaunchRules,
    /// How tasks are reached that are only looked at.
    tasks: Option<TaskAccess>,
    /// Templates that are being loaded: runs of one flow share theirs.
    templates: Keyed<SingleFlight<Result<Object, RenderError>>>,
}

/// The agent's own way to tasks, in whatever region they are.
struct TaskAccess {
    aws: Arc<AwsClients>,
    region: Option<String>,
    role: Option<RoleToAssume>,
}

impl<L: Launcher> EcsPlatform<L> {
    /// Launches with this launcher.
    pub fn new(launcher: L, rules: LaunchRules) -> Self {
        Self { launcher, rules, tasks: None, templates: Keyed::default() }
    }

    /// The launch as Prefect's own agent or worker would send it: its key is not delivered yet.
    pub(crate) async fn undelivered(&self, run: RunDescription) -> Result<LaunchSpec, RenderError> {
        match run {
            RunDescription::One(agent, run) => self.launch_1(&agent, &run).await,
            RunDescription::Three(run) => {
                let job = prefect3::Job::new(&run.worker, &run.context(), &run.populated, &run.resolved);
                let mut spec = job.and_then(|job| job.launch_spec()).map_err(RenderError::Refused)?;
                spec.guard = self.rules.guardrails.as_ref().map(|rules| Arc::new(Guard::of_3(rules, &run)));
                Ok(spec)
            }
        }
    }

    /// The launch with its key delivered, as far as its definition is known.
    pub(crate) fn delivered(&self, spec: LaunchSpec) -> Result<WithWarning<LaunchSpec>, RenderError> {
        let Delivered { spec, warning } = deliver(spec, &self.rules.delivery).map_err(RenderError::Refused)?;
        Ok(WithWarning { launch: spec, warning })
    }

    async fn launch_1(&self, agent: &AgentSettings, run: &FlowRun) -> Result<LaunchSpec, RenderError> {
        let LaunchRules { documents, unknown_members, .. } = &self.rules;
        let agent = &AgentSettings {
            task_definition: documents.task_definition.clone(),
            run_task_kwargs: documents.run_task_kwargs.clone(),
            ..agent.clone()
        };
        let path = template_path(agent, run).map_err(RenderError::Refused)?;
        let template = match path.map(|path| match path.place {
            TemplatePlace::AgentFile(file) => file,
            TemplatePlace::Remote => path.written,
        }) {
            Some(path) => Some(self.template(path).await?),
            None => None,
        };
        let mut spec = prefect1::launch_spec(agent, run, template.as_ref()).map_err(RenderError::Refused)?;
        let problems = [definition_problems(&spec, *unknown_members), run_task_problems(&spec, *unknown_members)];
        if let Some(text) = shape_refusal(&problems, &|_| true) {
            return Err(RenderError::Refused(RunRefusal(text)));
        }
        let guarded = self.rules.guardrails.as_ref();
        spec.guard = guarded.map(|rules| Arc::new(Guard::of_1(rules, agent, run, &spec)));
        Ok(spec)
    }

    async fn template(&self, path: String) -> Result<Object, RenderError> {
        let path_of = path.clone();
        let flight = self.templates.get(&path);
        let load = async { Ok((self.rules.load_template)(path).await) };
        let template = flight.share(load).await;
        self.templates.forget(&path_of);
        template.unwrap_or_else(|outcome| Err(RenderError::NotNow(outcome.text().to_owned())))
    }
}

impl<L: Launcher> Platform for EcsPlatform<L> {
    type Launch = LaunchSpec;
    type Prepared = PreparedLaunch;
    type Place = LaunchTarget;

    const NOUN: &'static str = "task";
    const WORK_POOL: WorkPoolType = WORK_POOL;
    const TROUBLE: ErrorKind = ErrorKind::Aws;

    async fn render(&self, run: RunDescription) -> Result<WithWarning<LaunchSpec>, RenderError> {
        self.delivered(self.undelivered(run).await?)
    }

    fn place(&self, launch: &LaunchSpec) -> LaunchTarget {
        launch.target()
    }

    async fn prepare(
        &self,
        launch: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> Result<WithWarning<PreparedLaunch>, LaunchOutcome> {
        self.launcher.prepare(launch, identity).await
    }

    async fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> LaunchOutcome {
        self.launcher.launch(launch, deadline).await
    }

    async fn live(&self, place: &LaunchTarget, identity: &LaunchIdentity) -> Result<LiveDeployments, LaunchOutcome> {
        self.launcher.live_tasks(place, &identity.started_by).await.map_err(|outcome| match outcome {
            // Credentials that a run brings along and that do not reach its tasks would not reach a new one either. The
            // agent's own may do so again.
            LaunchOutcome::Permanent(reason) if place.credentials.are_the_agents_own() => {
                LaunchOutcome::Unknown(reason)
            }
            outcome => outcome,
        })
    }

    async fn stop(&self, place: &LaunchTarget, id: &str, reason: &str) -> Result<(), LaunchOutcome> {
        self.launcher.stop(place, id, reason).await
    }

    fn shown(&self, id: &str) -> String {
        format!("Task {id}")
    }

    async fn find(&self, place: &LaunchTarget, id: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        self.launcher.live_task(place, id).await
    }

    /// A token is good for one cluster.
    fn in_place(&self, mut launch: LaunchSpec, claimed: &str) -> LaunchSpec {
        if claimed.is_empty() || claimed == launch.target().name() {
            return launch;
        }
        launch.worker.decided.claimed_cluster = Some(claimed.to_owned());
        launch.worker.decided.apply(&mut launch.run_task);
        launch
    }

    fn after_refusals(&self, mut launch: LaunchSpec, capacity_refusals: u32) -> (LaunchSpec, Option<String>) {
        launch.worker.decided.refusals = self.rules.spot_fallback_after.map(|after| (capacity_refusals, after));
        let reason = launch.worker.decided.apply(&mut launch.run_task);
        (launch, reason)
    }

    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        self.launcher.room(deadline)
    }

    async fn task_clients(&self, region: Option<String>) -> Option<Arc<AgentAws>> {
        let TaskAccess { aws, region: own, role } = self.tasks.as_ref()?;
        Some(aws.for_agent(region.as_deref().or(own.as_deref()), role.as_ref()).await)
    }
}

/// What agents deploy with: their own account, and those of runs with credentials of their own.
pub type AgentEcs<C> = EcsPlatform<AccountsLauncher<AwsConnect<C>, C>>;

impl<C: Clock + Clone + 'static> AgentPlatform<C> for AgentEcs<C> {
    const NEEDS_AWS: bool = true;

    async fn of_agent(agent: &AgentSetup<'_, C>) -> Result<Self, SetupError> {
        let AgentSetup { config, aws, clock, .. } = agent;
        let own = aws.for_agent(config.region_name.as_deref(), config.role_to_assume().as_ref()).await;
        let rate = Arc::new(LaunchRate::new(config.launch_rate));
        let (region, role) = (config.region_name.clone(), config.role_to_assume());
        let tasks = Some(TaskAccess { aws: Arc::clone(aws), region, role });
        let (aws, clock) = (Arc::clone(aws), clock.clone());
        let connect = AwsConnect { aws, own, clock, rate };
        Ok(Self {
            tasks,
            ..Self::new(AccountsLauncher::of_agent(connect, config.allowed_hosts.clone()), launch_rules(agent).await?)
        })
    }

    async fn warm_up(&self) {
        self.launcher.warm_up().await;
    }

    async fn scope(agent: &AgentSetup<'_, C>) -> Result<String, SetupError> {
        account_and_region(agent.aws).await
    }
}

/// `<account>/<region>` of the process. STS is asked once.
pub(crate) async fn account_and_region(aws: &AwsClients) -> Result<String, SetupError> {
    let account = aws.account().await.map_err(|error| SetupError {
        kind: ErrorKind::Aws,
        message: format!("the AWS account, which the agent's claims are named by, cannot be told: {error}"),
    })?;
    Ok(format!("{account}/{}", aws.region))
}

/// What the agent's launches depend on; its documents are loaded.
pub(crate) async fn launch_rules<C>(agent: &AgentSetup<'_, C>) -> Result<LaunchRules, SetupError> {
    let AgentSetup { config, secrets, aws, run_http, root, local_files, marked_as, .. } = agent;
    let of_runs = RunDocuments {
        aws: Arc::clone(aws),
        http: Arc::clone(run_http),
        files: root.map(|root| format!("{}/files/", root.as_str())),
        local_files: *local_files,
    };
    let documents = match &config.generation {
        GenerationConfig::One(one) => {
            let (task_definition, run_task_kwargs) = tokio::join!(
                document(agent, DocumentKind::TaskDefinition, one.task_definition.as_ref()),
                document(agent, DocumentKind::RunTaskKwargs, one.run_task_kwargs.as_ref()),
            );
            Documents { task_definition: task_definition?, run_task_kwargs: run_task_kwargs?.unwrap_or_default() }
        }
        GenerationConfig::Three(_) => Documents::default(),
    };
    let delivery = Arc::new(Delivery::new(config, (*secrets).clone(), marked_as));
    let guardrails = AgentGuardrails::of(config, &delivery);
    Ok(LaunchRules {
        documents,
        delivery,
        guardrails,
        unknown_members: config.unknown_members,
        spot_fallback_after: config.spot_fallback_after,
        load_template: template_loader(of_runs),
    })
}

async fn document<C>(
    agent: &AgentSetup<'_, C>,
    which: DocumentKind,
    document: Option<&Document>,
) -> Result<Option<Object>, SetupError> {
    let path = match document {
        None => return Ok(None),
        Some(Document::Inline(map)) => return Ok(Some(map.clone())),
        Some(Document::Path(path)) => path,
    };
    let key = match which {
        DocumentKind::TaskDefinition => "task_definition_path",
        DocumentKind::RunTaskKwargs => "run_task_kwargs_path",
    };
    let loaded = load_document(path, agent.aws, &agent.http, agent.local_files).await;
    let document = loaded.map_err(|error| error.about(key))?;
    // It is as much the agent's own as what is written in its configuration.
    check_document(which, without_query(path), &document, agent.config.unknown_members)
        .map_err(|errors| SetupError { kind: ErrorKind::Configuration, message: format!("{key}: {errors}") })?;
    Ok(Some(document))
}

/// What is wrong with a template fails the run; one that is out of reach is waited for.
fn template_loader(documents: RunDocuments) -> LoadTemplate {
    let documents = Arc::new(documents);
    Arc::new(move |path| {
        let documents = Arc::clone(&documents);
        Box::pin(async move {
            documents.load(&path).await.map_err(|error| match error {
                DocumentError::Wrong(reason) => RenderError::Refused(RunRefusal(reason)),
                DocumentError::Unavailable(reason) => RenderError::NotNow(reason),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::platform::ecs::target::AwsCredentials;
    use crate::platform::ecs::testing::{NoLauncher, rules};

    /// What a run's own credentials do not reach now they never will; the agent's own permissions may be mended.
    #[tokio::test]
    async fn tasks_that_a_runs_own_credentials_do_not_reach_are_never_seen() {
        let refused = LaunchOutcome::Permanent("AccessDenied".into());
        let platform = EcsPlatform::new(NoLauncher(Some(refused.clone())), rules());
        let identity = LaunchIdentity { flow_run_id: "1".into(), token: "t".into(), started_by: "s".into() };
        let role =
            AwsCredentials { assume_role_arn: Some("arn:aws:iam::1:role/r".into()), ..AwsCredentials::default() };
        let elsewhere = LaunchTarget { credentials: role, ..LaunchTarget::default() };
        assert_eq!(platform.live(&elsewhere, &identity).await, Err(refused));
        let own = platform.live(&LaunchTarget::default(), &identity).await;
        assert_eq!(own, Err(LaunchOutcome::Unknown("AccessDenied".into())));
    }
}

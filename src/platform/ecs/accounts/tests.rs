#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::aws::AwsError;
use crate::platform::ecs::Definition;
use crate::platform::ecs::launcher::{EcsLauncher, LaunchRate};
use crate::platform::ecs::target::{CHOSEN_ACCOUNT, CHOSEN_KEYS};
use crate::platform::ecs::testing::{FakeAws, JumpingClock, RUN, START, no_answer, refused, spec, started};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::MutexGuard;

const ROLE: &str = "arn:aws:iam::999999999999:role/flows";

/// One world per account, and what renewals of credentials are answered.
#[derive(Default)]
struct Accounts {
    connected: Vec<(Account, FakeAws)>,
    renewals: usize,
    answers: VecDeque<Result<(), AwsError>>,
    hangs: bool,
}

struct FakeConnect {
    accounts: Mutex<Accounts>,
    rate: Arc<LaunchRate>,
}

impl FakeConnect {
    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap()
    }

    fn launcher(&self, aws: &FakeAws) -> EcsLauncher<JumpingClock> {
        let (ecs, ec2) = aws.clients();
        EcsLauncher::new(ecs, ec2, JumpingClock::new(), Arc::clone(&self.rate))
    }
}

impl Connect for FakeConnect {
    type Launcher = EcsLauncher<JumpingClock>;
    type Session = ();

    fn connect(&self, account: &Account) -> (Self::Launcher, ()) {
        let aws = world();
        self.lock().connected.push((account.clone(), aws.clone()));
        (self.launcher(&aws), ())
    }

    async fn renew(&self, (): &()) -> Result<(), AwsError> {
        tokio::task::yield_now().await;
        let hangs = {
            let mut accounts = self.lock();
            accounts.renewals += 1;
            accounts.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        self.lock().answers.pop_front().unwrap_or(Ok(()))
    }
}

fn world() -> FakeAws {
    let aws = FakeAws::default();
    aws.world().vpc = Some("vpc-1".into());
    aws.world().subnets = vec!["subnet-1".into()];
    aws
}

/// A launcher, and the world of the agent's own account.
fn room() -> (AccountsLauncher<FakeConnect, JumpingClock>, FakeAws) {
    let (own, rate) = (world(), Arc::new(LaunchRate::new(Some(20.0))));
    let connect = FakeConnect { accounts: Mutex::default(), rate };
    (AccountsLauncher::new(connect.launcher(&own), JumpingClock::new(), connect), own)
}

fn role(set_by_run: &[&str]) -> AwsCredentials {
    AwsCredentials {
        assume_role_arn: Some(ROLE.into()),
        set_by_run: set_by_run.iter().map(|key| (*key).to_owned()).collect(),
        ..AwsCredentials::default()
    }
}

fn in_region(region: &str) -> AwsCredentials {
    AwsCredentials { region_name: Some(region.into()), ..AwsCredentials::default() }
}

fn launch_with(credentials: &AwsCredentials) -> LaunchSpec {
    let definition = json!({"family": "f", "containerDefinitions": [{"name": "prefect"}]});
    let mut spec = spec(Definition::Own(definition.as_object().unwrap().clone()), json!({"cluster": "c"}));
    spec.run_sets.clone_from(&credentials.set_by_run);
    spec.worker.credentials = credentials.clone();
    spec
}

fn identity() -> LaunchIdentity {
    LaunchIdentity { flow_run_id: RUN.into(), token: "token".into(), started_by: "prefect/etl/run".into() }
}

async fn prepare(
    room: &AccountsLauncher<FakeConnect, JumpingClock>,
    credentials: &AwsCredentials,
) -> Result<PreparedLaunch, LaunchOutcome> {
    Ok(room.prepare(&launch_with(credentials), &identity()).await?.launch)
}

fn deadline() -> OffsetDateTime {
    START + Duration::from_mins(1)
}

#[tokio::test]
async fn without_credentials_of_its_own_a_run_is_launched_in_the_agents_account() {
    let (room, own) = room();
    own.world().run_task_answers.push_back(Ok(started("t")));
    let launch = prepare(&room, &AwsCredentials::default()).await.unwrap();
    assert_eq!(room.launch(&launch, deadline()).await, LaunchOutcome::Started { id: "t".into() });
    assert_eq!(own.world().calls, ["DescribeTaskDefinition", "RegisterTaskDefinition", "RunTask"]);
    assert!(room.connect.lock().connected.is_empty() && room.connect.lock().renewals == 0);
}

#[tokio::test]
async fn with_credentials_of_its_own_everything_happens_in_their_account() {
    let (room, own) = room();
    let credentials = role(&[]);
    let launch = prepare(&room, &credentials).await.unwrap();
    let (account, theirs) = room.connect.lock().connected[0].clone();
    assert_eq!(account.role.unwrap()["RoleArn"], ROLE);
    theirs.world().run_task_answers.push_back(Ok(started("t")));
    assert_eq!(room.launch(&launch, deadline()).await, LaunchOutcome::Started { id: "t".into() });
    let target = LaunchTarget { cluster: "c".into(), credentials, written: None };
    room.live_tasks(&target, "prefect/etl/run").await.unwrap();
    room.live_task(&target, "t").await.unwrap();
    room.stop(&target, "t", "enough").await.unwrap();
    let expected = [
        "DescribeTaskDefinition",
        "RegisterTaskDefinition",
        "RunTask",
        "ListTasks",
        "ListTasks of stopped ones",
        "DescribeTasks",
        "StopTask",
    ];
    assert_eq!(theirs.world().calls, expected);
    assert!(own.world().calls.is_empty());
    assert_eq!(room.connect.lock().connected.len(), 1);
}

#[tokio::test]
async fn many_runs_wait_for_one_renewal_and_share_its_answer() {
    let (room, _) = room();
    let credentials = role(&[CHOSEN_ACCOUNT]);
    room.connect.lock().answers = VecDeque::from(vec![Err(refused(403, "AccessDenied", "sts:AssumeRole")); 2]);
    let outcomes = futures_util::future::join_all((0..50).map(|_| prepare(&room, &credentials))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(LaunchOutcome::Permanent(_)))), "{outcomes:?}");
    assert!(room.connect.lock().renewals <= 2, "{} renewals", room.connect.lock().renewals);
}

#[tokio::test]
async fn the_launch_rate_is_the_agents_whatever_the_account() {
    let (room, _) = room();
    let all = room.room(deadline()).unwrap();
    let launch = prepare(&room, &role(&[])).await.unwrap();
    room.connect.lock().connected[0].1.world().run_task_answers.push_back(Ok(started("t")));
    room.launch(&launch, deadline()).await;
    assert_eq!(room.room(deadline()), Some(all - 1));
}

#[tokio::test]
async fn whose_fault_refused_credentials_are_depends_on_who_chose_them() {
    let denied = || {
        refused(
            403,
            "AccessDenied",
            "User: arn:aws:sts::1:assumed-role/poll/x is not authorized to perform: sts:AssumeRole on resource: arn",
        )
    };
    let expired = || refused(403, "ExpiredToken", "The security token included in the request is expired");
    let of_run: fn(&LaunchOutcome) -> bool = |outcome| matches!(outcome, LaunchOutcome::Permanent(_));
    let of_agent: fn(&LaunchOutcome) -> bool = |outcome| matches!(outcome, LaunchOutcome::AgentTrouble(_));
    let passing: fn(&LaunchOutcome) -> bool = |outcome| matches!(outcome, LaunchOutcome::Transient { .. });
    let keys = [CHOSEN_ACCOUNT, CHOSEN_KEYS];
    for (error, set_by_run, expected) in [
        (denied(), &[CHOSEN_ACCOUNT][..], of_run),
        (denied(), &[], of_agent),
        // Keys that the run brought are unknown; the agent's own have expired.
        (refused(403, "InvalidClientTokenId", "invalid"), &keys, of_run),
        (expired(), &[CHOSEN_ACCOUNT], of_agent),
        (AwsError::Credentials("the agent's own role: no".into()), &[CHOSEN_ACCOUNT], of_agent),
        (refused(400, "ValidationError", "DurationSeconds exceeds the MaxSessionDuration"), &[CHOSEN_ACCOUNT], of_run),
        (refused(400, "Throttling", "Rate exceeded"), &keys, passing),
        (refused(503, "ServiceUnavailable", ""), &keys, passing),
        (AwsError::NotSent("no route".into()), &keys, passing),
        (no_answer(), &[], passing),
    ] {
        let (room, _) = room();
        room.connect.lock().answers.push_back(Err(error.clone()));
        let outcome = prepare(&room, &role(set_by_run)).await.unwrap_err();
        assert!(expected(&outcome), "{error:?}, {set_by_run:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_was_asked_and_what_to_do() {
    let (room, _) = room();
    let error = refused(403, "AccessDenied", "User: x is not authorized to perform: sts:AssumeRole on resource: y");
    room.connect.lock().answers.push_back(Err(error));
    let Err(LaunchOutcome::Permanent(text)) = prepare(&room, &role(&[CHOSEN_ACCOUNT])).await else { panic!() };
    assert!(
        text.starts_with("An error occurred (AccessDenied) when calling the AssumeRole operation: User: x"),
        "{text}"
    );
    assert!(text.contains("trust policy"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_before_anything_is_asked() {
    let (room, _) = room();
    let credentials = AwsCredentials { profile_name: Some("prod".into()), ..AwsCredentials::default() };
    let target = LaunchTarget { cluster: "c".into(), credentials: credentials.clone(), written: None };
    assert!(matches!(prepare(&room, &credentials).await, Err(LaunchOutcome::Permanent(_))));
    assert!(matches!(room.live_tasks(&target, "x").await, Err(LaunchOutcome::Permanent(_))));
    assert!(room.connect.lock().connected.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_launch_ends_by_its_deadline_also_when_credentials_do_not_come() {
    let (room, _) = room();
    let launch = prepare(&room, &role(&[])).await.unwrap();
    room.connect.lock().hangs = true;
    let outcome = room.launch(&launch, deadline()).await;
    assert!(matches!(outcome, LaunchOutcome::Transient { cause: TransientCause::NoTime, .. }), "{outcome:?}");
}

#[tokio::test]
async fn the_account_not_used_for_longest_is_forgotten() {
    let (room, _) = room();
    let region = |n: usize| in_region(&format!("eu-west-{n}"));
    for n in 1..=REMEMBERED {
        prepare(&room, &region(n)).await.unwrap();
    }
    prepare(&room, &region(1)).await.unwrap();
    prepare(&room, &region(REMEMBERED + 1)).await.unwrap();
    assert_eq!(room.connect.lock().connected.len(), REMEMBERED + 1);
    prepare(&room, &region(1)).await.unwrap();
    assert_eq!(room.connect.lock().connected.len(), REMEMBERED + 1, "the first was used since");
    prepare(&room, &region(2)).await.unwrap();
    assert_eq!(room.connect.lock().connected.len(), REMEMBERED + 2, "the second made room");
    assert_eq!(room.others.lock().unwrap().len(), REMEMBERED);
}

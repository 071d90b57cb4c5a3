//! The calls of a poll: every request that a process sends to somebody else.

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The Prefect API.
    Prefect,
    /// ECS.
    Ecs,
    /// EC2.
    Ec2,
    /// CloudWatch Logs.
    Logs,
}

/// Which generation of Prefect an agent serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Prefect 0.15 and 1.
    One,
    /// Prefect 2 and 3.
    Three,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $service:ident, $one:literal, $three:literal;)*) => {
        /// One kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Call { $($(#[$doc])* $name),* }

        impl Call {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Who is asked.
            pub fn service(self) -> Service {
                match self { $(Self::$name => Service::$service),* }
            }

            /// Whether an agent of this generation sends it.
            pub fn is_sent_by(self, generation: Generation) -> bool {
                let (one, three) = match self { $(Self::$name => ($one, $three)),* };
                if generation == Generation::One { one } else { three }
            }
        }
    };
}

calls! {
    /// Look-up and registration.
    Connect: Prefect, true, true;
    /// The due runs.
    DueRuns: Prefect, true, true;
    /// Prefect 1: `get_runs_in_queue`. Prefect 3: the heartbeat.
    SignOfLife: Prefect, true, true;
    /// Prefect 1: what the ids of the queue are. Prefect 3: the states of runs that wait for a retry.
    Details: Prefect, true, true;
    /// Claims and cancelled runs.
    Standing: Prefect, true, true;
    /// Prefect 3: all states of a run.
    History: Prefect, false, true;
    /// What rendering needs: a template, flows and deployments.
    Records: Prefect, true, true;
    /// Runs read again.
    Reread: Prefect, true, true;
    /// Claims.
    Claim: Prefect, true, true;
    /// Prefect 1: a run that Prefect Cloud queued is made Scheduled again.
    PutBack: Prefect, true, false;
    /// Runs read before they are given back.
    LookToGiveBack: Prefect, true, true;
    /// Claims given back.
    GiveBack: Prefect, true, true;
    /// Runs read before they fail.
    LookToFail: Prefect, true, true;
    /// Runs that fail.
    Fail: Prefect, true, true;
    /// Runs read before they end as Cancelled.
    LookToCancel: Prefect, true, true;
    /// Runs that end as Cancelled.
    Cancelled: Prefect, true, true;
    /// Prefect 3: `infrastructure_pid`.
    RecordTask: Prefect, false, true;
    /// Log lines.
    Log: Prefect, true, true;
    /// Prefect 3: events and labels.
    Announce: Prefect, false, true;
    /// A run whose task has changed is read.
    Watch: Prefect, true, true;
    /// A run whose task is dead fails.
    EndDead: Prefect, true, true;
    /// Prefect 3: a run's task waits for its start.
    ProposePending: Prefect, false, true;
    /// Prefect 3: an event of a task.
    PostEvent: Prefect, false, true;
    /// The last lines of a container's log.
    ContainerLog: Logs, true, true;
    /// `RunTask`
    RunTask: Ecs, true, true;
    /// `RegisterTaskDefinition`
    RegisterTaskDefinition: Ecs, true, true;
    /// `DescribeTaskDefinition`
    DescribeTaskDefinition: Ecs, true, true;
    /// `ListTaskDefinitions`
    ListTaskDefinitions: Ecs, true, true;
    /// `DescribeTasks`
    DescribeTasks: Ecs, true, true;
    /// `ListTasks`
    ListTasks: Ecs, true, true;
    /// `StopTask`
    StopTask: Ecs, true, true;
    /// `DescribeVpcs`
    DescribeVpcs: Ec2, true, true;
    /// `DescribeSubnets`
    DescribeSubnets: Ec2, true, true;
}

impl Call {
    /// Whether it changes something: then it matters whether a fault comes before or after its effect.
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::Claim
                | Self::PutBack
                | Self::GiveBack
                | Self::Fail
                | Self::Cancelled
                | Self::EndDead
                | Self::ProposePending
                | Self::RecordTask
                | Self::RunTask
                | Self::RegisterTaskDefinition
                | Self::StopTask
        )
    }

    /// Whether one request carries several changes, of which a part may be carried out.
    pub fn is_batch(self) -> bool {
        matches!(self, Self::Claim | Self::GiveBack | Self::Fail)
    }
}

//! A Python worker on the same work pool: its claims carry no mark of ours, its tasks no token.

use super::server::{Kind, Proposal, Verdict};
use crate::call::Call;
use crate::port::{Arrival, Port};
use crate::prefect1::python_launch;
use crate::run::RunId;

/// One poll.
pub async fn poll(port: Port) {
    let due = |arrival: &mut Arrival<'_>| {
        let now = arrival.now;
        let rows = arrival.world.three.runs.iter();
        let due = rows.filter(|(_, row)| row.kind() == Kind::Scheduled && row.next.is_some_and(|next| next <= now));
        due.map(|(run, _)| *run).collect::<Vec<RunId>>()
    };
    let Ok(runs) = port.call(Call::DueRuns, due).await else { return };
    for run in runs {
        let claimed = Proposal {
            transition_id: Some(format!("python-{:?}-{run}", port.actor)),
            ..Proposal::plain(Kind::Pending, "Pending")
        };
        if propose(&port, Call::Claim, run, claimed).await != Some(Verdict::Accept) {
            continue;
        }
        propose(&port, Call::Claim, run, Proposal::plain(Kind::Pending, "Submitting")).await;
        if port.call(Call::RunTask, |arrival| python_launch(arrival, run)).await != Ok(true) {
            propose(&port, Call::Fail, run, Proposal::plain(Kind::Crashed, "Crashed")).await;
        }
    }
}

async fn propose(port: &Port, call: Call, run: RunId, proposal: Proposal) -> Option<Verdict> {
    port.call(call, |arrival| arrival.world.three.propose(run, proposal, arrival.now)).await.ok().flatten()
}

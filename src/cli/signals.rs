//! Being told to end: ctrl-c, SIGTERM.

use std::io::Error;
use tokio::sync::watch;

/// The exit code of a process that a second signal ended.
const INTERRUPTED: i32 = 130;

/// Becomes true when the process is told to end.
#[derive(Debug, Clone)]
pub(super) struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Listens from now on. The first signal asks to end, the second one ends the process at once.
    pub(super) fn listen() -> Result<Self, Error> {
        let mut signals = Signals::new()?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            tracing::info!("told to end: the current poll is finished first; once more ends at once");
            // Nobody listens any more when the loop has ended by itself.
            let _ = tell.send(true);
            signals.next().await;
            std::process::exit(INTERRUPTED);
        });
        Ok(Self(told))
    }

    pub(super) fn is_asked_for(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is asked for.
    pub(super) async fn asked_for(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // Nobody is left to ask.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[allow(clippy::unnecessary_wraps)] // As on Unix.
    fn new() -> Result<Self, Error> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

//! The thread of a client. The client's connections and runs live on it, so that they go on whatever
//! the program's own tasks do, and end in good order when the program drops them.

use std::future::Future;

use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::bug;
use crate::error::Result;
use crate::run::idle::IdleSession;

/// Tasks that wait for the thread to start them.
const TASKS_WAITING_MAX: usize = 16;

type Task = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// Starts tasks on the thread. When the last of its clones is dropped, the thread ends with its last task.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    tasks: mpsc::Sender<Task>,
}

impl Driver {
    /// *Errors:* the system gives no thread.
    pub fn start(idle: IdleSession) -> Result<Self> {
        let (tasks, waiting) = mpsc::channel(TASKS_WAITING_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| bug(format!("no runtime could be started: {error}")))?;
        std::thread::Builder::new()
            .name("tableferry".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, drive(waiting, idle)))
            .map_err(|error| bug(format!("no thread could be started: {error}")))?;
        Ok(Driver { tasks })
    }

    /// Starts what `task` makes. The future itself need not be `Send`.
    pub async fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> Result<()> {
        let task: Task = Box::new(move || Box::pin(task()));
        let sent = self.tasks.send(task).await;
        sent.map_err(|_| bug("the client's thread has ended"))
    }
}

async fn drive(mut waiting: mpsc::Receiver<Task>, idle: IdleSession) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            task = waiting.recv() => match task {
                Some(task) => drop(running.spawn_local(task())),
                None => break,
            },
            // A task that panics drops its end of the channels, which its owner notices.
            Some(_) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
    idle.close().await;
}

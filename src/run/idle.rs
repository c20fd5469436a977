//! The connection that a client of the library keeps between its loads.

use std::sync::{Arc, Mutex, PoisonError};

use super::bounds::CLOSE_WAIT;
use crate::error::Phase;
use crate::pg::session::{Session, SessionSettings};

/// Keeps one session that no run uses. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct IdleSession {
    kept: Arc<Mutex<Option<(Session, SessionSettings)>>>,
}

impl IdleSession {
    /// Takes the session if it has these settings and answers. Whatever its name is stays.
    pub async fn take(&self, settings: &SessionSettings) -> Option<Session> {
        let (session, own) = self.lock().take()?;
        let is_same = own.encoding == settings.encoding
            && own.lock_timeout == settings.lock_timeout
            && own.replica == settings.replica;
        let answers = async || session.run(Phase::Connect, "SELECT 1").await.is_ok();
        if is_same && !session.client().is_closed() && answers().await {
            return Some(session);
        }
        session.close(CLOSE_WAIT).await;
        None
    }

    /// Keeps a session whose last transaction was committed; closes it if there is one already.
    pub async fn put(&self, session: Session, settings: SessionSettings) {
        let mut rest = Some((session, settings));
        {
            let mut kept = self.lock();
            if kept.is_none() {
                *kept = rest.take();
            }
        }
        if let Some((session, _)) = rest {
            session.close(CLOSE_WAIT).await;
        }
    }

    /// Closes the session.
    pub async fn close(&self) {
        let kept = self.lock().take();
        if let Some((session, _)) = kept {
            session.close(CLOSE_WAIT).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Session, SessionSettings)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

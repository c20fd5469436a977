//! The answers that are no page.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::daemon::observed::{Observed, Question};
use crate::harmless;

/// How long the event loop may take to answer a question.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Answers that are rendered at a time.
const RENDERED_MAX: usize = 2;

/// Asks the event loop, and renders what it says.
#[derive(Debug)]
pub(super) struct Desk {
    questions: mpsc::Sender<Question>,
    rendering: Semaphore,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The event loop does not answer.
    Silent,
    /// There is no such page or job.
    NotFound(String),
    /// A value of the query that has no meaning.
    BadQuery(String),
    /// A ledger cannot be read.
    Unavailable(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Refusal::Silent => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the daemon's event loop does not answer".to_owned(),
            ),
            Refusal::NotFound(text) => (StatusCode::NOT_FOUND, text),
            Refusal::BadQuery(text) => (StatusCode::BAD_REQUEST, text),
            Refusal::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
        };
        let text = format!("{}\n", harmless::message(&text));
        (status, text).into_response()
    }
}

impl Desk {
    pub(super) fn new(questions: mpsc::Sender<Question>) -> Self {
        Desk {
            questions,
            rendering: Semaphore::new(RENDERED_MAX),
        }
    }

    /// Asks the event loop.
    pub(super) async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.questions.send(question(answer)).await.ok()?;
            answered.await.ok()
        };
        let answer = tokio::time::timeout(ANSWER_WAIT, asked).await;
        answer.ok().flatten().ok_or(Refusal::Silent)
    }

    /// What all jobs do.
    pub(super) async fn observe(&self) -> Result<Observed, Refusal> {
        self.ask(Question::Jobs).await
    }

    /// Renders on another thread.
    pub(super) async fn render<T: Send + 'static>(
        &self,
        render: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let _permit = self.rendering.acquire().await;
        let rendered = tokio::task::spawn_blocking(render).await;
        rendered.map_err(|error| {
            tracing::error!("listen: an answer could not be rendered: {error}");
            Refusal::Unavailable("the answer could not be rendered".to_owned())
        })
    }
}

/// The lines of `--json`.
pub(super) fn json_lines<'v, T: serde::Serialize + 'v>(
    values: impl Iterator<Item = &'v T>,
) -> Response {
    let mut text = String::new();
    for line in values.filter_map(|value| harmless::json_line(value).ok()) {
        text.push_str(&line);
        text.push('\n');
    }
    (
        [(header::CONTENT_TYPE, "application/x-ndjson; charset=utf-8")],
        text,
    )
        .into_response()
}

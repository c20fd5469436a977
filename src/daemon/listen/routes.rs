//! Which address shows what.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::answers::{Desk, Refusal, json_lines};
use super::headers::{self, HostCheck};
use super::history::{Histories, Wanted};
use super::{metrics, page, text_format};
use crate::daemon::observed::{Lifecycle, Observed, Question};

/// Runs that one answer lists.
const HISTORY_RUNS_MAX: usize = 1000;

/// Runs that it lists unless `limit` says otherwise, as in `tableferry history`.
const HISTORY_RUNS: usize = 50;

/// What all requests share.
struct Web {
    desk: Desk,
    histories: Histories,
}

type Shared = State<Arc<Web>>;

pub(super) fn router(questions: mpsc::Sender<Question>, is_loopback: bool) -> Router {
    let web = Arc::new(Web {
        desk: Desk::new(questions),
        histories: Histories::default(),
    });
    Router::new()
        .route("/", get(overview))
        .route("/jobs/{job}", get(job))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/metrics", get(all_metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/api/status", get(status))
        .route("/api/history", get(history))
        .fallback(async || Refusal::NotFound("there is no such page".to_owned()))
        .with_state(web)
        .layer(middleware::from_fn_with_state(
            HostCheck { is_loopback },
            headers::check_host,
        ))
        .layer(middleware::map_response(headers::harden))
}

async fn health(State(web): Shared) -> Result<&'static str, Refusal> {
    web.desk.ask(Question::Alive).await.map(|_| "ok\n")
}

/// The configuration is in force and runs are accepted. Servers are not asked: one that is down concerns its jobs
/// only.
async fn readiness(State(web): Shared) -> Result<Response, Refusal> {
    Ok(match web.desk.ask(Question::Alive).await? {
        Lifecycle::Serving => "ready\n".into_response(),
        Lifecycle::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    })
}

async fn all_metrics(State(web): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    let observed = web.desk.observe().await?;
    let format = text_format::negotiate(&headers);
    let rendered = web
        .desk
        .render(move || metrics::text(observed).map(|text| format.of(text)));
    let text = rendered
        .await?
        .map_err(|_| Refusal::Unavailable("the metrics could not be rendered".to_owned()))?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    job: Option<String>,
}

async fn status(
    State(web): Shared,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(StatusQuery { job }) = query.map_err(bad_query)?;
    let observed = web.desk.observe().await?;
    if let Some(job) = &job {
        known(&observed, job)?;
    }
    let render = move || {
        let all = observed.jobs.iter().map(|job| &job.status);
        json_lines(all.filter(|status| job.as_ref().is_none_or(|job| *job == status.job)))
    };
    web.desk.render(render).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    job: Option<String>,
    limit: Option<usize>,
}

async fn history(
    State(web): Shared,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(HistoryQuery { job, limit }) = query.map_err(bad_query)?;
    let limit = limit.unwrap_or(HISTORY_RUNS);
    if limit == 0 || limit > HISTORY_RUNS_MAX {
        let text = format!("`limit` must be from 1 to {HISTORY_RUNS_MAX}");
        return Err(Refusal::BadQuery(text));
    }
    let observed = web.desk.observe().await?;
    let wanted = Wanted { job, limit };
    let found = web.histories.read(&observed.config, wanted.clone()).await;
    match &*found {
        Err(why) => Err(Refusal::Unavailable(why.clone())),
        // Whoever reads it would take the runs for all runs.
        Ok(found) if found.is_incomplete() => {
            let why: Vec<_> = found.unread.iter().map(ToString::to_string).collect();
            Err(Refusal::Unavailable(why.join("\n")))
        }
        Ok(recorded) => {
            // A job may have a history and be configured no longer.
            if let Some(job) = wanted.job.filter(|_| recorded.runs.is_empty()) {
                known(&observed, &job)?;
            }
            let found = Arc::clone(&found);
            let render = move || json_lines(found.iter().flat_map(|recorded| &recorded.runs));
            web.desk.render(render).await
        }
    }
}

async fn overview(
    State(web): Shared,
    query: Result<Query<page::Filter>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(filter) = query.map_err(bad_query)?;
    let observed = web.desk.observe().await?;
    let render = move || page::overview(&observed, &filter);
    Ok(html(web.desk.render(render).await?))
}

async fn job(
    State(web): Shared,
    Path(job): Path<String>,
    query: Result<Query<page::Refresh>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(refresh) = query.map_err(bad_query)?;
    let observed = web.desk.observe().await?;
    known(&observed, &job)?;
    let wanted = Wanted {
        job: Some(job.clone()),
        limit: HISTORY_RUNS,
    };
    let found = web.histories.read(&observed.config, wanted).await;
    let render = move || page::job(&observed, &job, &found, &refresh);
    match web.desk.render(render).await? {
        Some(text) => Ok(html(text)),
        None => Err(Refusal::Silent),
    }
}

fn known(observed: &Observed, job: &str) -> Result<(), Refusal> {
    match observed.job(job) {
        Some(_) => Ok(()),
        None => Err(Refusal::NotFound(format!("there is no job `{job}`"))),
    }
}

fn bad_query(rejection: QueryRejection) -> Refusal {
    Refusal::BadQuery(rejection.body_text())
}

fn html(text: String) -> Response {
    let content_type = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([content_type], text).into_response()
}

async fn style() -> Response {
    let content_type = (header::CONTENT_TYPE, "text/css; charset=utf-8");
    ([content_type], page::STYLE).into_response()
}

async fn icon() -> Response {
    let content_type = (header::CONTENT_TYPE, "image/svg+xml");
    ([content_type], page::ICON).into_response()
}

//! Asks the other workers, so that any of them shows the lanes of all.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::details::PipelineDetails;
use super::lanes::{LaneRow, PipelineRow, Rows, Status, WorkerAnswer};
use super::overview::merge_errors;
use super::query::{Facts, LaneQuery, MAX_WANTED};
use super::web_config::{PEER_TIMEOUT, WebConfig};
use super::worker_view::WorkerView;
use crate::record::Timestamp;
use crate::telemetry::{ClusterView, Telemetry};
use crate::worker::CommandFlags;

/// A larger answer is not from a worker.
const MAX_BYTES: usize = 64 << 20;
const NO_CREDENTIALS: &str = "it refuses this worker's credentials: all workers need one --web-config, with a token in a file \
                              (`bearer_tokens`)";
/// Workers that are asked at the same time.
const CONCURRENCY: usize = 16;

/// Asks other workers, with the credentials that this one asks for.
#[derive(Debug)]
pub(super) struct Fleet(pub Arc<WebConfig>);

impl Fleet {
    /// Returns the lanes or the pipelines of this worker, or of all workers.
    pub async fn status(
        &self,
        telemetry: &Telemetry,
        flags: &CommandFlags,
        query: &LaneQuery,
        rows: Rows,
        all: bool,
    ) -> Status {
        let snapshot = telemetry.snapshot();
        let now = Timestamp::now();
        let view = if all { snapshot.cluster.as_ref() } else { None };
        let Some(view) = view else { return Status::of(&snapshot, flags, query, rows, now) };
        // Any of the page's rows may be on any worker: each sends its rows up to the end of the page.
        let page = query.rows();
        let limit = query.limit.map(|_| page.end.min(MAX_WANTED));
        let part = LaneQuery { page: 1, limit, ..query.clone() };
        let mut status = Status::of(&snapshot, flags, &part, rows, now);
        status.lanes.iter_mut().for_each(|lane| lane.worker = Some(view.worker.clone()));
        status.pipelines.iter_mut().for_each(|row| row.worker = Some(view.worker.clone()));
        let asked = LaneQuery { all_workers: Some(false), without_files: true, refresh: None, ..part.clone() };
        let path = match rows {
            Rows::Lanes => format!("/api/v1/lanes{}", asked.link()),
            Rows::Pipelines => format!("/api/v1/pipelines{}", asked.link()),
        };
        let mut asking = Vec::new();
        for worker in view.workers.keys() {
            if *worker != view.worker {
                asking.push(self.ask_worker(view, worker, &path));
            }
        }
        let mut answers: Vec<_> = stream::iter(asking).buffer_unordered(CONCURRENCY).collect().await;
        answers.sort_by(|(one, _), (other, _)| one.worker.cmp(&other.worker));
        for (answer, theirs) in answers {
            if let Some(theirs) = theirs {
                let worker = || Some(answer.worker.clone());
                status.summary.merge(&theirs.summary);
                status.matching += theirs.matching.max(theirs.lanes.len());
                status.lanes.extend(theirs.lanes.into_iter().map(|lane| LaneRow { worker: worker(), ..lane }));
                status
                    .pipelines
                    .extend(theirs.pipelines.into_iter().map(|row| PipelineRow { worker: worker(), ..row }));
                merge_errors(&mut status.errors, theirs.errors);
            }
            status.workers.push(answer);
        }
        status.lanes.sort_by(|one, other| query.order(&Facts::of_lane(one), &Facts::of_lane(other)));
        status.lanes = status.lanes.into_iter().skip(page.start).take(page.len()).collect();
        status.pipelines.sort_by(|one, other| query.order(&Facts::of_pipeline(one), &Facts::of_pipeline(other)));
        status.pipelines = status.pipelines.into_iter().skip(page.start).take(page.len()).collect();
        status
    }

    async fn ask_worker(&self, view: &ClusterView, worker: &str, path: &str) -> (WorkerAnswer, Option<Status>) {
        let address = view.addresses.get(worker).cloned();
        let answer =
            |problem, summary| WorkerAnswer { worker: worker.to_owned(), address: address.clone(), problem, summary };
        match self.ask::<Status>(view, worker, path).await {
            Ok(Some(status)) => (answer(None, Some(status.summary.clone())), Some(status)),
            Ok(None) => (answer(Some("its version has no such list".to_owned()), None), None),
            Err(problem) => (answer(Some(problem), None), None),
        }
    }

    /// Returns a pipeline of this worker, else of the worker that runs it. `None` if no worker knows it.
    pub async fn pipeline(
        &self,
        telemetry: &Telemetry,
        worker: &WorkerView,
        pipeline: &str,
    ) -> Option<PipelineDetails> {
        let own = PipelineDetails::of(telemetry, worker, pipeline, Timestamp::now())?;
        if !own.lanes.is_empty() {
            return Some(own);
        }
        let Some(view) = telemetry.cluster() else { return Some(own) };
        // The pipeline's shard may just be moving, so that no worker is known to have it.
        let holder = own.files.iter().find_map(|file| file.worker.clone());
        let name = utf8_percent_encode(pipeline, NON_ALPHANUMERIC);
        let path = format!("/api/v1/pipelines/{name}?workers=this");
        let mut asking = Vec::new();
        for worker in view.workers.keys() {
            if *worker != view.worker && holder.as_ref().is_none_or(|holder| holder == worker) {
                asking.push(self.ask::<PipelineDetails>(&view, worker, &path));
            }
        }
        let answers: Vec<_> = stream::iter(asking).buffer_unordered(CONCURRENCY).collect().await;
        let found = answers.into_iter().filter_map(|answer| answer.ok().flatten()).find(|it| !it.lanes.is_empty());
        // This worker knows the pipeline's file, and which worker should have answered.
        Some(found.unwrap_or(own))
    }

    /// Asks a worker for a path. `None` if the worker does not know it.
    async fn ask<T: DeserializeOwned>(
        &self,
        view: &ClusterView,
        worker: &str,
        path: &str,
    ) -> Result<Option<T>, String> {
        let address = view.addresses.get(worker).ok_or("its address is unknown: see `--advertise`")?;
        let peers = self.0.peers();
        let failed = |error: reqwest::Error| peers.describe(&error, PEER_TIMEOUT);
        let mut response = peers.ask(address, path).await.map_err(failed)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            401 => return Err(NO_CREDENTIALS.to_owned()),
            status => return Err(format!("it answers with status {status}")),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                return Err(format!("its answer is larger than {MAX_BYTES} bytes"));
            }
        }
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|_| "its answer is not from a worker of this version".to_owned())
    }
}

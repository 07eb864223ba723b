use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::context::WorkerContext;
use super::spec::LaneSpec;
use crate::source::{SeenScope, named_scopes};

/// Wait before the comparison: the first requests of the lanes go first.
pub const FIRST_CHECK: Duration = Duration::from_secs(1);
/// Wait before the next attempt while the console does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(600);
/// Whether the token sees by now what it did not see.
const UNSEEN_INTERVAL: Duration = Duration::from_secs(3600);
/// What was compared is not compared again: longer than a process runs.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What a comparison has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Nothing that is wrong: the token sees all of it, or may not say so.
    Nothing,
    Unseen(Arc<str>),
}

/// Compares the scope of the lanes' pipeline with what its token sees, once for each console, token and set of ids.
/// Returns the wait before the next comparison.
pub async fn check(context: Arc<WorkerContext>, lanes: Vec<Arc<LaneSpec>>) -> Duration {
    let Some(lane) = lanes.first() else { return NEVER };
    let pipeline = &lane.id.pipeline;
    if named_scopes(&lane.console).next().is_none() {
        context.warnings.set_unseen(pipeline, None);
        return NEVER;
    }
    let comparison = context.warnings.comparison(&lane.console, UNSEEN_INTERVAL);
    let compared = comparison.get_or_try_init(|| compare(&context, lane)).await;
    let unseen = match compared {
        Ok(Compared::Unseen(text)) => Some(text.clone()),
        Ok(Compared::Nothing) | Err(_) => None,
    };
    let pause = match &compared {
        Ok(Compared::Nothing) => NEVER,
        Ok(Compared::Unseen(_)) => UNSEEN_INTERVAL,
        Err(NotKnown) => RETRY_INTERVAL,
    };
    context.warnings.set_unseen(pipeline, unseen);
    pause
}

/// The console did not answer.
struct NotKnown;

async fn compare(context: &WorkerContext, lane: &LaneSpec) -> Result<Compared, NotKnown> {
    let pipeline = &lane.id.pipeline;
    let client = context.client(pipeline, &lane.console).map_err(|_| NotKnown)?;
    let mut texts = Vec::new();
    for (name, level, ids) in named_scopes(&lane.console) {
        match SeenScope::of(&client, name, level, ids).await {
            SeenScope::All(_) => {}
            SeenScope::Lacks(text) => texts.push(text),
            SeenScope::Unknown { reason, may_pass } => {
                debug!(%pipeline, name, reason, "it is not known whether the token sees the scope");
                if may_pass {
                    return Err(NotKnown);
                }
            }
        }
    }
    Ok(match texts.is_empty() {
        true => Compared::Nothing,
        false => Compared::Unseen(texts.join("; ").into()),
    })
}

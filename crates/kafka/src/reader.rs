//! Reads of a checkpoint topic, which lanes that start together share.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_failure::Failure;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::sleep;

use super::client_settings::on_thread;
use super::topic::Topic;
use super::topic_content::TopicContent;

/// Time for which a read waits for more requests.
const COALESCE: Duration = Duration::from_millis(20);
/// Capacity of the queue of read requests; further requests wait.
const REQUESTS: usize = 1_024;

type ReadResult = Result<Arc<TopicContent>, Failure>;

#[derive(Debug)]
struct Request {
    topic: Topic,
    keys: HashSet<String>,
    reply: oneshot::Sender<ReadResult>,
}

/// Reader of a checkpoint topic. Its task ends with the reader.
#[derive(Debug, Default)]
pub(super) struct Reader(OnceCell<mpsc::Sender<Request>>);

impl Reader {
    /// Reads the records with these keys, and the names of all lanes, of a topic that a producer session has found or
    /// created. The result is newer than the call.
    pub(super) async fn read(&self, topic: &Topic, keys: impl IntoIterator<Item = String>) -> ReadResult {
        let found = self.read_if_there(topic, keys).await?;
        if found.is_missing {
            return Err(Failure::transient(format!("{} does not exist any more", topic.title)));
        }
        Ok(found)
    }

    /// Reads without a producer session. A topic that does not exist has no records.
    pub(super) async fn read_if_there(&self, topic: &Topic, keys: impl IntoIterator<Item = String>) -> ReadResult {
        let (reply, found) = oneshot::channel();
        let request = Request { topic: topic.clone(), keys: keys.into_iter().collect(), reply };
        let requests = self.0.get_or_init(|| async {
            let (sender, requests) = mpsc::channel(REQUESTS);
            tokio::spawn(serve(requests));
            sender
        });
        let ended = || Failure::transient("the task that reads checkpoints ended");
        requests.await.send(request).await.map_err(|_| ended())?;
        found.await.map_err(|_| ended())?
    }
}

/// Serves the requests. A request that arrives during a read waits for the next read, since a result must be newer than
/// its request.
async fn serve(mut requests: mpsc::Receiver<Request>) {
    while let Some(Request { topic, mut keys, reply }) = requests.recv().await {
        sleep(COALESCE).await;
        let mut replies = vec![reply];
        while let Ok(more) = requests.try_recv() {
            keys.extend(more.keys);
            replies.push(more.reply);
        }
        let found = on_thread(move || read(&topic, keys)).await.flatten().map(Arc::new);
        for reply in replies {
            // The lane may have stopped waiting.
            let _ = reply.send(found.clone());
        }
    }
}

fn read(topic: &Topic, keys: HashSet<String>) -> Result<TopicContent, Failure> {
    let mut found = TopicContent::of(keys);
    let exists = topic.scan(|message| {
        found.add(message);
        ControlFlow::Continue(())
    })?;
    found.is_missing = !exists;
    Ok(found)
}

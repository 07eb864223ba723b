//! A test double: a transport whose responses a test writes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use s1_forwarder_record::{Clock, Timestamp};

use super::{Request, Response, Transport, TransportError, TruncatedBody, within};

type Answered = Result<Response, TransportError>;

/// Gives each request to a function. Like a real transport, it keeps to `timeout`, and reads at most `max_bytes` of a
/// response body.
#[derive(Clone)]
pub struct ScriptedTransport(Arc<dyn Fn(Request) -> BoxFuture<'static, Answered> + Send + Sync>);

impl fmt::Debug for ScriptedTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ScriptedTransport")
    }
}

impl ScriptedTransport {
    pub fn new<F: Future<Output = Answered> + Send + 'static>(
        answer: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }
}

impl Transport for ScriptedTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Answered> {
        let Request { max_bytes, timeout, .. } = request;
        let answer = (self.0)(request);
        Box::pin(async move {
            let response = within(timeout, answer).await?;
            if response.body.len() > max_bytes {
                let cut = TruncatedBody::of(&response.body, max_bytes).with_headers(&response.headers);
                return Err(TransportError::TooLarge(cut));
            }
            Ok(response)
        })
    }
}

/// Returns the headers of an answer from a console whose time is `time`.
pub fn dated(time: Timestamp) -> HeaderMap {
    let since_1970 = time.since(Timestamp::default());
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + since_1970);
    HeaderMap::from_iter([(header::DATE, HeaderValue::from_str(&date).unwrap_or(HeaderValue::from_static("")))])
}

/// A list of response bodies, each given once with status 200, and the requests so far.
#[derive(Debug, Default)]
pub struct ResponseQueue {
    responses: Mutex<VecDeque<Bytes>>,
    requests: Mutex<Vec<String>>,
}

impl ResponseQueue {
    /// Returns a transport that answers from the list. A request beyond the end of the list panics, which ends the
    /// test.
    pub fn transport(self: &Arc<Self>) -> ScriptedTransport {
        let queue = self.clone();
        ScriptedTransport::new(move |request| std::future::ready(queue.answer(request)))
    }

    /// Returns a transport that answers from the list, with the time of `clock` in each answer.
    pub fn dated_transport(self: &Arc<Self>, clock: Clock) -> ScriptedTransport {
        let queue = self.clone();
        ScriptedTransport::new(move |request| {
            let answer = queue.answer(request).map(|response| Response { headers: dated(clock.now()), ..response });
            std::future::ready(answer)
        })
    }

    pub fn push(&self, response: impl Into<Bytes>) {
        self.responses.lock().push_back(response.into());
    }

    pub fn is_empty(&self) -> bool {
        self.responses.lock().is_empty()
    }

    /// Returns the body of each POST and the query of each GET.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    fn answer(&self, request: Request) -> Answered {
        let query = request.url.query().unwrap_or_default().to_owned();
        let question = request.body.map_or(query, |body| String::from_utf8_lossy(&body).into_owned());
        self.requests.lock().push(question);
        let body = self.responses.lock().pop_front();
        let Some(body) = body else { panic!("no response is left in the script") };
        Ok(Response { status: StatusCode::OK, headers: HeaderMap::new(), body })
    }
}

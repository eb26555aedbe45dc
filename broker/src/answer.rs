//! Owns how long and how large a broker's answer may be. A broker is not trusted, so neither is it
//! left to decide how much of our memory or patience it takes. Does not read answers.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use kube::client::Body;
use tokio::time::timeout;
use tower::BoxError;

/// Largest answer that is read. A page of eight objects fits even where each has the 1.5 MiB that
/// an API server takes at most.
const MOST_BYTES: usize = 16 << 20;
/// How long to wait for TLS, the request and the answer's head, then for its end.
const HEAD: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(30);

/// An HTTPS client without bounds of its own.
pub(crate) type Http = legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// Why an answer was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("an answer of more than {} MiB", MOST_BYTES >> 20)]
    TooLong,
}

/// Sends a request and reads the answer whole, except that of a watch: whoever reads that bounds it.
pub(crate) async fn bounded(
    http: Http,
    request: Request<Body>,
) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")));
    let head = timeout(HEAD, http.request(request)).await.map_err(|_| AnswerError::Late(HEAD))?;
    let (parts, body) = head?.into_parts();
    if is_watch && parts.status.is_success() {
        return Ok(Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync()));
    }
    let whole = timeout(WHOLE, Limited::new(body, MOST_BYTES).collect()).await;
    let bytes = whole.map_err(|_| AnswerError::Late(WHOLE))?.map_err(|error| {
        if error.is::<LengthLimitError>() { AnswerError::TooLong.into() } else { error }
    })?;
    let body = Full::new(bytes.to_bytes()).map_err(|never| match never {});
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Says whether the answer was longer than is read.
pub(crate) fn is_too_long(error: &kube::Error) -> bool {
    let kube::Error::Service(cause) = error else { return false };
    cause.downcast_ref::<AnswerError>() == Some(&AnswerError::TooLong)
}

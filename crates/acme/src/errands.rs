//! Requests to an authority, by the gateway's own client for errands: with bounds, and to no private
//! address but the one that the configuration names.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use portcullis_fetch::{Allow, same_host, send};
use portcullis_tls::Client;

use crate::{Failed, Wanted};

/// Authorities take their time over a signature.
const PATIENCE: Duration = Duration::from_secs(30);

/// How an authority is reached.
pub(crate) type Reach = Box<dyn Fn(&Wanted) -> Result<Box<dyn HttpClient>, Failed> + Send + Sync>;

struct Errands {
    client: Client,
    directory: String,
}

/// By the network.
pub(crate) fn reach(wanted: &Wanted) -> Result<Box<dyn HttpClient>, Failed> {
    let client = Client::new(wanted.ca.as_deref(), None, "http/1.1")?;
    Ok(Box::new(Errands { client, directory: wanted.directory.clone() }))
}

/// For how long an authority that refuses wants to be left alone.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Duration>>);

impl Asked {
    /// What was asked for since the last look.
    pub(crate) fn take(&self) -> Duration {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hear(&self, headers: &HeaderMap) {
        let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let seconds = value.and_then(|value| value.trim().parse().ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            seconds.map_or(Duration::ZERO, Duration::from_secs);
    }
}

/// Hears `Retry-After` (RFC 8555 section 6.6): the library tells a refusal without its headers.
pub(crate) struct Heard {
    pub(crate) client: Box<dyn HttpClient>,
    pub(crate) asked: Asked,
}

impl HttpClient for Heard {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (answered, asked) = (self.client.request(request), self.asked.clone());
        Box::pin(async move {
            let answer = answered.await?;
            if answer.parts.status.is_client_error() || answer.parts.status.is_server_error() {
                asked.hear(&answer.parts.headers);
            }
            Ok(answer)
        })
    }
}

impl HttpClient for Errands {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.client.clone();
        let url = request.uri().to_string();
        let private = same_host(&self.directory, &url);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let (request, allow) =
                (Request::from_parts(head, body), Allow { http: false, private });
            match send(request, allow, Some(&client), PATIENCE).await {
                Ok(answer) => Ok(BytesResponse::from(answer.map(Full::new))),
                Err(error) => Err(Error::Other(format!("{url}: {error}").into())),
            }
        })
    }
}

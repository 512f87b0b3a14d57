//! Requests to an authority, by the gateway's own client for errands: with bounds, and to no private
//! address but the one that the configuration names.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use portcullis_fetch::{Allow, same_host, send};
use portcullis_tls::Client;

/// Authorities take their time over a signature.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Errands {
    pub(crate) client: Client,
    pub(crate) directory: String,
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

//! The demo's services: a token issuer, users, orders and inventory. Each speaks only its inner
//! shape; the orders service can be told to fail or to be slow.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis_core::Clock;
use portcullis_core::exchange::query_pairs;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Which of the services.
#[derive(Clone, Copy)]
pub enum Part {
    Issuer,
    Users,
    Orders,
    Inventory,
}

/// What the services share.
pub struct Shop {
    issuer: String,
    key: EncodingKey,
    jwks: Value,
    mood: AtomicU8,
    orders: AtomicU64,
}

/// How the orders service is.
const WELL: u8 = 0;
const FAILING: u8 = 1;
const SLOW: u8 = 2;

/// How long an answer of a slow service takes.
const SLOWNESS: Duration = Duration::from_secs(3);

type Answer = (StatusCode, Value);

impl Shop {
    /// A shop whose tokens say this `iss`, signed by a key that lives as long as it.
    pub fn new(issuer: String) -> Result<Self, String> {
        let cannot = |_| "cannot make the issuer's key".to_owned();
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(cannot)?;
        let public = pair.public_key();
        let pkcs8 = pair.as_der().map_err(cannot)?;
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let jwks = json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "demo",
            "n": text(public.modulus().big_endian_without_leading_zero()),
            "e": text(public.exponent().big_endian_without_leading_zero()),
        }] });
        let key = EncodingKey::from_rsa_der(&pkcs1(pkcs8.as_ref())?);
        Ok(Self { issuer, key, jwks, mood: AtomicU8::new(WELL), orders: AtomicU64::default() })
    }

    fn token(&self, query: &str) -> String {
        let asked =
            |name: &str| query_pairs(query).find(|(key, _)| key == name).map(|(_, value)| value);
        let now = i64::try_from(Clock::system().unix_seconds()).unwrap_or(0);
        let lasts: i64 = asked("ttl").and_then(|ttl| ttl.parse().ok()).unwrap_or(3600);
        let permissions = asked("permissions").unwrap_or("orders:read,orders:write".to_owned());
        let subject = asked("sub").unwrap_or("u-42".to_owned());
        let claims = json!({
            "iss": self.issuer, "aud": "api://gateway", "sub": subject,
            "email": format!("{subject}@shop.example"),
            "tier": asked("tier").unwrap_or("standard".to_owned()),
            "roles": ["customer"],
            "permissions": permissions.split(',').collect::<Vec<_>>(),
            "iat": now, "exp": now + lasts,
        });
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some("demo".to_owned());
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap_or_default()
    }

    fn order(&self, body: &Value) -> Answer {
        let number = self.orders.fetch_add(1, Ordering::Relaxed) + 1;
        let empty = Vec::new();
        let items = body.get("items").and_then(Value::as_array).unwrap_or(&empty);
        let figure =
            |item: &Value, name: &str| item.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let total: f64 =
            items.iter().map(|item| figure(item, "price") * figure(item, "quantity")).sum();
        let named = items.iter().map(|item| {
            json!({
                "productId": item.get("productId"), "productName": "Lamp",
                "quantity": item.get("quantity"), "price": item.get("price"),
            })
        });
        let order = json!({
            "id": format!("o-{number}"), "status": "created", "createdAt": "2026-11-24T09:00:00Z",
            "userId": body.get("userId"), "items": named.collect::<Vec<_>>(), "total": total,
            "shippingAddress": body.get("shippingAddress"), "estimatedDelivery": "2026-11-27",
        });
        (StatusCode::CREATED, order)
    }
}

/// The RSAPrivateKey (RFC 8017) inside a PKCS#8 document (RFC 5958), which is its last part.
fn pkcs1(pkcs8: &[u8]) -> Result<Vec<u8>, String> {
    let start = pkcs8.windows(4).skip(4).position(|bytes| matches!(bytes, [0x30, 0x82, _, _]));
    let inner = start.and_then(|at| pkcs8.get(at + 4..));
    inner.map(<[u8]>::to_vec).ok_or_else(|| "cannot read the issuer's key".to_owned())
}

/// Serves one of the services until the process ends.
pub async fn serve(listener: TcpListener, part: Part, shop: Arc<Shop>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shop = Arc::clone(&shop);
        let service =
            hyper::service::service_fn(move |request| answer(part, Arc::clone(&shop), request));
        tokio::task::spawn_local(async move {
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    part: Part,
    shop: Arc<Shop>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if matches!(part, Part::Issuer) && path == "/token" {
        return Ok(Response::new(Full::from(shop.token(head.uri.query().unwrap_or_default()))));
    }
    let bytes = Limited::new(body, 1 << 20).collect().await.map(|body| body.to_bytes());
    let body = serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or(Value::Null);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (status, body) = match part {
        Part::Issuer if path == "/.well-known/jwks.json" => (StatusCode::OK, shop.jwks.clone()),
        Part::Users => users(&segments),
        Part::Orders => orders(&shop, &head.method, &segments, &body).await,
        Part::Inventory => inventory(&segments),
        Part::Issuer => nowhere(),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn nowhere() -> Answer {
    (StatusCode::NOT_FOUND, json!({ "error": "not here" }))
}

fn users(path: &[&str]) -> Answer {
    match path {
        ["users", id] => (
            StatusCode::OK,
            json!({
                "id": id, "name": "Ada", "email": format!("{id}@shop.example"), "passwordHash": "never shown",
            }),
        ),
        _ => nowhere(),
    }
}

async fn orders(shop: &Shop, method: &Method, path: &[&str], body: &Value) -> Answer {
    let moods = [("heal", WELL), ("fail", FAILING), ("slow", SLOW)];
    match (method, path) {
        (&Method::POST, ["demo", word]) => {
            let Some((_, mood)) = moods.iter().find(|(known, _)| known == word) else {
                return nowhere();
            };
            shop.mood.store(*mood, Ordering::Relaxed);
            return (StatusCode::OK, json!({ "orders": word }));
        }
        (&Method::GET, ["healthz"]) => return (StatusCode::OK, json!({ "orders": "there" })),
        _ => {}
    }
    match shop.mood.load(Ordering::Relaxed) {
        FAILING => return (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": "out of order" })),
        SLOW => tokio::time::sleep(SLOWNESS).await,
        _ => {}
    }
    match (method, path) {
        (&Method::POST, ["orders"]) => shop.order(body),
        (&Method::GET, ["users", _, "orders"]) => (
            StatusCode::OK,
            json!([
                { "id": "o-1", "status": "delivered", "total": 40, "items": [{ "productId": "p-1" }] },
                { "id": "o-2", "status": "sent", "total": 2.5, "items": [] },
            ]),
        ),
        _ => nowhere(),
    }
}

fn inventory(path: &[&str]) -> Answer {
    match path {
        ["users", _, "recommendations"] => {
            (StatusCode::OK, json!(["p-1", "p-2", "p-3", "p-4", "p-5", "p-6"]))
        }
        ["products"] => (StatusCode::OK, json!([{ "id": "p-1", "name": "Lamp" }])),
        ["products", id] => (StatusCode::OK, json!({ "id": id, "name": "Lamp" })),
        _ => nowhere(),
    }
}

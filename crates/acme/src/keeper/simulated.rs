//! An authority that is a mood behind the seam of `errands.rs`, and a time that jumps: what no real authority does when
//! a test wants it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error};
use portcullis_core::metrics::Metrics;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use serde_json::{Value, json};
use x509_cert::der::Decode as _;
use x509_cert::request::CertReq;

use super::*;
use crate::Challenge;

const HOST: &str = "shop.example";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How the authority is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    /// Its certificates ended so long ago.
    Behind(Duration),
    /// Asked too often, and when to ask again.
    Limited(Option<u64>),
    /// The same, said while an order is looked at.
    LimitedLater,
    /// Its orders never become ready.
    Pending,
    /// Its orders are never done, and it says how often to look.
    Processing(Option<u64>),
    /// It knows no such contact.
    NoContact,
}

/// What it was asked.
struct Desk {
    mood: Mood,
    orders: usize,
    /// Looks at the order.
    looks: usize,
    /// What it was told of the account, in order.
    contacts: Vec<Value>,
    certificate: String,
}

#[derive(Clone)]
struct Authority(Arc<Mutex<Desk>>);

/// The key of somebody else's request.
struct Theirs(Vec<u8>);

impl PublicKeyData for Theirs {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    fn new(mood: Mood) -> Self {
        let (contacts, certificate) = (Vec::new(), String::new());
        Self(Arc::new(Mutex::new(Desk { mood, orders: 0, looks: 0, contacts, certificate })))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap()
    }
}

impl HttpClient for Authority {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let own = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let payload = match body.is_empty() {
                true => Value::Null,
                false => {
                    let signed: Value = serde_json::from_slice(&body).unwrap();
                    let payload = BASE64.decode(signed["payload"].as_str().unwrap()).unwrap();
                    serde_json::from_slice(&payload).unwrap_or_default()
                }
            };
            let answer =
                own.desk().answer(&path, &payload).map(|text| Full::new(Bytes::from(text)));
            Ok(BytesResponse::from(answer))
        })
    }
}

impl Desk {
    fn answer(&mut self, path: &str, payload: &Value) -> Response<String> {
        let at = |path: &str| format!("https://ca.example{path}");
        let answer = Response::builder().header("replay-nonce", "n");
        let said =
            |answer: http::response::Builder, value: Value| answer.body(value.to_string()).unwrap();
        match path {
            "/dir" => {
                let urls =
                    [("newNonce", "/nonce"), ("newAccount", "/accounts"), ("newOrder", "/orders")];
                said(
                    answer,
                    urls.into_iter()
                        .map(|(name, path)| (name.to_owned(), json!(at(path))))
                        .collect(),
                )
            }
            "/accounts" => {
                self.contacts.push(payload["contact"].clone());
                said(
                    answer.status(201).header("location", at("/account")),
                    json!({ "status": "valid" }),
                )
            }
            "/account" if self.mood == Mood::NoContact => refused("invalidContact", None),
            "/account" => {
                self.contacts.push(payload["contact"].clone());
                said(answer, json!({ "status": "valid" }))
            }
            "/orders" => {
                self.orders += 1;
                match self.mood {
                    Mood::Limited(again) => refused("rateLimited", again),
                    _ => said(answer.status(201).header("location", at("/order")), order("ready")),
                }
            }
            "/proof" => {
                let identifier = json!({ "type": "dns", "value": HOST });
                said(
                    answer,
                    json!({ "identifier": identifier, "status": "valid", "challenges": [] }),
                )
            }
            "/finalize" => {
                self.certificate = self.sign(payload["csr"].as_str().unwrap());
                said(answer, order("processing"))
            }
            "/order" => {
                self.looks += 1;
                let status = match self.mood {
                    Mood::LimitedLater => return refused("rateLimited", None),
                    Mood::Pending => "pending",
                    _ if self.certificate.is_empty() => "ready",
                    Mood::Processing(_) => "processing",
                    _ => "valid",
                };
                let answer = match self.mood {
                    Mood::Processing(Some(again)) => answer.header("retry-after", again),
                    _ => answer,
                };
                said(answer, order(status))
            }
            "/certificate" => answer.body(std::mem::take(&mut self.certificate)).unwrap(),
            _ => answer.body(String::new()).unwrap(),
        }
    }

    /// The certificate for a request, of 90 days.
    fn sign(&self, request: &str) -> String {
        let request = CertReq::from_der(&BASE64.decode(request).unwrap()).unwrap();
        let key = Theirs(request.info.public_key.subject_public_key.raw_bytes().to_vec());
        let now = Clock::system().wall();
        let end = match self.mood {
            Mood::Behind(ago) => now - ago,
            _ => now + 90 * DAY,
        };
        let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
        (params.not_before, params.not_after) = ((end - 90 * DAY).into(), end.into());
        let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
        params.signed_by(&key, &issuer).unwrap().pem()
    }
}

fn order(status: &str) -> Value {
    let at = |path: &str| format!("https://ca.example{path}");
    json!({
        "status": status, "authorizations": [at("/proof")], "finalize": at("/finalize"),
        "certificate": at("/certificate"),
    })
}

fn refused(why: &str, again: Option<u64>) -> Response<String> {
    let kind = format!("urn:ietf:params:acme:error:{why}");
    let answer = Response::builder().status(429).header("replay-nonce", "n");
    let answer = match again {
        Some(again) => answer.header("retry-after", again),
        None => answer,
    };
    answer.body(json!({ "type": kind, "detail": "no" }).to_string()).unwrap()
}

/// A keeper with a folder of its own, whose authority is simulated.
struct House {
    authority: Authority,
    keeper: Arc<Keeper>,
    folder: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl House {
    fn new(name: &str, mood: Mood) -> Self {
        let folder = format!("portcullis-keeper-{name}-{}", std::process::id());
        let (authority, folder) = (Authority::new(mood), std::env::temp_dir().join(folder));
        let keeper = keeper(&authority, &folder, None);
        Self { authority, keeper, folder }
    }

    /// With another contact, as after a change of the configuration.
    fn changed(&mut self, contact: Option<&str>) {
        self.keeper = keeper(&self.authority, &self.folder, contact);
    }

    /// Tends the certificates for that long.
    async fn keep(&self, time: Duration) {
        let kept = keep(Arc::downgrade(&self.keeper), Arc::clone(&self.keeper.wake));
        assert!(tokio::time::timeout(time, kept).await.is_err(), "it does not end");
    }

    fn outcomes(&self) -> [u64; 2] {
        self.keeper.outcomes[HOST].each_ref().map(Counter::value)
    }

    fn shown(&self) -> Option<String> {
        fs::read_to_string(self.keeper.store.certificate(HOST)).ok()
    }
}

fn keeper(authority: &Authority, folder: &Path, contact: Option<&str>) -> Arc<Keeper> {
    let wanted = Wanted {
        hosts: vec![HOST.to_owned()],
        directory: "https://ca.example/dir".to_owned(),
        ca: None,
        contact: contact.map(str::to_owned),
        challenge: Challenge::Http01,
        folder: folder.to_owned(),
    };
    let metrics = Metrics::default();
    let outcomes = ["good", "failed"].map(|outcome| metrics.counter(&ORDERS, &[HOST, outcome]));
    let authority = authority.clone();
    Arc::new(Keeper {
        store: Arc::new(Store::new(folder, &wanted.directory)),
        wanted,
        clock: Clock::of(|| tokio::time::Instant::now().into_std()),
        wake: Arc::default(),
        outcomes: HashMap::from([(HOST.to_owned(), outcomes)]),
        reach: Box::new(move |_| Ok(Box::new(authority.clone()))),
        asked: Asked::default(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_over_already_is_asked_for_ever_less_often() {
    let house = House::new("over", Mood::Behind(DAY));
    house.keep(13 * MINUTE - Duration::from_secs(1)).await; // 0, 1, 4, 13
    assert_eq!((house.outcomes(), house.authority.desk().orders), ([0, 3], 3));
    house.authority.desk().mood = Mood::Well;
    house.keep(MINUTE).await;
    assert_eq!(house.outcomes(), [1, 3], "once it is right again");
    house.keep(50 * DAY).await;
    assert_eq!(house.authority.desk().orders, 4);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_over_takes_no_place_of_one_that_is_not() {
    let house = House::new("worse", Mood::Well);
    let soon = Clock::system().wall() + DAY;
    let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
    (params.not_before, params.not_after) = ((soon - 90 * DAY).into(), soon.into());
    let key = KeyPair::generate().unwrap();
    let old = format!("{}{}", params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    drop(house.keeper.store.lock().unwrap());
    house.keeper.store.keep_certificate(HOST, &old).unwrap();
    house.authority.desk().mood = Mood::Behind(DAY);
    house.keep(MINUTE / 2).await;
    assert_eq!((house.outcomes(), house.shown()), ([0, 1], Some(old)));
    house.authority.desk().mood = Mood::Well;
    house.keep(MINUTE / 2).await;
    assert_eq!(house.outcomes(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_asked_too_often_waits_for_an_hour_or_as_long_as_it_is_told() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    for (mood, pause) in [
        (Mood::Limited(None), HOUR),
        (Mood::Limited(Some(5)), HOUR),
        (Mood::LimitedLater, HOUR),
        (Mood::Limited(Some(30 * 60 * 60)), 30 * HOUR),
        (Mood::Limited(Some(u64::MAX)), WEEK),
    ] {
        let house = House::new("limited", mood);
        let kept = keep(Arc::downgrade(&house.keeper), Arc::clone(&house.keeper.wake));
        let asked = || house.authority.desk().orders;
        let mut kept = std::pin::pin!(kept);
        assert!(tokio::time::timeout(pause - MINUTE, &mut kept).await.is_err());
        assert_eq!(asked(), 1, "{mood:?}");
        assert!(tokio::time::timeout(2 * MINUTE, &mut kept).await.is_err());
        assert_eq!(asked(), 2, "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_never_ends_is_given_up() {
    for mood in [Mood::Pending, Mood::Processing(None), Mood::Processing(Some(1))] {
        let house = House::new("endless", mood);
        house.keep(PATIENCE + MINUTE / 2).await;
        assert_eq!((house.outcomes(), house.authority.desk().orders), ([0, 1], 1), "{mood:?}");
        let looks = house.authority.desk().looks;
        assert!((5..400).contains(&looks), "{mood:?}: it looked {looks} times");
        assert!(house.keeper.store.lock().unwrap().is_some(), "another process may order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_changes_is_told_once_and_stops_no_order() {
    let mut house = House::new("contact", Mood::Well);
    house.changed(Some("one@shop.example"));
    house.keep(HOUR).await;
    let told = |house: &House| house.authority.desk().contacts.last().cloned().unwrap();
    assert_eq!(told(&house), json!(["mailto:one@shop.example"]));
    for contact in [Some("two@shop.example"), None] {
        house.changed(contact);
        house.keep(HOUR).await;
        house.changed(contact);
        house.keep(HOUR).await;
        let mail: Vec<_> = contact.iter().map(|address| format!("mailto:{address}")).collect();
        assert_eq!(told(&house), json!(mail));
    }
    assert_eq!(house.authority.desk().contacts.len(), 3, "each once");
    // One that is refused is told again, with the next order, which is made all the same.
    house.authority.desk().mood = Mood::NoContact;
    house.changed(Some("three"));
    fs::remove_file(house.keeper.store.certificate(HOST)).unwrap();
    house.keep(HOUR).await;
    assert_eq!((house.outcomes(), house.authority.desk().orders), ([1, 0], 2));
    house.authority.desk().mood = Mood::Well;
    house.keep(HOUR).await;
    assert_eq!(told(&house), json!(["mailto:three"]));
}

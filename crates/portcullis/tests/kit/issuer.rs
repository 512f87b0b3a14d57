//! A token issuer: keys, a key-set address that can fail in many ways, and tokens good and bad.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::script::{Answer, Content, Rule};
use super::upstream::Upstream;

const KEY_SET: &str = "/.well-known/jwks.json";

/// How the key-set address behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Healthy,
    /// Answers 500.
    Failing,
    /// Answers 200 with what is no key set.
    Garbage,
    /// Answers 200 with more than anybody should read.
    Huge,
    /// Sends whoever asks elsewhere.
    Redirecting,
    /// Answers 200 with a set without keys.
    Empty,
    /// Answers after 30 seconds.
    Slow,
}

/// One pair of keys for RS256 and ES256. Making them is dear, so a process makes each only once.
struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

/// Key pairs by generation; the first is never published by anyone: it is the forger's.
static KEYS: Mutex<Vec<Arc<Keys>>> = Mutex::new(Vec::new());
const FORGER: usize = 0;

pub struct Issuer {
    upstream: Upstream,
    /// Which generation signs; it and the one before are published.
    generation: Cell<usize>,
    mood: Cell<Mood>,
    url: RefCell<String>,
}

impl Issuer {
    pub fn start() -> Result<Self> {
        let upstream = Upstream::start("issuer", Vec::new())?;
        let url = RefCell::new(upstream.url());
        let issuer = Self {
            upstream,
            generation: Cell::new(FORGER + 1),
            mood: Cell::new(Mood::Healthy),
            url,
        };
        issuer.publish()?;
        Ok(issuer)
    }

    /// The `iss` of its tokens: its own address.
    pub fn url(&self) -> String {
        self.url.borrow().clone()
    }

    pub fn jwks_url(&self) -> String {
        format!("{}{KEY_SET}", self.url())
    }

    /// How often the key set was asked for.
    pub fn fetches(&self) -> usize {
        self.upstream.count()
    }

    /// Signs with new keys from now on, and publishes them beside the old ones.
    pub fn rotate(&self) -> Result<()> {
        self.generation.set(self.generation.get() + 1);
        self.publish()
    }

    pub fn set_mood(&self, mood: Mood) -> Result<()> {
        self.mood.set(mood);
        self.publish()
    }

    pub async fn down(&self) -> Result<()> {
        self.upstream.down().await
    }

    pub fn up(&self) -> Result<()> {
        self.upstream.up()
    }

    fn publish(&self) -> Result<()> {
        let generation = self.generation.get();
        let mut keys = public(generation)?;
        if generation > FORGER + 1 {
            keys.append(&mut public(generation - 1)?);
        }
        let set = json!({ "keys": keys });
        let answer = match self.mood.get() {
            Mood::Healthy => Answer::json(set),
            Mood::Failing => Answer::status(500),
            Mood::Huge => Answer::text(&"x".repeat(1024 * 1024)),
            Mood::Redirecting => Answer::status(302),
            Mood::Garbage => Answer::text("<html>Sign in</html>"),
            Mood::Empty => Answer::json(json!({ "keys": [] })),
            Mood::Slow => Answer::json(set).after(Duration::from_secs(30)),
        };
        let document = json!({ "issuer": self.url(), "jwks_uri": self.jwks_url() });
        let discovery = Rule::at("/.well-known/openid-configuration", Answer::json(document));
        let missing = Answer { status: 404, content: Content::Nothing, ..Answer::default() };
        self.upstream.set_rules(vec![Rule::at(KEY_SET, answer), discovery, Rule::always(missing)]);
        Ok(())
    }

    /// A compact JWS. `wish` is its claims, laid over good ones; `null` takes a claim away. These
    /// members are no claims but say how it is made: `alg` (RS256, ES256, HS256 with the public key
    /// as its secret, none), `kid`, `header` (laid over the header), `key: forged` (signed by
    /// somebody else under the same kid), `signature: broken | missing | zero`, `secret: der | pem |
    /// jwk` (which bytes of the public key HS256 takes for its secret), `payload` (the claims' text
    /// as it is).
    pub fn token(&self, wish: &Map<String, Value>) -> Result<String> {
        let mut wish = wish.clone();
        let alg = take(&mut wish, "alg").unwrap_or_else(|| "RS256".to_owned());
        let generation = self.generation.get();
        let default_kid = kid(if alg == "ES256" { "ec" } else { "rsa" }, generation);
        let mut header = Map::new();
        header.insert("alg".to_owned(), alg.as_str().into());
        header.insert("typ".to_owned(), "JWT".into());
        header.insert("kid".to_owned(), take(&mut wish, "kid").unwrap_or(default_kid).into());
        lay_over(&mut header, wish.remove("header"));
        let forged = take(&mut wish, "key").is_some_and(|key| key == "forged");
        let signature = take(&mut wish, "signature");
        let secret = take(&mut wish, "secret");
        let payload = match take(&mut wish, "payload") {
            Some(text) => text,
            None => Value::from(self.claims(wish)?).to_string(),
        };
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let mut token =
            format!("{}.{}", encode(&Value::from(header).to_string()), encode(&payload));
        let keys = keys(if forged { FORGER } else { generation })?;
        let mut bytes = match alg.as_str() {
            "HS256" => confused(&keys, generation, secret.as_deref(), token.as_bytes())?,
            _ => sign(&keys, &alg, token.as_bytes())?,
        };
        match signature.as_deref() {
            Some("missing") => return Ok(token),
            Some("broken") => {
                for byte in bytes.iter_mut().take(1) {
                    *byte ^= 0x55;
                }
            }
            Some("zero") => bytes.fill(0),
            _ => {}
        }
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(bytes));
        Ok(token)
    }

    fn claims(&self, wish: Map<String, Value>) -> Result<Map<String, Value>> {
        let now = now();
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), self.url().into());
        claims.insert("aud".to_owned(), "api://gateway".into());
        claims.insert("sub".to_owned(), "u-1".into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), (now + 3600).into());
        lay_over(&mut claims, Some(wish.into()));
        for name in ["exp", "nbf", "iat"] {
            let Some(Value::String(text)) = claims.get(name) else { continue };
            if let Some(offset) = offset(text)? {
                claims.insert(name.to_owned(), (now + offset).into());
            }
        }
        Ok(claims)
    }
}

fn take(wish: &mut Map<String, Value>, name: &str) -> Option<String> {
    match wish.remove(name)? {
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn lay_over(under: &mut Map<String, Value>, over: Option<Value>) {
    let Some(Value::Object(over)) = over else { return };
    for (name, value) in over {
        if value.is_null() {
            under.remove(&name);
        } else {
            under.insert(name, value);
        }
    }
}

/// `+60s` or `-5m` from now, in seconds; `None` for a text of another kind.
fn offset(text: &str) -> Result<Option<i64>> {
    let Some(rest) = text.strip_prefix(['+', '-']) else { return Ok(None) };
    let digits = rest.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale = match rest.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        _ => return Err(anyhow!("{text:?}: write +60s, -5m or +1h")),
    };
    let amount: i64 = digits.parse().with_context(|| format!("{text:?}"))?;
    Ok(Some(if text.starts_with('-') { -amount * scale } else { amount * scale }))
}

#[allow(clippy::disallowed_methods)] // tokens for a real gateway, whose clock is the machine's
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn kid(kind: &str, generation: usize) -> String {
    format!("{kind}-{generation}")
}

fn keys(generation: usize) -> Result<Arc<Keys>> {
    let mut all = KEYS.lock().map_err(|_| anyhow!("another test failed while making keys"))?;
    while all.len() <= generation {
        let failed = |_| anyhow!("no key could be made");
        all.push(Arc::new(Keys {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?,
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?,
        }));
    }
    all.get(generation).cloned().context("no such generation")
}

fn sign(keys: &Keys, alg: &str, message: &[u8]) -> Result<Vec<u8>> {
    let failed = |_| anyhow!("signing failed");
    let random = SystemRandom::new();
    Ok(match alg {
        "ES256" => keys.ec.sign(&random, message).map_err(failed)?.as_ref().to_vec(),
        none if none.eq_ignore_ascii_case("none") => Vec::new(),
        _ => {
            let mut bytes = vec![0; keys.rsa.public_modulus_len()];
            keys.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut bytes).map_err(failed)?;
            bytes
        }
    })
}

/// HMAC with what everybody knows, the public key, as its secret.
fn confused(keys: &Keys, generation: usize, form: Option<&str>, message: &[u8]) -> Result<Vec<u8>> {
    let der = keys.rsa.public_key().as_ref();
    let secret = match form {
        Some("pem") => {
            let text = STANDARD.encode(der);
            let lines: Vec<&str> = (0..text.len())
                .step_by(64)
                .filter_map(|at| text.get(at..text.len().min(at + 64)))
                .collect();
            format!(
                "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
                lines.join("\n")
            )
            .into_bytes()
        }
        Some("jwk") => public(generation)?.first().context("a key")?.to_string().into_bytes(),
        _ => der.to_vec(),
    };
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    Ok(hmac::sign(&secret, message).as_ref().to_vec())
}

/// A generation's public keys as JWKs (RFC 7517, RFC 7518 section 6).
fn public(generation: usize) -> Result<Vec<Value>> {
    let keys = keys(generation)?;
    // RFC 8017 A.1.1: two nested headers (9 bytes, with the sign byte), the modulus, the exponent.
    let rsa = keys.rsa.public_key().as_ref();
    let modulus = rsa.get(9..265).context("a 2048 bit modulus")?;
    // SEC 1 section 2.3.3: 4, then x and y of 32 bytes each.
    let point = keys.ec.public_key().as_ref();
    let (x, y) = (point.get(1..33).context("x")?, point.get(33..65).context("y")?);
    Ok(vec![
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid("rsa", generation),
            "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB",
        }),
        json!({
            "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": kid("ec", generation),
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }),
    ])
}

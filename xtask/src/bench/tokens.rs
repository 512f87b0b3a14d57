//! Tokens for rows that measure who is asking: signed with RS256 by a key made for this run.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

/// The key of the whole run: making one is dear.
fn key() -> Result<&'static KeyPair> {
    static KEY: OnceLock<Option<KeyPair>> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).ok()).as_ref().context("no key")
}

/// As many header lines as a row wants, each with a token of another subject, good until 2100. What
/// was signed once is used again.
pub(crate) fn headers(count: usize) -> Result<Vec<String>> {
    static TOKENS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut tokens = TOKENS.lock().map_err(|_| anyhow!("signing failed before"))?;
    while tokens.len() < count {
        let next = token(tokens.len())?;
        tokens.push(next);
    }
    let header = |token: &String| format!("authorization: Bearer {token}\r\n");
    Ok(tokens.iter().take(count).map(header).collect())
}

fn token(number: usize) -> Result<String> {
    let key = key()?;
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "one" });
    let claims = json!({
        "iss": "https://auth.example.com", "aud": "api://gateway", "sub": format!("user-{number}"),
        "iat": 1_700_000_000, "exp": 4_102_444_800_u64, "email": "somebody@example.com", "tier": "premium",
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| anyhow!("no signature"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Writes the public half, as a key set and as PEM (SubjectPublicKeyInfo), for whoever reads which.
pub(crate) fn publish(folder: &Path) -> Result<()> {
    let key = key()?.public_key();
    // RFC 8017 A.1.1: two nested headers (9 bytes, with the sign byte), the modulus, the exponent.
    let modulus = key.as_ref().get(9..265).context("a 2048 bit modulus")?;
    let set = json!({ "keys": [{
        "kty": "RSA", "kid": "one", "alg": "RS256", "use": "sig",
        "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB",
    }] });
    fs::write(folder.join("jwks.json"), set.to_string())?;
    let der: PublicKeyX509Der<'_> = key.as_der().map_err(|_| anyhow!("no DER"))?;
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let lines = lines.join("\n");
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n");
    fs::write(folder.join("public.pem"), pem)?;
    Ok(())
}

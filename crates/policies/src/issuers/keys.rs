//! Keys: from a JSON Web Key Set (RFC 7517), or a shared secret. What a key may verify is decided
//! here, once, by what it is; no token's header can talk it into something else.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// More keys than this of one issuer are not kept.
pub const MOST_KEYS: usize = 100;
/// RSA keys that are shorter can be broken (RFC 7518 section 3.3).
const RSA_BITS: usize = 2048;

/// One usable key.
pub struct Key {
    pub id: Option<Box<str>>,
    pub key: DecodingKey,
    /// The algorithms that it can verify, whatever a token says.
    pub fits: Vec<Algorithm>,
}

/// The usable keys of a set, and why the others are not.
pub fn usable(document: &Value) -> Result<(Vec<Key>, Vec<String>), String> {
    let all = document.get("keys").and_then(Value::as_array).ok_or("it has no list `keys`")?;
    let (mut keys, mut skipped) = (Vec::new(), Vec::new());
    for value in all.iter().take(MOST_KEYS) {
        match key(value) {
            Ok(key) => keys.push(key),
            Err(why) => {
                let id = value.get("kid").and_then(Value::as_str).unwrap_or("without a kid");
                skipped.push(format!("{}: {why}", id.chars().take(64).collect::<String>()));
            }
        }
    }
    if all.len() > MOST_KEYS {
        skipped.push(format!("{} keys beyond the first {MOST_KEYS}", all.len() - MOST_KEYS));
    }
    Ok((keys, skipped))
}

/// The usable keys in the bytes of a set.
pub fn parse(body: &[u8]) -> Result<(Vec<Key>, Vec<String>), String> {
    let document = serde_json::from_slice(body).map_err(|error| format!("it is no JSON: {error}"));
    usable(&document?)
}

/// A shared secret, for HMAC only.
pub fn secret(secret: &[u8], fits: Vec<Algorithm>) -> Key {
    Key { id: None, key: DecodingKey::from_secret(secret), fits }
}

/// The bytes that a secret must have for an algorithm (RFC 7518 section 3.2).
pub fn secret_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => 32,
    }
}

fn key(value: &Value) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return Err("its use is not sig".to_owned());
    }
    let verifies = |all: &Vec<KeyOperations>| all.contains(&KeyOperations::Verify);
    if jwk.common.key_operations.as_ref().is_some_and(|all| !verifies(all)) {
        return Err("its key_ops have no verify".to_owned());
    }
    let family = family(&jwk.algorithm)?;
    let own: Option<Algorithm> = match value.get("alg") {
        None => None,
        Some(name) => {
            let known = name.as_str().and_then(|name| name.parse().ok());
            Some(known.ok_or("its alg is not known")?)
        }
    };
    let fits: Vec<_> =
        family.iter().copied().filter(|one| own.is_none_or(|own| own == *one)).collect();
    if fits.is_empty() {
        return Err("its alg does not fit its type".to_owned());
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    Ok(Key { id: jwk.common.key_id.map(Box::from), key, fits })
}

/// What a key of this type can verify. Secrets are no part of a set that everybody can read.
fn family(parameters: &AlgorithmParameters) -> Result<&'static [Algorithm], String> {
    Ok(match parameters {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = BASE64_URL_SAFE_NO_PAD.decode(&rsa.n).unwrap_or_default();
            let leading = modulus.iter().take_while(|byte| **byte == 0).count();
            if (modulus.len() - leading) * 8 < RSA_BITS {
                return Err(format!("it is shorter than {RSA_BITS} bits"));
            }
            &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ]
        }
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return Err("its curve is neither P-256 nor P-384".to_owned()),
        },
        AlgorithmParameters::OctetKeyPair(pair) => match pair.curve {
            EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return Err("its curve is not Ed25519".to_owned()),
        },
        AlgorithmParameters::OctetKey(_) => return Err("a secret is no public key".to_owned()),
        _ => return Err("its type is not known".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 7517 appendix A.1, and RFC 8037 appendix A.2.
    fn set() -> Value {
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "1", "use": "enc",
              "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
              "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" },
            { "kty": "EC", "crv": "P-256", "kid": "2",
              "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
              "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" },
            { "kty": "RSA", "kid": "2011-04-29", "alg": "RS256", "e": "AQAB",
              "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw" },
            { "kty": "RSA", "kid": "short", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W" },
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed",
              "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
            { "kty": "oct", "kid": "secret", "k": "c2VjcmV0" },
            { "kty": "EC", "crv": "P-256", "kid": "mixed", "alg": "RS256",
              "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
              "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" },
            { "kty": "EC", "kid": "signs", "key_ops": ["sign"], "crv": "P-256",
              "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
              "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" },
            "no key"
        ] })
    }

    #[test]
    fn a_bad_key_is_skipped_and_named_and_the_others_are_kept() {
        let (keys, skipped) = usable(&set()).unwrap();
        let ids: Vec<_> = keys.iter().map(|key| key.id.as_deref().unwrap()).collect();
        assert_eq!(ids, ["2", "2011-04-29", "ed"]);
        let fits: Vec<_> = keys.iter().map(|key| key.fits.clone()).collect();
        assert_eq!(fits, [[Algorithm::ES256], [Algorithm::RS256], [Algorithm::EdDSA]]);
        let named: Vec<_> = skipped.iter().map(|why| why.split(':').next().unwrap()).collect();
        assert_eq!(named, ["1", "short", "secret", "mixed", "signs", "without a kid"]);
    }

    const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    fn verifies(key: &Key, algorithm: Algorithm, signed: &str, signature: &str) -> bool {
        let bytes = signed.as_bytes();
        jsonwebtoken::crypto::verify(signature, bytes, &key.key, algorithm).unwrap_or(false)
    }

    /// RFC 7515 appendices A.1 and A.3, RFC 8037 appendix A.4.
    #[test]
    fn the_examples_of_the_rfcs_are_good_and_nothing_near_them_is() {
        let shared = BASE64_URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let public = |jwk: Value| usable(&json!({ "keys": [jwk] })).unwrap().0.pop().unwrap();
        let examples = [
            (
                secret(&shared, vec![Algorithm::HS256]),
                format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}"),
                "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            ),
            (
                public(json!({ "kty": "EC", "crv": "P-256",
                    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" })),
                format!("eyJhbGciOiJFUzI1NiJ9.{JOE}"),
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            ),
            (
                public(json!({ "kty": "OKP", "crv": "Ed25519",
                    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })),
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            ),
        ];
        for (key, signed, signature) in &examples {
            let algorithm = *key.fits.first().unwrap();
            assert!(verifies(key, algorithm, signed, signature), "{algorithm:?}");
            assert!(!verifies(key, algorithm, &format!("{signed}x"), signature));
            assert!(!verifies(key, algorithm, signed, &"A".repeat(signature.len())), "r = s = 0");
            assert!(!verifies(key, algorithm, signed, ""));
        }
    }

    const FRODO: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

    /// RFC 7520 sections 4.1, 4.2 and 4.4, by the keys of 3.3 and 3.5. (4.3 is P-521, which we refuse;
    /// the example of RFC 7519 section 3.1 is that of RFC 7515 appendix A.1.)
    #[test]
    fn the_cookbook_is_good() {
        let bilbo = json!({ "kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "e": "AQAB",
            "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw" });
        let bilbo = usable(&json!({ "keys": [bilbo] })).unwrap().0.pop().unwrap();
        let shared = BASE64_URL_SAFE_NO_PAD.decode("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg");
        let shared = secret(&shared.unwrap(), vec![Algorithm::HS256]);
        let examples = [
            (
                &bilbo,
                Algorithm::RS256,
                "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
                "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
            ),
            (
                &bilbo,
                Algorithm::PS384,
                "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
                "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
            ),
            (
                &shared,
                Algorithm::HS256,
                "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9",
                "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
            ),
        ];
        for (key, algorithm, header, signature) in examples {
            let signed = format!("{header}.{FRODO}");
            assert!(verifies(key, algorithm, &signed, signature), "{algorithm:?}");
            assert!(!verifies(key, algorithm, &signed.replace("SXTi", "SXTj"), signature));
            let other =
                if algorithm == Algorithm::RS256 { Algorithm::PS256 } else { Algorithm::RS256 };
            assert!(!verifies(key, other, &signed, signature), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_set_is_told() {
        assert!(parse(b"<html>").is_err() && parse(b"{}").is_err() && parse(b"[]").is_err());
        assert!(parse(b"{\"keys\":[]}").unwrap().0.is_empty());
    }
}

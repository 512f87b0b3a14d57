//! From the scenario language to the kit's own values.

use std::cell::Cell;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use portcullis_config::Node;

use crate::fill::unescape;
use crate::kit::certificates::Wish;
use crate::kit::client::{Ask, AskBody, AskTls};
use crate::kit::issuer::Issuer;
use crate::kit::script::{Answer, Content, Rule, When};
use crate::language::{
    AnswerSettings, AskSettings, AskTlsSettings, CertificateSettings, RuleSettings,
};
use crate::scene::Scene;

pub fn rules(settings: &[RuleSettings]) -> Result<Vec<Rule>> {
    settings.iter().map(rule).collect()
}

fn rule(settings: &RuleSettings) -> Result<Rule> {
    let when = When {
        method: settings.r#match.method.clone(),
        path: settings.r#match.path.clone(),
        headers: settings.r#match.headers.to_fields(),
    };
    Ok(Rule { when, answer: answer(&settings.answer)?, left: Cell::new(settings.times) })
}

fn answer(settings: &AnswerSettings) -> Result<Answer> {
    Ok(Answer {
        status: settings.status.unwrap_or(200),
        headers: settings.headers.to_fields(),
        content: content(settings)?,
        trailers: settings.trailers.to_fields(),
        delay: settings.delay,
        pace: settings.pace,
        hold: settings.hold,
        early: settings.early,
        close: settings.close,
        reset: settings.reset,
    })
}

fn content(settings: &AnswerSettings) -> Result<Content> {
    Ok(if let Some(node) = &settings.json {
        Content::Json(node.to_json())
    } else if let Some(text) = &settings.text {
        Content::Text(text.clone())
    } else if let Some(raw) = &settings.raw {
        Content::Raw(unescape(raw)?)
    } else if let Some(chunks) = &settings.chunks {
        Content::Chunks(chunks.clone())
    } else if let Some(bytes) = settings.bytes {
        Content::Filler(bytes.as_usize())
    } else if settings.echo || settings.status.is_none() {
        Content::Echo
    } else {
        Content::Nothing
    })
}

/// A request, with its token made now.
pub fn ask(settings: &AskSettings, scene: &Scene) -> Result<Ask> {
    let mut ask = Ask {
        method: settings.method.clone(),
        path: settings.path.clone(),
        host: settings.host.clone(),
        headers: settings.headers.to_fields(),
        body: body(settings),
        trailers: settings.trailers.to_fields(),
        http2: settings.http == 2,
        from: settings.from.map(|address| address.0),
        before: unescape(settings.before.as_deref().unwrap_or_default())?,
        tls: settings.tls.as_ref().map(|tls| secure(tls, settings, scene)).transpose()?,
    };
    if settings.json.is_some() && ask.headers.get("content-type").is_none() {
        ask.headers.push("content-type", b"application/json");
    }
    if let Some(wish) = &settings.token {
        let token = token(wish, scene.issuer.as_ref())?;
        let mut placed = false;
        for (_, value) in &mut ask.headers.0 {
            placed |= value.contains("{token}");
            *value = value.replace("{token}", &token);
        }
        placed |= ask.path.contains("{token}");
        ask.path = ask.path.replace("{token}", &token);
        if !placed {
            ask.headers.push("authorization", format!("Bearer {token}").as_bytes());
        }
    }
    Ok(ask)
}

fn secure(tls: &AskTlsSettings, settings: &AskSettings, scene: &Scene) -> Result<AskTls> {
    let http2 = settings.http == 2;
    let config = scene.certificates.client(&tls.ca, tls.certificate.as_deref(), http2)?;
    let host = settings.host.as_deref().unwrap_or("localhost");
    let server_name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    Ok(AskTls { config, server_name })
}

/// A certificate as a scenario wishes it.
pub fn certificate(settings: &CertificateSettings) -> Result<Wish> {
    let days = |text: &str| text.parse().with_context(|| format!("{text}: no number of days"));
    Ok(Wish {
        names: settings.names.0.clone(),
        by: settings.by.clone(),
        authority: settings.authority,
        days: days(&settings.days)?,
        revokes: settings.revokes.0.clone(),
        list_days: days(&settings.list_days)?,
    })
}

fn token(wish: &Node, issuer: Option<&Issuer>) -> Result<String> {
    let issuer = issuer.ok_or_else(|| anyhow!("a token, but nothing names ${{issuer.url}}"))?;
    let wish = wish.to_json();
    let claims = wish.as_object().ok_or_else(|| anyhow!("token: expected claims"))?;
    issuer.token(claims)
}

fn body(settings: &AskSettings) -> AskBody {
    if let Some(node) = &settings.json {
        AskBody::Whole(Bytes::from(node.to_json().to_string()))
    } else if let Some(text) = &settings.text {
        AskBody::Whole(Bytes::from(text.clone()))
    } else if let Some(bytes) = settings.bytes {
        AskBody::Whole(Bytes::from(vec![b'x'; bytes.as_usize()]))
    } else if let Some(chunks) = &settings.chunks {
        AskBody::Chunks(chunks.iter().cloned().map(Bytes::from).collect())
    } else {
        AskBody::Nothing
    }
}

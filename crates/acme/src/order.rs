//! One certificate: the account, the order, the proof, the key (RFC 8555 section 7).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, Error, HttpClient, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use portcullis_tls::{Facts, Identity};

use crate::answers::Shown;
use crate::store::Store;
use crate::{Failed, Wanted};

/// The account at the authority: the one that is kept, else a new one.
pub(crate) async fn account(
    wanted: &Wanted,
    store: &Store,
    client: Box<dyn HttpClient>,
) -> Result<Account, Failed> {
    let builder = Account::builder_with_http(client);
    let contact = wanted.contact.as_ref().map(|address| format!("mailto:{address}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    if let Some(kept) = store.account()? {
        let credentials: AccountCredentials = serde_json::from_str(&kept)?;
        let account = builder.from_credentials(credentials).await?;
        if store.contact()? != wanted.contact {
            tell(&account, &contact, wanted, store).await?;
        }
        return Ok(account);
    }
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true, // nobody gets here without having agreed
        only_return_existing: false,
    };
    let (account, credentials) = builder.create(&new, wanted.directory.clone(), None).await?;
    store.keep_account(&serde_json::to_string(&credentials)?)?;
    store.keep_contact(wanted.contact.as_deref())?;
    Ok(account)
}

/// Tells an account's new contact (RFC 8555 section 7.3.2). One that is refused stands in no order's way.
async fn tell(
    account: &Account,
    contact: &[&str],
    wanted: &Wanted,
    store: &Store,
) -> Result<(), Failed> {
    match account.update_contacts(contact).await {
        Ok(()) => Ok(store.keep_contact(wanted.contact.as_deref())?),
        Err(error) => {
            let (directory, error) = (&wanted.directory, error.to_string());
            tracing::warn!(directory, error, "the authority does not take the new contact");
            Ok(())
        }
    }
}

/// How often an order is looked at, and for how long: authorities look at a host from several places, and may
/// have many to look at.
const WAIT: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.4)
    .timeout(Duration::from_secs(120));

/// True when the authority does not know the account (any more).
pub(crate) fn is_unknown_account(failed: &Failed) -> bool {
    let Failed::Acme(Error::Api(problem)) = failed else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

/// True when the authority has had enough of us for a while.
pub(crate) fn is_too_often(failed: &Failed) -> bool {
    matches!(failed, Failed::Acme(Error::Api(problem)) if is_rate_limited(problem))
}

fn is_rate_limited(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:rateLimited")
}

/// A new certificate and its key, as the text of one file, and what the certificate says.
pub(crate) async fn order(
    account: &Account,
    host: &str,
    wanted: &Wanted,
    store: &Store,
) -> Result<(String, Arc<Facts>), Failed> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut shown = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue; // it looked not long ago
        }
        let challenge = authorization.challenge(wanted.challenge.kind());
        let mut challenge = challenge.ok_or(Failed::NotOffered)?;
        let key = challenge.key_authorization();
        shown.push(Shown::new(store, host, wanted.challenge, &challenge.token, &key)?);
        challenge.set_ready().await?;
    }
    match order.poll_ready(&WAIT).await {
        Ok(OrderStatus::Ready) => {}
        Ok(status) => return Err(why(&mut order, format!("the order is {status:?}")).await),
        Err(Error::Api(problem)) if !is_rate_limited(&problem) => {
            return Err(why(&mut order, problem.to_string()).await);
        }
        Err(error) => return Err(error.into()),
    }
    drop(shown);
    let key = order.finalize().await?;
    let text = format!("{}{key}", order.poll_certificate(&WAIT).await?);
    let facts = Identity::read(&text, &text, None)?.facts;
    if facts.covers(host) { Ok((text, facts)) } else { Err(Failed::Other) }
}

/// What the authority met when it looked; `otherwise` if it does not say.
async fn why(order: &mut Order, otherwise: String) -> Failed {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { break };
        if let Some(problem) = state.challenges.iter().find_map(|it| it.error.as_ref()) {
            return Failed::Refused(problem.to_string());
        }
    }
    Failed::Refused(otherwise)
}

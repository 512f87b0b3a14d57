//! One certificate: the account, the order, the proof, the key (RFC 8555 section 7).

use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use portcullis_tls::{Client, Identity};

use crate::answers::Shown;
use crate::errands::Errands;
use crate::store::Store;
use crate::{Failed, Wanted};

/// The account at the authority: the one that is kept, else a new one.
pub(crate) async fn account(wanted: &Wanted, store: &Store) -> Result<Account, Failed> {
    let client = Client::new(wanted.ca.as_deref(), None, "http/1.1")?;
    let errands = Errands { client, directory: wanted.directory.clone() };
    let builder = Account::builder_with_http(Box::new(errands));
    if let Some(kept) = store.account()? {
        let credentials: AccountCredentials = serde_json::from_str(&kept)?;
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact = wanted.contact.as_ref().map(|address| format!("mailto:{address}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true, // nobody gets here without having agreed
        only_return_existing: false,
    };
    let (account, credentials) = builder.create(&new, wanted.directory.clone(), None).await?;
    store.keep_account(&serde_json::to_string(&credentials)?)?;
    Ok(account)
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
    let Failed::Acme(Error::Api(problem)) = failed else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:rateLimited")
}

/// A new certificate and its key, as the text of one file.
pub(crate) async fn order(
    account: &Account,
    host: &str,
    wanted: &Wanted,
    store: &Store,
) -> Result<String, Failed> {
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
        Err(Error::Api(problem)) => return Err(why(&mut order, problem.to_string()).await),
        Err(error) => return Err(error.into()),
    }
    drop(shown);
    let key = order.finalize().await?;
    let text = format!("{}{key}", order.poll_certificate(&WAIT).await?);
    let identity = Identity::read(&text, &text, None)?;
    if identity.facts.covers(host) { Ok(text) } else { Err(Failed::Other) }
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

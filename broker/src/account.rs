//! Owns members' accounts on a broker: a ServiceAccount per member and its bearer token, the same
//! calls on a real API server and on `sealane-broker`. Needs an administrator's client.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use zeroize::Zeroizing;

use crate::access::Broker;
use crate::mirror::root_cause;

/// Why a member has no account.
#[derive(Debug, thiserror::Error)]
#[error("account {account} on broker {url}: {cause}; an administrator's kubeconfig is needed")]
pub struct AccountError {
    /// ServiceAccount name.
    pub account: String,
    /// The broker.
    pub url: String,
    /// The broker's answer or what kept it from us.
    pub cause: String,
}

/// Returns the ServiceAccount name of a member.
pub fn account_of(member: &str) -> String {
    format!("member-{member}")
}

/// Makes the member's account if it is missing and returns a new bearer token for it.
///
/// `lifetime_seconds` is a wish; the broker may shorten it.
///
/// # Errors
/// [`AccountError`] when the broker could not be asked or refused.
pub async fn issue(
    broker: &Broker,
    member: &str,
    lifetime_seconds: i64,
) -> Result<Zeroizing<String>, AccountError> {
    let account = account_of(member);
    let refuse =
        |cause: String| AccountError { account: account.clone(), url: broker.url.clone(), cause };
    let api: Api<ServiceAccount> = Api::namespaced(broker.client.clone(), &broker.namespace);
    let wanted = ServiceAccount {
        metadata: ObjectMeta { name: Some(account.clone()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    match api.create(&PostParams::default(), &wanted).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other.map_err(|error| refuse(root_cause(&error)))?),
    }
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(lifetime_seconds),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = api
        .create_token_request(&account, &PostParams::default(), &request)
        .await
        .map_err(|error| refuse(root_cause(&error)))?;
    let token = answer.status.map(|status| status.token).unwrap_or_default();
    if token.is_empty() {
        return Err(refuse("the broker sent no token".to_owned()));
    }
    Ok(Zeroizing::new(token))
}

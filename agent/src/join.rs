//! Owns joining: a token becomes keys, an enrolment and a membership on disk; and what a later token of the
//! same member changes of it. Talks to nobody; the session that follows does.

use sealane_api::sign;
use sealane_api::time::UnixTime;
use sealane_api::token::{Token, TokenDamaged};
use sealane_broker::store::{Store, StoreError};
use sealane_view::membership::JoinDocument;

use crate::config::{Config, Role};
use crate::keys::{self, Keys, KeysError};
use crate::left;
use crate::membership::{Membership, MembershipError};
use crate::trust::Trust;

/// Why this host did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The text is not a token.
    #[error(transparent)]
    Token(#[from] TokenDamaged),
    /// This host is a member already, and the token is not that member's.
    #[error(
        "this host is {member} of clusterset {clusterset} already, and the token is for {other}; \
         `sealane leave` comes first"
    )]
    Joined {
        /// Its member.
        member: String,
        /// Its clusterset.
        clusterset: String,
        /// Whose the token is, where it differs.
        other: String,
    },
    /// The credential in the token is of no use any more.
    #[error(
        "the broker credential in the token has expired; have a new one made with \
         `sealane token renew --cluster {member}`"
    )]
    Expired {
        /// The member.
        member: String,
    },
    /// Nobody could be asked.
    #[error("the token names no broker; have it made again with `clusterset init --broker URL`")]
    NoBroker,
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What an earlier membership left.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Joins with the text of a token. After `Ok`, [`crate::session::Session::resume`] finds a
/// membership, also after a crash.
///
/// # Errors
/// [`JoinError`]; nothing is joined then.
pub fn join(store: &Store, config: &Config, text: &str) -> Result<JoinDocument, JoinError> {
    let token = Token::decode(text)?;
    if let Some(held) = Membership::load(store)? {
        return Err(joined(&held, &token));
    }
    if token.brokers.is_empty() {
        return Err(JoinError::NoBroker);
    }
    // A leave that was cut short may have left what it believed of another clusterset.
    Trust::remove(store)?;
    let id = token.clusterset();
    let mut next = Vec::new();
    let (identity, fingerprint) = match config.role {
        Role::Gateway => {
            let identity = Keys::load_or_make(store)?.identity.public();
            next.push(
                "have the administrator pin this fingerprint: sealane clusterset sign".to_owned(),
            );
            (identity, identity.fingerprint())
        }
        // A node may become a gateway when the token is long gone: it enrols now, and says it then.
        Role::Node => (keys::load_or_make_identity(store)?.public(), String::new()),
    };
    let enrol = |join| sign::enrolment(join, &id, &token.member, &identity);
    let enrolment = token.join.as_ref().map(enrol);
    Membership::of_token(&token, enrolment).save(store)?;
    left::clear(store)?;
    tracing::info!(member = %token.member, clusterset = %id, "joined");
    Ok(JoinDocument {
        clusterset: id.to_string(),
        member: token.member.to_string(),
        node: config.node.clone(),
        fingerprint,
        renewed: false,
        next,
    })
}

/// Takes the access to the brokers out of a later token of the member that this host is: addresses,
/// pins, credential and, if it has a join key, the enrolment. Identity, gateway and tunnel keys stay.
/// Returns what is on disk after that.
///
/// # Errors
/// [`JoinError`] when the token is of another member or clusterset, or holds nothing that could serve;
/// the membership is what it was then.
pub fn renew(
    store: &Store,
    held: &Membership,
    text: &str,
    now: UnixTime,
) -> Result<Membership, JoinError> {
    let token = Token::decode(text)?;
    if token.clusterset() != held.clusterset() || token.member != held.member {
        return Err(joined(held, &token));
    }
    if token.brokers.is_empty() {
        return Err(JoinError::NoBroker);
    }
    if token.credential_expires.is_some_and(|expires| expires <= now) {
        return Err(JoinError::Expired { member: token.member.to_string() });
    }
    let keys = Keys::load(store)?;
    let enrol = |join| {
        let identity = keys.as_ref()?.identity.public();
        Some(sign::enrolment(join, &token.clusterset(), &token.member, &identity))
    };
    let renewed = held.renewed(&token, token.join.as_ref().and_then(enrol));
    renewed.save(store)?;
    tracing::info!(member = %token.member, brokers = token.brokers.len(), "broker access renewed");
    Ok(renewed)
}

fn joined(held: &Membership, token: &Token) -> JoinError {
    let (clusterset, theirs) = (held.clusterset(), token.clusterset());
    let other = if theirs == clusterset {
        token.member.to_string()
    } else {
        format!("{} of clusterset {theirs}", token.member)
    };
    let member = held.member.to_string();
    JoinError::Joined { member, clusterset: clusterset.to_string(), other }
}

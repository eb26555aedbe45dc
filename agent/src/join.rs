//! Owns joining: a token becomes keys, an enrolment and a membership on disk. Talks to nobody; the
//! session that follows does.

use sealane_api::sign;
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
    /// This host is a member already.
    #[error(
        "this host is {member} of clusterset {clusterset} already; `sealane leave` comes first"
    )]
    Joined {
        /// Its member.
        member: String,
        /// Its clusterset.
        clusterset: String,
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
        let clusterset = held.clusterset().to_string();
        return Err(JoinError::Joined { member: held.member.to_string(), clusterset });
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
        next,
    })
}

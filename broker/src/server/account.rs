//! Owns callers and their bearer tokens: format, hash, expiry, overlap at rotation.
//! Does not own what a caller may do (`access`) or where tokens are kept (`store`).

use super::{name::is_label, object::Key};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Seconds that older tokens of an account stay valid after a new one was issued.
pub(crate) const ROTATION_OVERLAP: u64 = 24 * 3_600;
/// Seconds a token lives when the request names none.
pub(crate) const DEFAULT_LIFETIME: u64 = 365 * 24 * 3_600;
/// Shortest and longest life that may be asked for, in seconds (10 minutes, 10 years).
pub(crate) const LIFETIMES: std::ops::RangeInclusive<u64> = 600..=10 * 365 * 24 * 3_600;

const PREFIX: &str = "slb1";
/// A service account with this prefix speaks for the member named by the rest.
const MEMBER_PREFIX: &str = "member-";

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Subject {
    Admin,
    Account { namespace: String, name: String, uid: String },
}

/// What is kept of a token: never the token itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) id: String,
    /// SHA-256 of the whole token, base64url.
    hash: String,
    pub(crate) subject: Subject,
    /// Unix seconds; `None` never expires.
    pub(crate) expires: Option<u64>,
}

/// The caller of a request, authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) subject: Subject,
    pub(crate) token_id: String,
}

impl Subject {
    /// Whether this is the account stored under `key`.
    pub(crate) fn is_account(&self, key: &Key) -> bool {
        matches!(self, Self::Account { namespace, name, .. }
            if *namespace == key.namespace && *name == key.name)
    }
}

impl Caller {
    /// As Kubernetes writes it: `system:serviceaccount:NAMESPACE:NAME`.
    pub(crate) fn username(&self) -> String {
        match &self.subject {
            Subject::Admin => "sealane:admin".to_owned(),
            Subject::Account { namespace, name, .. } => {
                format!("system:serviceaccount:{namespace}:{name}")
            }
        }
    }

    pub(crate) fn groups(&self) -> Vec<String> {
        match &self.subject {
            Subject::Admin => vec!["sealane:admins".into(), "system:authenticated".into()],
            Subject::Account { namespace, .. } => vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
        }
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.subject == Subject::Admin
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        match &self.subject {
            Subject::Admin => None,
            Subject::Account { namespace, .. } => Some(namespace),
        }
    }

    /// The member this caller speaks for, if any.
    pub(crate) fn member(&self) -> Option<&str> {
        match &self.subject {
            Subject::Admin => None,
            Subject::Account { name, .. } => {
                name.strip_prefix(MEMBER_PREFIX).filter(|member| is_label(member))
            }
        }
    }
}

/// A new token: the text for its holder, wiped after use, and the record for us.
pub(crate) fn issue(subject: Subject, expires: Option<u64>) -> (Zeroizing<String>, TokenRecord) {
    let id = format!("{:016x}", rand::random::<u64>());
    let secret = Zeroizing::new(rand::random::<[u8; 32]>());
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
    let token = Zeroizing::new(format!("{PREFIX}.{id}.{}", text.as_str()));
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()));
    (token, TokenRecord { id, hash, subject, expires })
}

/// The id inside a bearer token, to find its record by; says nothing about its validity.
pub(crate) fn token_id(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(PREFIX)?.strip_prefix('.')?.split_once('.')?;
    (id.len() == 16 && secret.len() == 43).then_some(id)
}

impl TokenRecord {
    pub(crate) fn is_live(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether `token` is the one this record was made for. Time does not depend on where they
    /// differ.
    pub(crate) fn matches(&self, token: &str) -> bool {
        let offered = URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()));
        offered.as_bytes().ct_eq(self.hash.as_bytes()).into()
    }

    /// The same token with its life cut to the overlap at rotation; `None` when it ends sooner.
    pub(crate) fn overlapped(&self, now: u64) -> Option<Self> {
        let end = now + ROTATION_OVERLAP;
        self.expires
            .is_none_or(|expires| expires > end)
            .then(|| Self { expires: Some(end), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        let subject =
            Subject::Account { namespace: "s".into(), name: name.into(), uid: "u".into() };
        Caller { subject, token_id: String::new() }
    }

    #[test]
    fn a_token_matches_its_record_and_no_other() {
        let (token, record) = issue(Subject::Admin, Some(100));
        let (other, _) = issue(Subject::Admin, Some(100));
        assert_eq!(token_id(&token), Some(record.id.as_str()));
        assert!(record.matches(&token) && !record.matches(&other));
        assert!(record.is_live(99) && !record.is_live(100));
        assert!(!serde_json::to_string(&record).unwrap().contains(&token[22..]));
    }

    #[test]
    fn rotation_shortens_long_lives_and_never_lengthens_short_ones() {
        let (_, long) = issue(Subject::Admin, Some(10 * ROTATION_OVERLAP));
        let (_, short) = issue(Subject::Admin, Some(60));
        assert_eq!(long.overlapped(0).unwrap().expires, Some(ROTATION_OVERLAP));
        assert!(short.overlapped(0).is_none());
    }

    #[test]
    fn only_member_accounts_speak_for_a_member() {
        assert_eq!(caller("member-west").member(), Some("west"));
        for name in ["west", "member-", "member-a.b", "amember-west"] {
            assert_eq!(caller(name).member(), None, "{name}");
        }
    }
}

//! Owns the gate that checks signatures and positions as every receiver does. Does not own the
//! checks themselves (`sealane-api`).

use super::gate::{Admission, ClusterSetGate, News, Offer, Refusal};
use sealane_api::{
    clusterset::{self, ListPosition},
    clusterset_payload::ClusterSetPayload,
    keys::VerifyKey,
    kinds::ClusterSetSpec,
    names::ClusterSetId,
    reason::Rejected,
    sign::clusterset_view,
    verify::clusterset::{Against, Judged, judge},
};
use serde::Deserialize;
use serde_json::Value;

/// Accepts what is signed by the root of the anchored clusterset and not older than what is held.
/// Without an anchor the offered keys name the clusterset: the first set decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct SignatureGate;

impl ClusterSetGate for SignatureGate {
    fn judge(&self, offer: &Offer<'_>) -> Result<Admission, Refusal> {
        let offered = spec(offer.offered)?;
        let held = offer.held.map(spec).transpose()?;
        let anchor = match offer.anchor {
            Some(id) => ClusterSetId::parse(id)
                .map_err(|error| refusal("BadAnchor", format!("{id:.64}: {error}")))?,
            None => id_of(&offered)?,
        };
        let held = held
            .as_ref()
            .map(|held| payload(held).map(|payload| (held, position(&payload))))
            .transpose()?;
        let against = Against { anchor: &anchor, minimum: ListPosition::default(), held };
        let news = match judge(against, &offered).map_err(rejected)? {
            Judged::Newer(_) => News::Newer,
            Judged::Unchanged => News::Unchanged,
        };
        let view = serde_json::to_value(clusterset_view(&payload(&offered)?)).ok();
        Ok(Admission { anchor: anchor.to_string(), news, view })
    }
}

fn refusal(reason: &str, message: impl Into<String>) -> Refusal {
    Refusal { reason: reason.to_owned(), message: message.into() }
}

fn rejected(rejected: Rejected) -> Refusal {
    let text = rejected.to_string();
    let reason = rejected.reason.as_str();
    let message = text.strip_prefix(reason).and_then(|text| text.strip_prefix(": "));
    refusal(reason, message.unwrap_or(&text))
}

fn spec(value: &Value) -> Result<ClusterSetSpec, Refusal> {
    ClusterSetSpec::deserialize(value)
        .map_err(|error| refusal("Malformed", format!("spec: {error:.120}")))
}

fn id_of(spec: &ClusterSetSpec) -> Result<ClusterSetId, Refusal> {
    let key = |text: &str| {
        VerifyKey::parse(text).map_err(|error| refusal("WeakKey", format!("genesis: {error}")))
    };
    Ok(ClusterSetId::of_genesis(&key(&spec.genesis.root)?, &key(&spec.genesis.recovery)?))
}

fn payload(spec: &ClusterSetSpec) -> Result<ClusterSetPayload, Refusal> {
    let signed = spec.signed.decode(clusterset::MAX_BYTES).map_err(rejected)?;
    ClusterSetPayload::parse(&signed.payload).map_err(rejected)
}

fn position(payload: &ClusterSetPayload) -> ListPosition {
    ListPosition { link_index: payload.link_index, version: payload.version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealane_api::{
        clusterset::{ClusterSet, OnExpiry, PostQuantum},
        keys::SigningSeed,
        kinds::Genesis,
        sign,
        time::UnixTime,
    };
    use std::collections::BTreeMap;
    use zeroize::Zeroizing;

    fn seed(byte: u8) -> SigningSeed {
        SigningSeed::from_bytes(Zeroizing::new([byte; 32]))
    }

    /// A list signed by `root`, of the clusterset that began with it.
    fn signed(root: u8, version: u64) -> Value {
        let (key, recovery) = (seed(root).public(), seed(2).public());
        let list = ClusterSet {
            id: ClusterSetId::of_genesis(&key, &recovery),
            position: ListPosition { link_index: 0, version },
            issued: UnixTime(1_000),
            expires: UnixTime(2_000),
            on_expiry: OnExpiry::Hold,
            post_quantum: PostQuantum::Off,
            brokers: Vec::new(),
            members: BTreeMap::new(),
        };
        let genesis = Genesis { root: key.to_string(), recovery: recovery.to_string() };
        serde_json::to_value(sign::clusterset(&seed(root), genesis, Vec::new(), &list)).unwrap()
    }

    fn ask(anchor: Option<&str>, held: Option<&Value>, offered: &Value) -> Result<News, String> {
        SignatureGate
            .judge(&Offer { anchor, held, offered, now: 0 })
            .map(|admission| admission.news)
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn the_first_set_decides_and_the_next_must_be_newer_and_of_the_same_root() {
        let (first, second, foreign) = (signed(1, 1), signed(1, 2), signed(9, 3));
        let admission = SignatureGate
            .judge(&Offer { anchor: None, held: None, offered: &first, now: 0 })
            .unwrap();
        let anchor = Some(admission.anchor.as_str());
        assert_eq!(ask(anchor, Some(&first), &second), Ok(News::Newer));
        assert_eq!(ask(anchor, Some(&second), &second), Ok(News::Unchanged));
        assert_eq!(ask(anchor, Some(&second), &first), Err("ClusterSetRolledBack".into()));
        assert_eq!(ask(anchor, Some(&first), &foreign), Err("WrongClusterSet".into()));
        assert_eq!(ask(anchor, None, &foreign), Err("WrongClusterSet".into()));
    }

    #[test]
    fn forged_bytes_are_refused_and_a_lying_view_is_corrected() {
        let mut set = signed(1, 1);
        set["view"]["members"] = 5_000.into();
        let admission = SignatureGate
            .judge(&Offer { anchor: None, held: None, offered: &set, now: 0 })
            .unwrap();
        assert_eq!(admission.view.unwrap()["members"], 0);
        set["signed"]["signature"] = signed(1, 2)["signed"]["signature"].clone();
        assert_eq!(ask(None, None, &set), Err("ClusterSetBadSignature".into()));
        set["signed"] = Value::Null;
        assert_eq!(ask(None, None, &set), Err("Malformed".into()));
    }
}

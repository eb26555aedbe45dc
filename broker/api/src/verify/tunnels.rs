//! PROTOCOL.md 4.2, step 9: are the tunnel keys the gateway's own?

use super::Context;
use super::envelope::Envelope;
use crate::advertisement::{
    AdvertisementPayload, KEM_BYTES, State, Tunnel, TunnelPayload, proof_message,
};
use crate::checks::Checks;
use crate::clusterset::PostQuantum;
use crate::keys::{self, KeyError, PairKey, VerifyKey, WireguardKey};
use crate::names::GatewayId;
use crate::reason::{Reason, Rejected};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::{BTreeMap, BTreeSet};

/// Which gateway uses which WireGuard key.
pub type KeysInUse = BTreeMap<WireguardKey, GatewayId>;

const SLOTS: std::ops::RangeInclusive<u64> = 0..=7;
const MTUS: std::ops::RangeInclusive<u64> = 1280..=65_535;

/// Judges every tunnel entry. Shape: by slot.
///
/// # Errors
/// The reason of the first check that fails, naming the slot.
pub fn tunnels(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope,
    gateway_key: &VerifyKey,
    payload: &AdvertisementPayload,
) -> Result<Vec<Tunnel>, Rejected> {
    let expected = if payload.state == State::Withdrawn { 0..=0 } else { 1..=2 };
    if !expected.contains(&payload.tunnels.len()) {
        return Err(Reason::BadTunnel.about(format!("{} tunnels", payload.tunnels.len())));
    }
    let owner = &envelope.id;
    let mut believed = Vec::new();
    for carried in &payload.tunnels {
        let (tunnel, proof) = formed(carried)?;
        let message = proof_message(&context.list.id, owner, gateway_key, tunnel.pair.as_bytes());
        if !checks.verifies(context.budget(&owner.member), &tunnel.key, &message, &proof)? {
            return Err(Reason::TunnelProofBad.about(format!("slot {}", tunnel.slot)));
        }
        believed.push(tunnel);
    }
    believed.sort_by_key(|tunnel| tunnel.slot);
    let slots: BTreeSet<u8> = believed.iter().map(|tunnel| tunnel.slot).collect();
    let keys: BTreeSet<WireguardKey> = believed.iter().map(|t| t.key.wireguard()).collect();
    if slots.len() < believed.len() || keys.len() < believed.len() {
        return Err(Reason::BadTunnel.about("two entries share a slot or a key"));
    }
    Ok(believed)
}

/// Checks that no key is ours or another gateway's, and that post-quantum keys are there if required.
///
/// # Errors
/// `OwnKey`, `DuplicateTunnelKey` or `PqRequired`.
pub fn unused(
    context: &Context<'_>,
    owner: &GatewayId,
    payload: &AdvertisementPayload,
    tunnels: &[Tunnel],
    in_use: &KeysInUse,
) -> Result<(), Rejected> {
    for tunnel in tunnels {
        let key = tunnel.key.wireguard();
        if context.facts.tunnel_keys.contains(&key) {
            return Err(Reason::OwnKey.about(format!("slot {}", tunnel.slot)));
        }
        if let Some(other) = in_use.get(&key).filter(|other| *other != owner) {
            return Err(Reason::DuplicateTunnelKey.about(format!("of {other}")));
        }
    }
    let lacks_kem = payload.tunnels.iter().any(|tunnel| tunnel.kem.is_none());
    if context.list.post_quantum == PostQuantum::Require && lacks_kem {
        return Err(Reason::PqRequired.into());
    }
    Ok(())
}

fn formed(carried: &TunnelPayload) -> Result<(Tunnel, [u8; 64]), Rejected> {
    let bad = |what: &str| Reason::BadTunnel.about(format!("{what}, slot {}", carried.slot));
    if !SLOTS.contains(&carried.slot) || !MTUS.contains(&carried.mtu) {
        return Err(bad("slot or mtu out of range"));
    }
    if let Some(kem) = &carried.kem {
        let length = URL_SAFE_NO_PAD.decode(kem).map_or(0, |bytes| bytes.len());
        if length != KEM_BYTES {
            return Err(bad("kem is not 1184 bytes"));
        }
    }
    let weak = |_: KeyError| Reason::WeakKey.about(format!("tunnel in slot {}", carried.slot));
    let bytes = |text: &str| keys::key_bytes(text).map_err(|_| bad("a key is not 32 bytes"));
    let key = VerifyKey::check(bytes(&carried.key)?).map_err(weak)?;
    let proof = URL_SAFE_NO_PAD.decode(&carried.proof).ok();
    let proof = proof.and_then(|proof| <[u8; 64]>::try_from(proof).ok());
    let proof = proof.ok_or_else(|| bad("proof is not 64 bytes"))?;
    let tunnel = Tunnel {
        key,
        pair: PairKey::check(bytes(&carried.pair)?).map_err(weak)?,
        slot: u8::try_from(carried.slot).map_err(|_| bad("slot out of range"))?,
        mtu: u16::try_from(carried.mtu).map_err(|_| bad("mtu out of range"))?,
        candidates: carried.candidates.clone(),
    };
    Ok((tunnel, proof))
}

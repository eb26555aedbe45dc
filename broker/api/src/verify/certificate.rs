//! PROTOCOL.md 4.2, step 5: is the gateway's key certified by that identity?

use super::Context;
use super::envelope::Envelope;
use super::identity::Identity;
use crate::certificate::{self, GatewayCertPayload, Role};
use crate::checks::Checks;
use crate::keys::VerifyKey;
use crate::reason::{Reason, Rejected};
use crate::signed::Statement;

/// A gateway key that its member's identity vouches for.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Who vouches.
    pub identity: Identity,
    /// The gateway's key.
    pub key: VerifyKey,
    /// The whole certificate.
    pub cert: GatewayCertPayload,
}

/// Judges the certificate.
///
/// # Errors
/// The reason of the first check that fails.
pub fn certified(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope,
    identity: Identity,
) -> Result<Certified, Rejected> {
    let id = &envelope.id;
    let budget = context.budget(&id.member);
    if !checks.is_signed(budget, &identity.key, Statement::GatewayCert, &envelope.cert)? {
        return Err(Reason::CertBadSignature.about(id.to_string()));
    }
    let cert = GatewayCertPayload::parse(&envelope.cert.payload)?;
    if cert.role != Role::Gateway {
        return Err(Reason::WrongRole.into());
    }
    certificate::check_clusterset(&cert.clusterset, &context.list.id)?;
    certificate::check_member(&cert.member, &id.member)?;
    certificate::check_gateway(&cert.gateway, &id.gateway)?;
    let key = VerifyKey::check(cert.key).map_err(|_| Reason::WeakKey.about("gateway key"))?;
    certificate::check_life(cert.issued, cert.expires, certificate::MAX_LIFE_SECONDS)?;
    let below = context.held.below.get(&identity.key).and_then(|names| names.get(&id.gateway));
    if below.is_some_and(|below| cert.generation < *below) {
        return Err(Reason::GatewayRevoked.about(id.to_string()));
    }
    if is_new(context, envelope) && context.now > cert.expires {
        return Err(Reason::CertExpired.about(id.to_string()));
    }
    Ok(Certified { identity, key, cert })
}

/// Says whether these bytes were never believed: only then does expiry count, else hold does.
pub(super) fn is_new(context: &Context<'_>, envelope: &Envelope) -> bool {
    let held = context.held.gateways.get(&envelope.id);
    context.is_offered()
        && held.is_none_or(|held| {
            held.is_gone_by_revocation() || held.digest != envelope.signed.digest()
        })
}

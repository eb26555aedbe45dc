//! PROTOCOL.md 4.2, step 5: is the key of a gateway, or of services, certified by that identity?

use super::Context;
use super::envelope::{Envelope, Subject};
use super::identity::Identity;
use crate::certificate::{self, GatewayCertPayload};
use crate::checks::Checks;
use crate::keys::VerifyKey;
use crate::names::GatewayName;
use crate::reason::{Reason, Rejected};
use crate::signed::Statement;

/// A key that its member's identity vouches for.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Who vouches.
    pub identity: Identity,
    /// The certified key.
    pub key: VerifyKey,
    /// The whole certificate.
    pub cert: GatewayCertPayload,
}

/// Judges the certificate.
///
/// # Errors
/// The reason of the first check that fails.
pub fn certified<Id: Subject>(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope<Id>,
    identity: Identity,
) -> Result<Certified, Rejected> {
    let id = &envelope.id;
    let budget = context.budget(id.member());
    if !checks.is_signed(budget, &identity.key, Statement::GatewayCert, &envelope.cert)? {
        return Err(Reason::CertBadSignature.about(id.to_string()));
    }
    let cert = GatewayCertPayload::parse(&envelope.cert.payload)?;
    if cert.role != Id::ROLE {
        return Err(Reason::WrongRole.into());
    }
    certificate::check_clusterset(&cert.clusterset, &context.list.id)?;
    certificate::check_member(&cert.member, id.member())?;
    certificate::check_gateway(&cert.gateway, id.gateway().map_or("", GatewayName::as_str))?;
    let key = VerifyKey::check(cert.key).map_err(|_| Reason::WeakKey.about("certified key"))?;
    certificate::check_life(cert.issued, cert.expires, certificate::MAX_LIFE_SECONDS)?;
    let names = context.held.below.get(&identity.key);
    let below = names.zip(id.gateway()).and_then(|(names, gateway)| names.get(gateway));
    if below.is_some_and(|below| cert.generation < *below) {
        return Err(Reason::GatewayRevoked.about(id.to_string()));
    }
    if is_new(context, envelope) && context.now > cert.expires {
        return Err(Reason::CertExpired.about(id.to_string()));
    }
    Ok(Certified { identity, key, cert })
}

/// Says whether these bytes were never believed: only then does expiry count, else hold does.
pub(super) fn is_new<Id: Subject>(context: &Context<'_>, envelope: &Envelope<Id>) -> bool {
    context.is_offered() && envelope.id.held_digest(context.held) != Some(envelope.signed.digest())
}

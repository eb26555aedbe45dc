//! PROTOCOL.md 4.2, step 6, as far as what gateways and services say is judged alike: signed by the
//! certified key, for that certificate, and in time. Does not own what either says.

use super::Context;
use super::certificate::{Certified, is_new};
use super::envelope::{Envelope, Subject};
use crate::certificate;
use crate::checks::Checks;
use crate::reason::{Reason, Rejected};
use crate::signed::Statement;
use crate::time::UnixTime;

/// When and under which certificate something was said.
pub(super) struct Said {
    /// SHA-256 of the certificate's payload.
    pub(super) cert: [u8; 32],
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
}

pub(super) fn signed<Id: Subject>(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope<Id>,
    certified: &Certified,
    statement: Statement,
) -> Result<(), Rejected> {
    let budget = context.budget(envelope.id.member());
    if checks.is_signed(budget, &certified.key, statement, &envelope.signed)? {
        return Ok(());
    }
    Err(Reason::BadSignature.about(envelope.id.to_string()))
}

/// `most` is the longest life, in seconds.
pub(super) fn in_time<Id: Subject>(
    context: &Context<'_>,
    envelope: &Envelope<Id>,
    said: &Said,
    most: u64,
) -> Result<(), Rejected> {
    if said.cert != envelope.cert.digest() {
        return Err(Reason::CertSwapped.about(envelope.id.to_string()));
    }
    certificate::check_life(said.issued, said.expires, most)?;
    if is_new(context, envelope) && context.now > said.expires {
        return Err(Reason::Expired.about(envelope.id.to_string()));
    }
    Ok(())
}

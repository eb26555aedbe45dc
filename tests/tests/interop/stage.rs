//! Owns one pair of ends for each partner, which its cases use one after the other. Owns no case.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sealane_tests::interop::pair::Pair;
pub(crate) use sealane_tests::interop::pair::Partner;

/// Within which an answer comes, through a guest on a busy machine too. A handshake message that is
/// lost is repeated after 5 s.
pub(crate) const SOON: Duration = Duration::from_secs(60);

static PAIRS: [Mutex<Option<Pair>>; 3] = [Mutex::new(None), Mutex::new(None), Mutex::new(None)];

/// Runs a case on new devices. The pair is the case's own meanwhile: if the case fails, its lab ends
/// with it and shows what it was, and the next case gets another.
pub(crate) fn on(partner: Partner, case: fn(&Pair)) {
    let mut slot = PAIRS[partner as usize].lock().unwrap_or_else(PoisonError::into_inner);
    let build = || Pair::with(partner).unwrap_or_else(|fault| panic!("{fault}"));
    let Some(pair) = slot.take().or_else(build) else { return };
    pair.renew().unwrap();
    case(&pair);
    *slot = Some(pair);
}

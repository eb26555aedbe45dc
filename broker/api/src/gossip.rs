//! What gateways tell one another inside lanes, so that a newer list, a revocation or a withdrawal
//! spreads while the broker is away (PROTOCOL.md 7.2). It opens no socket and believes nothing: what was
//! told goes to `receiver` like everything else.

pub mod standing;
pub mod frame;
pub mod telling;
pub mod rhythm;

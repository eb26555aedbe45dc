//! The words of this host's own member: not believed, for nobody is a peer of itself, but told on. It
//! is not persisted; the own word is offered anew by whoever signs it.

use super::Receiver;
use crate::held::HeldGateway;
use crate::names::GatewayId;
use crate::time::{HOLD_SECONDS, UnixTime};
use crate::verify::advertisement::{Order, order};

/// Gateways of the own member that are remembered.
const MOST: usize = 256;

impl Receiver {
    /// Returns what is worth telling to others: believed and own words, and withdrawals, of members in
    /// the list, as long as someone who does not know them would take them. By name.
    pub fn words(&self, now: UnixTime) -> impl Iterator<Item = (&GatewayId, &HeldGateway)> {
        let is_told = move |(id, held): &(&GatewayId, &HeldGateway)| {
            let is_listed =
                self.list.as_ref().is_some_and(|list| list.members.contains_key(&id.member));
            is_listed && held.spec.is_some() && now.plus_seconds(HOLD_SECONDS) <= held.until
        };
        self.held.gateways.iter().chain(&self.siblings).filter(is_told)
    }

    /// Keeps a sound word of the own member if none later is known.
    pub(super) fn remember_own(&mut self, id: GatewayId, word: HeldGateway) {
        let entry = self.list.as_ref().and_then(|list| list.members.get(&id.member));
        let Some(entry) = entry else { return };
        let known = self.siblings.get(&id);
        let is_later = order(entry, known, word.position, word.digest) == Ok(Order::Newer);
        if is_later && (known.is_some() || self.siblings.len() < MOST) {
            self.siblings.insert(id, word);
        }
    }
}

//! Owns how the list on the broker stands to the one in force. Nothing is believed or forgotten for it: a
//! broker that lost, hides or sets back what it held cuts nothing.

use sealane_api::kinds::ClusterSetSpec;
use sealane_broker::board::Kind;

use super::Trust;

/// How a broker is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// It holds no list, or none that can be read.
    Nothing,
    /// It holds an older one than is in force.
    Older,
}

/// The last comparison; verifying a list takes milliseconds.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Signatures of the list in force and of the one on the broker.
    compared: Option<[String; 2]>,
    is_older: bool,
}

impl Trust {
    /// Says how the broker is behind; `None` when it is not, or when that is not known.
    pub fn broker_behind(&mut self) -> Option<Behind> {
        let in_force = self.list_in_force()?;
        if !self.offers.is_listed(Kind::ClusterSet) {
            return None;
        }
        let Some(shown) = self.offers.clusterset() else { return Some(Behind::Nothing) };
        let compared = Some([&in_force.signed, &shown.signed].map(|it| it.signature.clone()));
        if self.comparison.compared != compared {
            let is_older = self.receiver.outranks(shown);
            self.comparison = Comparison { compared, is_older };
        }
        self.comparison.is_older.then_some(Behind::Older)
    }

    /// Returns the list in force, signed.
    pub fn list_in_force(&self) -> Option<&ClusterSetSpec> {
        self.receiver.clusterset()?;
        self.receiver.held().clusterset.as_ref()
    }

    /// Notes that the broker is out of sight.
    pub fn lose_sight(&mut self) {
        self.offers.lose_sight();
    }
}

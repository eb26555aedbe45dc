//! Owns the loop's care for the list on the broker: whether it is behind the one in force, and that it is
//! put back where a member may. Believes nothing for it.

use sealane_broker::publish::PublishError;

use crate::run::Agent;
use crate::trust::board::Behind;

/// How the broker stands to the list in force.
#[derive(Debug, Default)]
pub struct Healing {
    /// How it is behind; `None` while it is not, or out of sight.
    pub behind: Option<Behind>,
    /// Why it did not take the list, the last time it did not.
    pub refused: Option<PublishError>,
}

impl Agent {
    /// Compares the list on the broker with the one in force, and has the line put it back.
    pub(super) fn heal_board(&mut self) {
        let Some(session) = &mut self.session else {
            self.healing = Healing::default();
            return;
        };
        let is_seen = session.line.state.connected && self.departure.is_none();
        let behind = if is_seen { session.trust.broker_behind() } else { None };
        // What is not on disk is told to nobody.
        let list = session.trust.list_in_force().filter(|_| session.trust.is_saved());
        session.line.mend(list.filter(|_| behind.is_some()));
        if self.healing.behind == behind {
            return;
        }
        match behind {
            Some(how) => tracing::warn!(?how, "the broker is behind the list in force"),
            None => self.healing.refused = None,
        }
        self.healing.behind = behind;
    }

    /// Takes the fate of an attempt to put the list back.
    pub(super) fn take_mended(&mut self, result: Result<(), PublishError>) {
        match result {
            Ok(()) => tracing::info!("the list in force is on the broker again"),
            Err(error) => {
                if self.healing.refused.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the broker did not take the list in force");
                }
                self.healing.refused = Some(error);
                return;
            }
        }
        self.healing.refused = None;
    }
}

//! Signature checks that are bounded in rate and remembered, so that no member owns our processor.
//! It remembers what a key verified, never a verdict (PROTOCOL.md 4.2, step 2).

use crate::keys::VerifyKey;
use crate::names::ClusterId;
use crate::reason::{Reason, Rejected};
use crate::signed::{SignedBytes, Statement};
use crate::time::UnixTime;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};

const REMEMBERED: usize = 8_192;
const PER_SECOND_OF_MEMBER: u32 = 50;
const PER_SECOND: u32 = 2_000;

/// Remembered checks and the budget of the current second.
#[derive(Debug, Default)]
pub struct Checks {
    known: BTreeMap<[u8; 32], bool>,
    oldest_first: VecDeque<[u8; 32]>,
    second: UnixTime,
    spent: u32,
    spent_by: BTreeMap<ClusterId, u32>,
}

/// Whose budget new checks are taken from.
#[derive(Clone, Copy, Debug)]
pub enum Budget<'a> {
    /// The member that an object's name claims to be of, at this time.
    Of(&'a ClusterId, UnixTime),
    /// Nobody's: the bytes come from this host's own disk.
    OwnDisk,
}

impl Checks {
    /// Says whether `key` signed `signed` as `statement`.
    ///
    /// # Errors
    /// `RateLimited` when the check is new and the budget is spent.
    pub fn is_signed(
        &mut self,
        budget: Budget<'_>,
        key: &VerifyKey,
        statement: Statement,
        signed: &SignedBytes,
    ) -> Result<bool, Rejected> {
        self.verifies(budget, key, &statement.message(&signed.payload), &signed.signature)
    }

    /// Says whether `signature` is `key`'s over `message`.
    ///
    /// # Errors
    /// `RateLimited` when the check is new and the budget is spent.
    pub fn verifies(
        &mut self,
        budget: Budget<'_>,
        key: &VerifyKey,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<bool, Rejected> {
        let inputs: [u8; 32] = Sha256::new()
            .chain_update(key.as_bytes())
            .chain_update(signature)
            .chain_update(message)
            .finalize()
            .into();
        if let Some(known) = self.known.get(&inputs) {
            return Ok(*known);
        }
        self.spend(budget)?;
        let verifies = key.verifies(message, signature);
        self.remember(inputs, verifies);
        Ok(verifies)
    }

    fn spend(&mut self, budget: Budget<'_>) -> Result<(), Rejected> {
        let Budget::Of(member, now) = budget else { return Ok(()) };
        if now != self.second {
            self.second = now;
            self.spent = 0;
            self.spent_by.clear();
        }
        let spent_by = self.spent_by.get(member).copied().unwrap_or(0);
        if spent_by >= PER_SECOND_OF_MEMBER {
            return Err(Reason::RateLimited.about(format!("new signatures of {member}")));
        }
        if self.spent >= PER_SECOND {
            return Err(Reason::RateLimited.about("new signatures of all members"));
        }
        self.spent += 1;
        self.spent_by.insert(member.clone(), spent_by + 1);
        Ok(())
    }

    fn remember(&mut self, inputs: [u8; 32], verifies: bool) {
        if self.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(inputs, verifies);
        self.oldest_first.push_back(inputs);
    }
}

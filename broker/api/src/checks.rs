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
/// A teller passes on the words of many members, and catching up must not take minutes.
const PER_SECOND_OF_TELLER: u32 = 500;
const PER_SECOND_OF_TELLERS: u32 = 1_000;
/// What each teller has beside that, so that two that lie do not silence the others: eight words.
const OWN_OF_TELLER: u32 = 24;

/// A list is up to 17 signatures and a megabyte to parse, and nobody has a newer one each second.
const LISTS_PER_SECOND_OF_TELLER: u32 = 2;
const LISTS_PER_SECOND_OF_TELLERS: u32 = 8;

/// Remembered checks and the budget of the current second.
#[derive(Debug, Default)]
pub struct Checks {
    known: BTreeMap<[u8; 32], bool>,
    oldest_first: VecDeque<[u8; 32]>,
    second: UnixTime,
    offered: Spent,
    told: Spent,
    lists: Spent,
}

/// What payers of one kind may spend in a second.
#[derive(Clone, Copy)]
struct Most {
    of_one: u32,
    of_all: u32,
    /// The first of each payer, which are not taken from what all have.
    own: u32,
}

const OFFERED: Most = Most { of_one: PER_SECOND_OF_MEMBER, of_all: PER_SECOND, own: 0 };
const TOLD: Most =
    Most { of_one: PER_SECOND_OF_TELLER, of_all: PER_SECOND_OF_TELLERS, own: OWN_OF_TELLER };
const LISTS: Most =
    Most { of_one: LISTS_PER_SECOND_OF_TELLER, of_all: LISTS_PER_SECOND_OF_TELLERS, own: 1 };

/// What one kind of payers spent in the current second.
#[derive(Debug, Default)]
struct Spent {
    all: u32,
    by: BTreeMap<ClusterId, u32>,
}

/// Whose budget new checks are taken from.
#[derive(Clone, Copy, Debug)]
pub enum Budget<'a> {
    /// The member that an object's name claims to be of, at this time.
    Of(&'a ClusterId, UnixTime),
    /// The member of the peer that told an object, whoever it claims to be of, at this time.
    ToldBy(&'a ClusterId, UnixTime),
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

    /// Takes the judging of one list from the budget of who told it.
    ///
    /// # Errors
    /// `RateLimited` when that is spent.
    pub fn spend_list(&mut self, teller: &ClusterId, now: UnixTime) -> Result<(), Rejected> {
        self.begin(now);
        self.lists.spend(teller, LISTS)
    }

    fn begin(&mut self, now: UnixTime) {
        if now != self.second {
            self.second = now;
            (self.offered, self.told, self.lists) = Default::default();
        }
    }

    fn spend(&mut self, budget: Budget<'_>) -> Result<(), Rejected> {
        let (Budget::Of(_, now) | Budget::ToldBy(_, now)) = budget else { return Ok(()) };
        self.begin(now);
        match budget {
            Budget::Of(member, _) => self.offered.spend(member, OFFERED),
            Budget::ToldBy(teller, _) => self.told.spend(teller, TOLD),
            Budget::OwnDisk => Ok(()),
        }
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

impl Spent {
    fn spend(&mut self, payer: &ClusterId, most: Most) -> Result<(), Rejected> {
        let spent = self.by.get(payer).copied().unwrap_or(0);
        if spent >= most.of_one {
            return Err(Reason::RateLimited.about(format!("new signatures of {payer}")));
        }
        if spent >= most.own {
            if self.all >= most.of_all {
                return Err(Reason::RateLimited.about("new signatures of all members"));
            }
            self.all += 1;
        }
        self.by.insert(payer.clone(), spent + 1);
        Ok(())
    }
}

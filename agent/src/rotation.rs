//! Owns the replacement of this gateway's tunnel and pair keys, step by step, so that it can go on after
//! a restart at any of them. Keeps no key itself; makes no lane.
//!
//! First others are told of both keys; then the device takes up the new one, and lane by lane follows
//! as soon as the other end shakes hands with it; then the new one is told alone. How long a step lasts
//! goes by a clock that nobody sets; only a restart has to believe the time of day.

use std::time::{Duration, Instant};

use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::keys::{Keys, KeysError};

/// The file: nothing in it is secret.
const FILE: &str = "tunnel.json";
/// A key that is as old is replaced.
pub const LIFE_SECONDS: u64 = 90 * DAY_SECONDS;
/// Others have this long to take a word that the broker has.
const HEARD_SECONDS: u64 = 5;
/// Without a broker peers hear of it inside the lanes; this is enough for that.
const HEARD_FROM_PEERS_SECONDS: u64 = 60;
/// Who has not followed by then is not waited for any more.
const PATIENCE_SECONDS: u64 = DAY_SECONDS;
/// Slots of the two entries of one gateway are this far apart, so that those of others are beside them.
const APART: u8 = 4;
/// Number of slots.
const SLOTS: u8 = 8;

/// What is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// When the key in use was taken up, or an agent first kept account of it.
    since: UnixTime,
    /// How many keys were replaced; even and odd ones have different slots.
    turn: u64,
    /// Where the replacement stands, if one is under way.
    step: Option<Step>,
}

/// A step of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Others are told of the new key; the old one is in use.
    Announced(UnixTime),
    /// The new key is in use; some lanes may still go by the old one.
    Moving(UnixTime),
    /// The old key is being removed.
    Finishing,
}

/// What a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether a broker has taken the word that tells of both keys.
    pub told: bool,
    /// Whether the device has taken up the key that is to be in use.
    pub taken_up: bool,
    /// Lanes that still go by the key before.
    pub lagging: usize,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time of day: what outlives a restart.
    pub wall: UnixTime,
    /// What nobody sets: it alone says how long a step has lasted that began in this run.
    pub uptime: Instant,
}

/// The keys of the tunnel entries, as others see them.
pub struct Rotation {
    store: Store,
    kept: Kept,
    /// When the step under way began or this run did, and how long it had lasted by then.
    lasted: (Instant, Duration),
}

/// Why keys are not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Something could not be written first.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys could not be made or kept.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The file is not what this program writes.
    #[error("{path}: {cause}; remove it: a replacement that was under way begins anew")]
    Damaged {
        /// The file.
        path: String,
        /// Where it is wrong.
        cause: String,
    },
}

impl Rotation {
    /// Goes on where the disk says that it was left; `keys` are those in use after that. A disk that
    /// takes nothing now is no reason not to start: what is to be written is tried again.
    ///
    /// # Errors
    /// [`RotationError`] when the file is there and cannot be used.
    pub fn resume(store: Store, keys: &mut Keys, now: Moment) -> Result<Self, RotationError> {
        let found = store.load(FILE)?;
        let kept = match &found {
            Some(bytes) => serde_json::from_slice(bytes).map_err(|error| {
                let path = store.path(FILE).display().to_string();
                RotationError::Damaged { path, cause: error.to_string() }
            })?,
            None => Kept { since: now.wall, turn: 0, step: None },
        };
        let lasted = match kept.step {
            Some(Step::Announced(since) | Step::Moving(since)) => {
                now.wall.0.saturating_sub(since.0)
            }
            Some(Step::Finishing) | None => 0,
        };
        let lasted = (now.uptime, Duration::from_secs(lasted));
        let mut rotation = Self { store, kept, lasted };
        let written = match rotation.kept.step {
            None if found.is_some() => Ok(()),
            None => rotation.save(rotation.kept.clone()).map_err(Into::into),
            Some(step) => {
                keys.load_second(&rotation.store)?;
                rotation.take_up(step, keys)
            }
        };
        if let Err(error) = written {
            tracing::warn!(%error, "how the tunnel key stands is not kept yet");
        }
        Ok(rotation)
    }

    fn take_up(&mut self, step: Step, keys: &mut Keys) -> Result<(), RotationError> {
        match step {
            // Without the other keys there is only what is in use.
            Step::Announced(_) | Step::Moving(_) if keys.second.is_none() => self.set_step(None)?,
            Step::Announced(_) => {}
            Step::Moving(_) => keys.swap(),
            Step::Finishing => {
                keys.swap();
                self.finish(keys)?;
            }
        }
        Ok(())
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        store.remove(FILE)
    }

    /// Returns since when the present key is in use.
    pub fn since(&self) -> UnixTime {
        self.kept.since
    }

    /// Returns where a replacement stands, if one is under way.
    pub fn step(&self) -> Option<Step> {
        self.kept.step
    }

    /// Returns the slots of the entry in use and, while there are two, of the other one; `base` is the
    /// gateway's place among those of its member.
    pub fn slots(&self, base: u8) -> (u8, Option<u8>) {
        let slot = |turn: u64| (base + if turn.is_multiple_of(2) { 0 } else { APART }) % SLOTS;
        let turn = self.kept.turn;
        match self.kept.step {
            None => (slot(turn), None),
            Some(Step::Finishing) => (slot(turn + 1), None),
            Some(Step::Announced(_)) => (slot(turn), Some(slot(turn + 1))),
            Some(Step::Moving(_)) => (slot(turn + 1), Some(slot(turn))),
        }
    }

    /// Says whether the key is so old that it is to be replaced unasked.
    pub fn is_due(&self, now: UnixTime) -> bool {
        self.kept.step.is_none() && now >= self.kept.since.plus_seconds(LIFE_SECONDS)
    }

    /// Begins: makes the next keys, to be told beside those in use.
    ///
    /// # Errors
    /// [`RotationError`]; nothing has begun then.
    pub fn begin(&mut self, keys: &mut Keys, now: Moment) -> Result<(), RotationError> {
        keys.make_second(&self.store)?;
        if let Err(error) = self.set_step(Some(Step::Announced(now.wall))) {
            keys.second = None;
            return Err(error.into());
        }
        self.lasted = (now.uptime, Duration::ZERO);
        tracing::info!("tunnel key is being replaced: others are told of the next one");
        Ok(())
    }

    /// Takes the next step if it is time; says whether it was.
    ///
    /// # Errors
    /// [`RotationError`]; the step is tried again then.
    pub fn advance(
        &mut self,
        keys: &mut Keys,
        standing: Standing,
        now: Moment,
    ) -> Result<bool, RotationError> {
        let (from, before) = self.lasted;
        let lasted = before.saturating_add(now.uptime.saturating_duration_since(from)).as_secs();
        let Some(step) = self.kept.step.filter(|step| step.is_over(standing, lasted)) else {
            return Ok(false);
        };
        match step {
            Step::Announced(_) => {
                self.set_step(Some(Step::Moving(now.wall)))?;
                self.lasted = (now.uptime, Duration::ZERO);
                keys.swap();
                tracing::info!(key = %keys.wireguard(), "the next tunnel key is in use");
            }
            Step::Moving(_) => {
                self.set_step(Some(Step::Finishing))?;
                self.finish(keys)?;
            }
            Step::Finishing => self.finish(keys)?,
        }
        Ok(true)
    }

    fn finish(&mut self, keys: &mut Keys) -> Result<(), RotationError> {
        keys.keep_only_first(&self.store)?;
        let turn = self.kept.turn + 1;
        self.save(Kept { turn, step: None, ..self.kept.clone() })?;
        tracing::info!(key = %keys.wireguard(), "tunnel key replaced");
        Ok(())
    }

    fn set_step(&mut self, step: Option<Step>) -> Result<(), StoreError> {
        let since = match step {
            Some(Step::Moving(at)) => at,
            _ => self.kept.since,
        };
        self.save(Kept { since, step, ..self.kept.clone() })
    }

    fn save(&mut self, kept: Kept) -> Result<(), StoreError> {
        // Integers and names of steps always serialise.
        self.store.save(FILE, &serde_json::to_vec(&kept).unwrap_or_default())?;
        self.kept = kept;
        Ok(())
    }
}

impl Step {
    /// Says whether it is time for the next one; `lasted` is in seconds.
    fn is_over(self, standing: Standing, lasted: u64) -> bool {
        let wait = match self {
            Self::Announced(_) if standing.told => HEARD_SECONDS,
            Self::Announced(_) => HEARD_FROM_PEERS_SECONDS,
            Self::Moving(_) if standing.taken_up && standing.lagging == 0 => HEARD_SECONDS,
            Self::Moving(_) => PATIENCE_SECONDS,
            Self::Finishing => return true,
        };
        lasted >= wait
    }
}

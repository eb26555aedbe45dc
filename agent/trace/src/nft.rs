//! Owns what netfilter does with a packet at one hook: the chains of all tables in order of their
//! priority, as far as their rules can be judged. Never takes what it cannot judge for a pass.

pub mod ruleset;
pub mod term;
pub mod matching;
pub mod statement;
pub mod chain;

use sealane_state::filter::{HookKind, HookPoint};
use sealane_state::owner;
use sealane_state::rule::Family;

use crate::nft::chain::{Ends, Walker};
use crate::nft::ruleset::{BaseChain, ChainId, Ruleset, TableFamily};
use crate::nft::term::Sight;
use crate::packet::Flow;

/// What became of a packet at a hook.
#[derive(Debug, Clone, Default)]
pub struct Passage {
    /// How many base chains it met.
    pub chains: usize,
    /// What was done to it: translations and marks, in order.
    pub deeds: Vec<String>,
    /// What cannot be told, in order.
    pub doubts: Vec<String>,
    /// The chain that certainly drops it, as a place, and how.
    pub dropped: Option<(String, String)>,
}

/// Passes a packet through the chains of one hook; `sight` is changed as they change the packet.
pub fn pass(ruleset: &Ruleset, point: HookPoint, sight: &mut Sight<'_>) -> Passage {
    let mut passage = Passage::default();
    for (id, base) in ruleset.at(point) {
        if !sees(id.family, sight.family())
            || (base.kind == HookKind::Nat && !sight.may_bind(point))
        {
            continue;
        }
        passage.chains += 1;
        let mut walker = Walker::new(ruleset, id, base.kind);
        let mark = sight.mark;
        let ends = walker.walk(sight);
        passage.deeds.append(&mut walker.deeds);
        if sight.mark != mark
            && let Some(mark) = sight.mark.exact()
        {
            passage.deeds.push(format!("mark becomes {mark:#x} ({})", place(id)));
        }
        let doubted = ruleset.is_doubtful(id);
        match judge(&ends, base, doubted) {
            Judgement::Pass => {}
            Judgement::Doubt(dropper) => {
                let reasons = if ends.doubts.is_empty() {
                    "whether the table is dormant is not known".to_owned()
                } else {
                    ends.doubts.join("; ")
                };
                passage.doubts.push(format!("{} may drop it {dropper} ({reasons})", place(id)));
            }
            Judgement::Drop(how) => {
                passage.dropped = Some((place(id), how));
                return passage;
            }
        }
        passage.doubts.append(&mut walker.doubts);
    }
    passage
}

/// How a base chain ends for a packet.
enum Judgement {
    Pass,
    Doubt(String),
    Drop(String),
}

fn judge(ends: &Ends, base: &BaseChain, doubted: bool) -> Judgement {
    let policy_drops = ends.through && base.drops;
    let dropper = ends.dropped.clone().or_else(|| policy_drops.then(|| "by its policy".to_owned()));
    let passes = ends.accepted || (ends.through && !base.drops);
    match dropper {
        None => Judgement::Pass,
        Some(how) if passes || doubted => Judgement::Doubt(how),
        Some(how) => Judgement::Drop(how),
    }
}

fn sees(table: TableFamily, packet: Family) -> bool {
    match table {
        TableFamily::Inet => true,
        TableFamily::Ip => packet == Family::V4,
        TableFamily::Ip6 => packet == Family::V6,
    }
}

/// Returns how a chain is called in an account.
pub fn place(id: &ChainId) -> String {
    format!("nft chain {} of table {} {}", id.chain, id.family, id.table)
}

/// Says whether a table is our own: its drops of our own ports do not concern other packets.
pub fn is_ours(id: &ChainId) -> bool {
    id.family == TableFamily::Inet && id.table == owner::FILTER_TABLE
}

impl Sight<'_> {
    /// Says whether nat chains of a hook see the packet: only the first of a flow, and only until
    /// one of them has bound it.
    fn may_bind(&self, point: HookPoint) -> bool {
        let bound = match point {
            HookPoint::Prerouting | HookPoint::Output => self.destination_bound,
            HookPoint::Input | HookPoint::Forward | HookPoint::Postrouting => self.source_bound,
        };
        self.flow == Flow::New && !bound
    }
}

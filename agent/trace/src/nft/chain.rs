//! Owns the way of a packet through one base chain: rules in order, jumps, verdicts, and every end
//! that is possible where a rule cannot be judged. Does not own hooks and priorities.

use std::net::IpAddr;

use sealane_state::filter::HookKind;
use serde_json::Value;

use crate::nft;
use crate::nft::matching::{self, Sets, Truth};
use crate::nft::ruleset::{ChainId, Rule, Ruleset};
use crate::nft::statement::{self, End, INERT};
use crate::nft::term::{self, Doubt, Sight, Term};

/// Depth of jumps that the kernel allows (`NFT_JUMP_STACK_SIZE`).
const DEEPEST_JUMP: usize = 16;
/// Rules judged at one base chain; more is left in doubt, so that a walk ends soon.
const MOST_RULES: usize = 50_000;

/// All ends that a packet may find in a chain; one only, where everything could be judged.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// It may fall out at the end.
    pub through: bool,
    /// It may be accepted.
    pub accepted: bool,
    /// It may be dropped, and how.
    pub dropped: Option<String>,
    /// Why there is more than one end.
    pub doubts: Vec<String>,
}

impl Ends {
    fn through() -> Self {
        Self { through: true, ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.accepted |= other.accepted;
        self.dropped = self.dropped.take().or(other.dropped);
        self.doubts.extend(other.doubts);
    }
}

/// A rule and the chain it stands in.
#[derive(Clone, Copy)]
struct Place<'r> {
    id: &'r ChainId,
    rule: &'r Rule,
}

/// How far the judgement of a rule has come.
#[derive(Clone)]
struct Progress<'p> {
    /// Jumps that are still allowed.
    depth: usize,
    /// Why it cannot be told that the rule holds.
    doubt: Option<Doubt>,
    /// The packet before the rule.
    before: Sight<'p>,
}

/// One packet in one base chain.
pub struct Walker<'r> {
    ruleset: &'r Ruleset,
    base: &'r ChainId,
    kind: HookKind,
    rules_left: usize,
    /// Whether a rule named the packet's destination as a Service address: its ports are then taken
    /// to be those of the Service.
    service: bool,
    /// What was done to the packet.
    pub deeds: Vec<String>,
    /// What may have been done to it.
    pub doubts: Vec<String>,
}

impl<'r> Walker<'r> {
    /// Makes a walker at the head of a base chain.
    pub fn new(ruleset: &'r Ruleset, base: &'r ChainId, kind: HookKind) -> Self {
        let (deeds, doubts) = (Vec::new(), Vec::new());
        Self { ruleset, base, kind, rules_left: MOST_RULES, service: false, deeds, doubts }
    }

    /// Walks the chain and all it jumps to; `sight` is changed as the rules change the packet.
    pub fn walk(&mut self, sight: &mut Sight<'_>) -> Ends {
        self.chain(self.base.clone(), sight, DEEPEST_JUMP)
    }

    fn chain(&mut self, id: ChainId, sight: &mut Sight<'_>, depth: usize) -> Ends {
        let mut ends = Ends::default();
        for rule in self.ruleset.rules(&id) {
            let Some(left) = self.rules_left.checked_sub(1).filter(|_| depth > 0) else {
                ends.through = true;
                ends.accepted = true;
                ends.dropped = ends.dropped.or(Some("by some rule".to_owned()));
                ends.doubts.push("too many rules to judge them all".to_owned());
                return ends;
            };
            self.rules_left = left;
            let service = self.service;
            let outcome = self.rule(Place { id: &id, rule }, sight, depth);
            self.service = service;
            let (goes_on, leaves) = (outcome.goes_on, outcome.leaves);
            ends.add(outcome.ends);
            ends.through |= leaves;
            if !goes_on {
                return ends;
            }
        }
        ends.through = true;
        ends
    }

    fn rule(&mut self, place: Place<'_>, sight: &mut Sight<'_>, depth: usize) -> Outcome {
        let before = *sight;
        let mut doubt = None;
        for (number, entry) in place.rule.statements.iter().enumerate() {
            let last = number + 1 == place.rule.statements.len();
            let Some((kind, body)) = entry.as_object().and_then(|it| it.iter().next()) else {
                return Outcome::anything(place, "a statement");
            };
            match kind.as_str() {
                "match" => match self.judged(body, sight) {
                    Truth::Yes => {}
                    Truth::No => return Outcome::next(),
                    Truth::Maybe(why) => doubt = doubt.or(Some(why)),
                },
                "limit" | "quota" | "ct count" | "connlimit" => {
                    doubt = doubt.or_else(|| Some(Doubt::Unread(kind.clone())));
                }
                "xt" if statement::is_xt_match(body, last) => {
                    doubt = doubt
                        .or_else(|| Some(statement::xt_doubt(body)))
                        .filter(|it| !self.waived(it));
                }
                "xt" if body["name"] == "comment" => {}
                "mangle" => statement::mangle(body, sight),
                "vmap" => {
                    return self.vmap(place, body, sight, Progress { depth, doubt, before });
                }
                "dnat" | "redirect" | "snat" | "masquerade" => {
                    return self.translate(place, (kind, body), sight, doubt);
                }
                inert if INERT.contains(&inert) => {}
                _ => {
                    let end = statement::end_of(kind, body);
                    return self.finish(place, end, sight, Progress { depth, doubt, before });
                }
            }
        }
        if doubt.is_some() {
            statement::blur(sight, &before);
        }
        Outcome::next()
    }

    /// Judges a match; what depends on chance or ports alone holds, once a Service was recognised.
    fn judged(&mut self, body: &Value, sight: &Sight<'_>) -> Truth {
        let truth = matching::judge(body, sight, self.sets());
        if truth != Truth::No && body["op"] != "!=" {
            self.recognise(&body["left"], &body["right"], sight.destination);
        }
        match truth {
            Truth::Maybe(doubt) if self.waived(&doubt) => Truth::Yes,
            truth => truth,
        }
    }

    fn waived(&self, doubt: &Doubt) -> bool {
        self.service && matches!(doubt, Doubt::Protocol(_) | Doubt::Chance)
    }

    /// Notes when a nat rule names the destination, and not merely a network that holds it.
    fn recognise(&mut self, left: &Value, right: &Value, destination: IpAddr) {
        let named = match right.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(set) => self.ruleset.elements(self.base, set).is_some_and(|elements| {
                elements.iter().any(|it| statement::names(it, destination))
            }),
            None => statement::names(right, destination),
        };
        self.service |= self.kind == HookKind::Nat && statement::reads_destination(left) && named;
    }

    fn sets(&self) -> Sets<'r> {
        Sets { ruleset: self.ruleset, near: self.base }
    }

    fn vmap<'p>(
        &mut self,
        place: Place<'_>,
        body: &Value,
        sight: &mut Sight<'p>,
        progress: Progress<'p>,
    ) -> Outcome {
        let key = term::read(&body["key"], sight);
        let elements = match (&body["data"], body["data"]["set"].as_array()) {
            (_, Some(elements)) => elements.as_slice(),
            (Value::String(name), _) => {
                let name = name.strip_prefix('@').unwrap_or(name);
                match self.ruleset.elements(self.base, name) {
                    Some(elements) => elements,
                    None => return Outcome::anything(place, name),
                }
            }
            _ => return Outcome::anything(place, "a verdict map"),
        };
        if let Term::Elsewhere = key {
            return Outcome::next();
        }
        let mut outcome = Outcome::next();
        for (number, element) in elements.iter().enumerate() {
            let Some([key_value, verdict]) = element.as_array().map(Vec::as_slice) else {
                return Outcome::anything(place, "a verdict map");
            };
            let mut truth = match key {
                // One of the equal ways is followed; which, the question says.
                Term::Draw(_) if number == usize::from(sight.choice) % elements.len() => Truth::Yes,
                Term::Draw(_) => Truth::No,
                _ => self.sets().hold(&key, key_value),
            };
            if truth == Truth::No {
                continue;
            }
            let service = self.service;
            self.recognise(&body["key"], key_value, sight.destination);
            if matches!(&truth, Truth::Maybe(doubt) if self.waived(doubt)) {
                truth = Truth::Yes;
            }
            let maybe = match truth {
                Truth::Maybe(why) => Some(why),
                _ => None,
            };
            let certain = maybe.is_none();
            let doubt = progress.doubt.clone().or(maybe);
            let end = match verdict.as_object().and_then(|it| it.iter().next()) {
                Some((kind, body)) => statement::end_of(kind, body),
                None => End::Anything("a verdict".to_owned()),
            };
            let one = self.finish(place, end, sight, Progress { doubt, ..progress.clone() });
            self.service = service;
            outcome.ends.add(one.ends);
            outcome.leaves |= one.leaves;
            if certain {
                outcome.goes_on = one.goes_on;
                return outcome;
            }
        }
        outcome
    }

    /// Brings a rule to its end; where it is not certain that it holds, it may also go on.
    fn finish<'p>(
        &mut self,
        place: Place<'_>,
        end: End,
        sight: &mut Sight<'p>,
        Progress { depth, doubt, before }: Progress<'p>,
    ) -> Outcome {
        let Place { id, rule } = place;
        let about_ports = matches!(doubt, Some(Doubt::Protocol(_)));
        if about_ports && nft::is_ours(self.base) && matches!(end, End::Drop(_)) {
            // Our own drops guard our own ports; nobody asks for those.
            *sight = before;
            return Outcome::next();
        }
        let mut outcome = match end {
            End::Accept => Outcome::ending(Ends { accepted: true, ..Ends::default() }),
            End::Drop(word) => {
                let how = self.how(place, word);
                Outcome::ending(Ends { dropped: Some(how), ..Ends::default() })
            }
            End::Return => Outcome { leaves: true, ..Outcome::ending(Ends::default()) },
            End::Jump(chain) => {
                let ends = self.chain(ChainId { chain, ..id.clone() }, sight, depth - 1);
                Outcome { goes_on: ends.through, leaves: false, ends }
            }
            End::Goto(chain) => {
                let ends = self.chain(ChainId { chain, ..id.clone() }, sight, depth - 1);
                Outcome { goes_on: false, leaves: ends.through, ends }
            }
            End::Anything(what) => Outcome::anything(place, &what),
        };
        outcome.ends.through = false;
        if let Some(doubt) = doubt {
            outcome.goes_on = true;
            outcome
                .ends
                .doubts
                .push(format!("rule handle {} of {}: {doubt}", rule.handle, id.chain));
            statement::blur(sight, &before);
        }
        outcome
    }

    fn how(&self, Place { id, rule }: Place<'_>, word: &str) -> String {
        let rule = rule.handle;
        if id == self.base {
            format!("by rule handle {rule}{word}")
        } else {
            format!("by rule handle {rule} of chain {}{word}", id.chain)
        }
    }

    fn translate(
        &mut self,
        Place { id, rule }: Place<'_>,
        (kind, body): (&str, &Value),
        sight: &mut Sight<'_>,
        doubt: Option<Doubt>,
    ) -> Outcome {
        let at = nft::place(id);
        let to_destination = matches!(kind, "dnat" | "redirect");
        let end = if to_destination { "destination" } else { "source" };
        if let Some(doubt) = doubt {
            if !(nft::is_ours(self.base) && matches!(doubt, Doubt::Protocol(_))) {
                let rule = rule.handle;
                self.doubts
                    .push(format!("rule handle {rule} of {at} may change its {end}: {doubt}"));
            }
            return Outcome::next();
        }
        let target = match kind {
            "redirect" => None,
            "masquerade" => sight.masquerade,
            _ => statement::address(&body["addr"], sight),
        };
        match (target, kind) {
            (Some(target), _) => {
                let held = if to_destination { &mut sight.destination } else { &mut sight.source };
                let port = body["port"].as_u64().filter(|_| to_destination);
                let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
                self.deeds.push(if *held == target {
                    format!("{end} stays {target} ({at})")
                } else {
                    format!("{end} becomes {target}{port} ({at})")
                });
                *held = target;
            }
            (None, "dnat" | "snat") if body["addr"].is_null() => {}
            (None, _) => {
                self.doubts.push(format!("{at} changes its {end} in a way that cannot be judged"));
            }
        }
        *(if to_destination { &mut sight.destination_bound } else { &mut sight.source_bound }) =
            true;
        Outcome::ending(Ends { accepted: true, ..Ends::default() })
    }
}

/// What a rule does to the way through its chain.
struct Outcome {
    /// The next rule may follow.
    goes_on: bool,
    /// The packet may leave the chain for the calling one.
    leaves: bool,
    /// Other ends.
    ends: Ends,
}

impl Outcome {
    fn next() -> Self {
        Self { goes_on: true, leaves: false, ends: Ends::default() }
    }

    fn ending(ends: Ends) -> Self {
        Self { goes_on: false, leaves: false, ends }
    }

    fn anything(Place { id, rule }: Place<'_>, what: &str) -> Self {
        let at = format!("rule handle {} of {}", rule.handle, id.chain);
        let ends = Ends {
            accepted: true,
            dropped: Some(format!("by {at}")),
            doubts: vec![format!("{at}: {what} cannot be judged")],
            ..Ends::through()
        };
        Self { goes_on: true, leaves: true, ends }
    }
}

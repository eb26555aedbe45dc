//! Owns the routing steps of a course: rule, table, route, and the source that this host chooses.

use std::net::IpAddr;

use sealane_state::facts::{SeenAction, SeenRule};
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::rule::Family;
use sealane_view::trace::{Outcome, Stage};

use crate::course::{Chosen, Dropped, Walker};
use crate::routing::{self, Found, Lookup};

impl<'w> Walker<'w> {
    pub(super) fn route(&mut self) -> Result<Chosen<'w>, Dropped> {
        let lookup = Lookup {
            destination: self.destination,
            source: self.source,
            input: self.packet.entry.link(),
            mark: self.mark,
            choice: self.packet.choice,
        };
        let answer = routing::route(self.snapshot.routing, &lookup);
        for (rule, why) in answer.doubtful {
            let what = format!("rule {}", rule.priority);
            let text = routing::rule_text(rule);
            let detail = format!("({text}) may decide instead: {why}");
            self.step(Stage::Rule, &what, detail, Outcome::Warn);
        }
        let Some(rule) = answer.rule else {
            return self.fail(
                Stage::Rule,
                "no rule".to_owned(),
                &format!("leads to a route to {}{}", self.destination, self.why_not_ours()),
            );
        };
        let what = format!("rule {}", rule.priority);
        self.step(Stage::Rule, &what, routing::rule_text(rule), Outcome::Ok);
        match answer.found {
            Found::Route(table, route, way) => {
                let what = format!("table {}", routing::table_name(table));
                let detail = format!("has {} for {}", route.destination, self.destination);
                self.step(Stage::Table, &what, detail, Outcome::Ok);
                let text = routing::route_text(route, way);
                let hop = way.map(|way| way.hop);
                let fate = match (route.kind.as_str(), hop) {
                    ("local" | "anycast", _) => Ok("delivers to this host".to_owned()),
                    ("unicast", Some(hop)) => Ok(match (hop.gateway, &hop.link) {
                        (Some(gateway), _) => format!("leads to the next hop {gateway}"),
                        (None, Some(link)) => format!("leads straight out of {link}"),
                        (None, None) => "leads out".to_owned(),
                    }),
                    (kind, _) => Err(refusal(kind, self.snapshot.member_of(self.destination))),
                };
                match fate {
                    Ok(detail) => {
                        self.step(Stage::Route, &format!("route {text}"), detail, Outcome::Ok)
                    }
                    Err(detail) => {
                        return self.fail(Stage::Route, format!("route {text}"), &detail);
                    }
                }
                Ok(Chosen { route, hop })
            }
            Found::Refused(word) => self.fail(Stage::Rule, what, &refusal(word, None)),
            Found::Nothing => self.fail(Stage::Rule, what, "leads nowhere"),
        }
    }

    /// Says why a packet for another member does not take the table of remote prefixes.
    pub(super) fn why_not_ours(&self) -> String {
        let Some(member) = self.snapshot.member_of(self.destination) else { return String::new() };
        let table = owner::TABLE_REMOTE;
        let family = self.packet.family();
        let routing = self.snapshot.routing;
        let looks =
            |rule: &SeenRule| rule.family == family && rule.action == SeenAction::Lookup(table);
        let routes = routing.routes.get(&table);
        let has =
            routes.is_some_and(|it| it.iter().any(|it| it.destination.contains(self.destination)));
        let why = match (routing.rules.iter().any(looks), has) {
            (false, _) => format!("no rule looks up table {table}"),
            (true, false) => format!("table {table} has no route to it"),
            (true, true) => format!("the rule of table {table} does not hold for it"),
        };
        format!("; it is an address of {member}, but {why}")
    }

    pub(super) fn choose_source(&mut self, chosen: &Chosen<'_>) -> Result<(), Dropped> {
        if self.source.is_some() {
            return Ok(());
        }
        let link = chosen.hop.and_then(|hop| hop.link.as_ref());
        let local = chosen.hop.is_none().then_some(self.destination);
        let source = chosen.route.source.or(local).or_else(|| self.address_on(link));
        self.source = source;
        match source {
            Some(source) => {
                let detail = "is chosen for packets of this host".to_owned();
                self.step(Stage::Source, &format!("source {source}"), detail, Outcome::Ok);
                Ok(())
            }
            None => self.fail(
                Stage::Source,
                "this host".to_owned(),
                &format!("has no {} address to send from", self.packet.family()),
            ),
        }
    }

    /// Returns an address of the packet's family on a link, else on any; no link-local one, unless
    /// there is no other.
    pub(super) fn address_on(&self, link: Option<&LinkName>) -> Option<IpAddr> {
        let family = self.packet.family();
        let links = &self.snapshot.facts.links;
        let first = link.and_then(|link| links.get(link)).into_iter();
        let others = links.iter().filter(|(name, _)| name.as_str() != "lo").map(|(_, link)| link);
        let addresses = first.chain(others).flat_map(|link| &link.addresses);
        let of_family: Vec<IpAddr> = addresses
            .map(|net| net.ip())
            .filter(|ip| ip.is_ipv4() == (family == Family::V4))
            .collect();
        let wide = |ip: &&IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        };
        of_family.iter().find(wide).or(of_family.first()).copied()
    }
}

fn refusal(word: &str, member: Option<&str>) -> String {
    let reason = member.map(|member| format!(": no way to {member} is alive")).unwrap_or_default();
    match word {
        "blackhole" => format!("drops the packet silently{reason}"),
        "unreachable" | "prohibit" => format!("refuses the packet with ICMP {word}{reason}"),
        other => format!("does not forward ({other}){reason}"),
    }
}

//! How a plan reads in a golden file.

use std::fmt::Write as _;

use sealane_plan::plan::{Plan, ProbeTargets};
use sealane_plan::verdict::{Verdicts, Way};

/// Compares a plan with `tests/cases/<case>.txt`; with `UPDATE_EXPECT=1` writes that file instead.
pub(crate) fn check(case: &str, plan: &Plan) {
    crate::lab::golden(case, &text(plan));
}

fn text(plan: &Plan) -> String {
    let mut text = format!("{}", plan.host);
    if text.is_empty() {
        text.push_str("(no trace of us)\n");
    }
    probes(&plan.probes, &mut text);
    verdicts(&plan.verdicts, &mut text);
    if !plan.problems.is_empty() {
        text.push_str("\nproblems\n");
    }
    for problem in &plan.problems {
        let view = problem.view();
        let _ = writeln!(text, "  {} {}: {}; {}", view.reason, view.thing, view.cause, view.next);
    }
    text
}

fn probes(probes: &ProbeTargets, text: &mut String) {
    if !probes.lanes.is_empty() || !probes.legs.is_empty() {
        text.push_str("\nprobes\n");
    }
    for target in probes.lanes.values() {
        let candidates: Vec<String> =
            target.candidates.iter().map(|candidate| candidate.endpoint.to_string()).collect();
        let (from, to, link) = (target.source, target.destination, &target.link);
        let (gateway, mtu, tries) = (&target.gateway, target.max_mtu, candidates.join(" "));
        let _ =
            writeln!(text, "  lane {gateway}: {from} > {to} dev {link} mtu {mtu} try [{tries}]");
    }
    for (node, target) in &probes.legs {
        let link = target.link.as_ref().map_or("(underlay)".to_owned(), ToString::to_string);
        let (from, to, mtu) = (target.source, target.destination, target.max_mtu);
        let _ = writeln!(text, "  leg {node}: {from} > {to} dev {link} mtu {mtu}");
    }
}

fn verdicts(verdicts: &Verdicts, text: &mut String) {
    if !verdicts.members.is_empty() {
        text.push_str("\nverdicts\n");
    }
    for (member, verdict) in &verdicts.members {
        let (state, live, all) = (verdict.state, verdict.live, verdict.gateways);
        let _ = writeln!(text, "  member {member}: {state:?}, {live} of {all} gateways live");
    }
    for lane in verdicts.lanes.values() {
        let (gateway, link) = (&lane.gateway, &lane.link);
        let _ = writeln!(text, "  lane {gateway}: {:?} {:?} dev {link}", lane.state, lane.role);
    }
    for (prefix, verdict) in &verdicts.prefixes {
        let way = match &verdict.way {
            Way::Lane(lane) => format!("by lane {}", verdicts.lanes[lane].gateway),
            Way::Legs(nodes) => {
                let nodes: Vec<&str> = nodes.iter().map(|node| node.0.as_str()).collect();
                format!("by own gateways {}", nodes.join(", "))
            }
            Way::Unreachable => "refused: no live way".to_owned(),
            Way::Unspoken => "refused: nobody speaks for it".to_owned(),
            Way::LeftOut(problem) => format!("left out: {}", problem.reason()),
        };
        let _ = writeln!(text, "  prefix {prefix} of {}: {way}", verdict.member);
    }
    for (family, source) in &verdicts.sources {
        let _ = writeln!(text, "  source {family}: {source:?}");
    }
}

//! Owns route and rule changes: routes before the rules that look them up, rules away before routes.

use crate::change::Change;
use crate::host::HostState;
use crate::rule::{MarkMatch, Rule};

/// Returns the routes to put, then the rules to add.
pub fn additions(want: &HostState, have: &HostState) -> Vec<Change> {
    let routes = want.routes.iter().filter(|(key, route)| have.routes.get(key) != Some(*route));
    let mut steps: Vec<_> =
        routes.map(|(key, route)| Change::PutRoute(*key, route.clone())).collect();
    for rule in want.rules.difference(&have.rules) {
        let twin = have.rules.iter().find(|old| is_twin(old, rule));
        steps.extend(twin.cloned().map(Change::DeleteRule));
        steps.push(Change::AddRule(rule.clone()));
    }
    steps
}

/// Returns the rules, then the routes to remove.
///
/// Routes out of links that go as well are named too: a link that refuses to go must not keep
/// attracting packets.
pub fn removals(want: &HostState, have: &HostState) -> Vec<Change> {
    let unwanted = have.rules.difference(&want.rules);
    let rules = unwanted.filter(|old| !want.rules.iter().any(|new| is_twin(old, new)));
    let routes = have.routes.keys().filter(|key| !want.routes.contains_key(key));
    rules.cloned().map(Change::DeleteRule).chain(routes.copied().map(Change::DeleteRoute)).collect()
}

/// Whether two rules differ in the sense of their mark match alone. The kernel takes them for the
/// same rule (`rule_exists` in net/core/fib_rules.c does not look at the inversion flag).
fn is_twin(a: &Rule, b: &Rule) -> bool {
    let blind = |rule: &Rule| {
        let mark = rule.mark.map(|MarkMatch { value, mask, .. }| (value, mask));
        (rule.priority, rule.family, rule.input.clone(), mark, rule.table)
    };
    a != b && blind(a) == blind(b)
}

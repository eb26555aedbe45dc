//! Owns the documents that need what only the loop knows: the status, and the metrics that repeat
//! it. Decides nothing; the plan's documents say what was decided.

use std::collections::BTreeMap;
use std::time::Instant;

use sealane_api::clusterset::{ClusterSet, OnExpiry};
use sealane_api::names::GatewayId;
use sealane_api::reason::Reason;
use sealane_api::time::UnixTime;
use sealane_broker::board::Kind;
use sealane_broker::publish::{PublishError, Retry};
use sealane_plan::documents;
use sealane_plan::world::World;
use sealane_state::link::{Backend, LinkKind};
use sealane_view::gateway::{Replacement, TunnelKeyView};
use sealane_view::status::{
    BrokerView, ClusterSetState, ClusterSetView, IdentityView, NetworksView, ProblemView,
    RejectionView, Role, Severity, StatusDocument,
};

use crate::absence::Known;
use crate::config;
use crate::disk;
use crate::left;
use crate::rotation::Step;
use crate::run::Agent;
use crate::run::gateways;
use crate::session::Session;
use crate::standing::Standing;
use crate::trust::board::Behind;
use crate::upkeep;

/// Returns the name of a kind as Kubernetes writes it.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::ClusterSet => "ClusterSet",
        Kind::Advertisement => "Advertisement",
    }
}

impl Agent {
    /// Returns the facts of the last plan with the newest counters and health in them.
    pub fn fresh_world(&self) -> World {
        let mut world = self.world.clone();
        if let Some(seen) = &self.seen {
            world.host.clone_from(&seen.facts);
        }
        if world.me.is_some() {
            world.lanes = self.paths.lane_health(self.wall.now());
            world.legs = self.paths.leg_health();
        }
        world
    }

    /// Returns the answer to "is it working".
    pub fn status(&self) -> StatusDocument {
        self.status_of(&self.fresh_world())
    }

    fn status_of(&self, world: &World) -> StatusDocument {
        let mut status = StatusDocument {
            node: self.config.node.clone(),
            roles: self.roles(),
            members: documents::members::of(world, &self.plan),
            problems: self.problems(),
            backend: self.backend(),
            versions: self.versions(),
            ..StatusDocument::default()
        };
        if let Some(session) = &self.session {
            let (networks, _) = session.granted(&self.config);
            status.identity = identity_view(session);
            status.member = Some(session.own.member.to_string());
            status.networks = networks_view(&networks);
            status.clusterset =
                session.trust.receiver().clusterset().map(|set| clusterset_view(set, self.now()));
            status.broker = Some(broker_view(session));
            status.advertised_unix_seconds = session.line.state.taken;
            status.tunnel_key = tunnel_key(session);
            status.revoked_gateways =
                session.author.as_ref().map(gateways::revoked).unwrap_or_default();
            status.rejections = rejections(session);
            if let Some(set) = session.trust.receiver().clusterset() {
                let (held, now) = (session.trust.receiver().held(), self.now());
                let known = Known { set, held, refusals: &session.trust.refusals(), now };
                known.explain(&mut status.members);
            }
            status.warnings = session.trust.warnings();
        }
        status
    }

    /// Sets the metrics to what the documents say.
    pub fn show_metrics(&self) {
        let world = self.fresh_world();
        self.metrics.show(&self.status_of(&world), &documents::peers::of(&world, &self.plan));
    }

    /// Returns the one line that systemd shows.
    pub fn one_line(&self) -> String {
        let Some(session) = &self.session else {
            return "not a member; `sealane join` makes it one".to_owned();
        };
        let members = documents::members::of(&self.world, &self.plan);
        let up = members.iter().filter(|member| is_up(member)).count();
        let (own, all) = (&session.own, members.len());
        if self.config.role == config::Role::Node {
            return format!("{own}: a node, {} problems", self.problems().len());
        }
        format!("{own}: {up} of {all} members reached, {} problems", self.problems().len())
    }

    fn roles(&self) -> Vec<Role> {
        match (&self.session, self.config.role) {
            (None, _) => Vec::new(),
            (Some(_), config::Role::Gateway) => vec![Role::Gateway, Role::Keeper],
            (Some(_), config::Role::Node) => vec![Role::Node],
        }
    }

    fn backend(&self) -> Option<String> {
        self.plan.host.links.values().find_map(|link| match link.kind {
            LinkKind::WireGuard(Backend::Kernel) => Some("kernel".to_owned()),
            LinkKind::WireGuard(Backend::Userspace) => Some("userspace".to_owned()),
            LinkKind::Vxlan(_) => None,
        })
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        versions.insert("sealane-agent".to_owned(), upkeep::OWN_VERSION.to_owned());
        if let Some(tunnels) = self.seen.as_ref().and_then(|it| upkeep::version(&it.facts.tunnels))
        {
            versions.insert("sealane-tunnel".to_owned(), tunnels);
        }
        if let Ok(host) = nix::sys::utsname::uname() {
            versions.insert("linux".to_owned(), host.release().to_string_lossy().into_owned());
        }
        versions
    }

    fn problems(&self) -> Vec<ProblemView> {
        let mut problems: Vec<ProblemView> =
            self.plan.problems.iter().map(sealane_plan::problem::Problem::view).collect();
        problems.extend(self.unseen.iter().map(|cause| {
            problem(Severity::Host, "HostUnseen", "this host", cause, "see the agent's log")
        }));
        problems.extend(self.vigil.silence(Instant::now()).map(|silence| {
            let cause =
                format!("nothing on it was looked at or repaired for {} s", silence.as_secs());
            let next = "systemd starts the agent anew, where it does not: systemctl restart \
                        sealane-agent; see in the kernel's log what hangs";
            problem(Severity::Host, "HandSilent", "this host", &cause, next)
        }));
        problems.extend(self.unmonitored.iter().map(|cause| {
            let next =
                "it is tried again; until then a change by another hand stands for up to 10 s";
            problem(Severity::Part, "NoMonitor", "this host", cause, next)
        }));
        problems.extend(self.failures.iter().map(|cause| {
            let next = "it is tried again; see the agent's log";
            problem(Severity::Part, "ChangeRefused", "a change of this host", cause, next)
        }));
        let is_retired = self.session.as_ref().is_some_and(|session| session.retirement.is_some());
        problems.extend(self.unsaid.iter().filter(|_| !is_retired).map(|error| {
            let (thing, cause) = ("our advertisement", error.to_string());
            problem(Severity::Part, "NotPublished", thing, &cause, &self.after_refusal(error))
        }));
        problems.extend(self.unsigned.iter().map(|cause| {
            let next = "free the disk, or make it writable; others go by what they heard last";
            problem(Severity::Part, "NotSigned", "our advertisement", cause, next)
        }));
        let unsaved = self.session.as_ref().and_then(|session| session.trust.unsaved());
        problems.extend(disk::problem(unsaved, &self.config.paths.state));
        problems.extend(self.contested.iter().map(|(change, times)| {
            let cause = format!("something else on this host has undone it {times} times");
            let next = "find and stop what does, such as another network program or a script; \
                        until then it is made again ever more seldom";
            problem(Severity::Part, "Undone", change, &cause, next)
        }));
        if let Some(seen) = &self.seen {
            problems.extend(upkeep::tunnel_problems(&seen.facts.tunnels));
        }
        match &self.session {
            Some(session) => problems.extend(self.session_problems(session)),
            None => problems.extend(self.left_problem()),
        }
        problems.sort();
        problems
    }

    /// What helps when the broker does not take our word.
    fn after_refusal(&self, error: &PublishError) -> String {
        match (error.retry, &self.session) {
            (Retry::OnChange, Some(session)) => format!(
                "others go by what they heard last; if the credential is at fault: sealane token renew \
                 --cluster {}, then sealane join with that token here",
                session.own.member
            ),
            _ => "it is tried again; others go by what they heard last".to_owned(),
        }
    }

    /// Somebody had this host leave, and the configuration would have it join.
    fn left_problem(&self) -> Option<ProblemView> {
        let token = self.config.token_file.as_ref().filter(|_| left::is_marked(&self.store))?;
        let cause = "this host left on purpose, so its token_file is not used";
        let next = format!("to be a member again: sealane join --token-file {}", token.display());
        Some(problem(Severity::Notice, "Left", "this host", cause, &next))
    }

    fn session_problems(&self, session: &Session) -> Vec<ProblemView> {
        let (_, refused) = session.granted(&self.config);
        let standing = Standing {
            membership: &session.membership,
            set: session.trust.receiver().clusterset(),
            identity: session.keys.as_ref().map(|keys| keys.identity.public()),
            refused: &refused,
            line: &session.line.state,
        };
        let mut problems = standing.problems();
        problems.extend(farewell_problems(session, self.unsaid.as_ref()));
        problems.extend(name_problem(session));
        let (member, expires) = (&session.own.member, session.membership.credential_expires);
        problems.extend(upkeep::credential_problem(member, expires, self.now()));
        problems.extend(self.board_problem(session));
        for cause in session.line.unusable() {
            let next = "have the ClusterSet name usable brokers";
            problems.push(problem(Severity::Notice, "BrokerUnusable", "a broker", cause, next));
        }
        problems
    }
}

impl Agent {
    /// The broker lost the list in force, or was set back; nothing here follows from that but this notice.
    fn board_problem(&self, session: &Session) -> Option<ProblemView> {
        let behind = self.healing.behind?;
        let version = session.trust.receiver().clusterset()?.position.version;
        let holds = match behind {
            Behind::Nothing => "it holds no list of members",
            Behind::Older => "its list of members is older than ours",
        };
        let ours = match &self.healing.refused {
            Some(error) => format!("; it does not take ours: {}", error.cause),
            None => "; ours is on its way there".to_owned(),
        };
        let cause = format!("{holds}, version {version}, which goes on to count{ours}");
        let next = "have the administrator put it back: sealane clusterset apply --kubeconfig FILE";
        let thing = &session.line.state.url;
        Some(problem(Severity::Notice, "BrokerBehind", thing, &cause, next))
    }
}

/// Others may still have lanes with gateways that are none any more. What is on its way to a broker is
/// no problem yet.
fn farewell_problems(session: &Session, unsaid: Option<&PublishError>) -> Vec<ProblemView> {
    if session.line.state.connected && unsaid.is_none() {
        return Vec::new();
    }
    let why = unsaid.map(|cause| format!(": {cause}")).unwrap_or_default();
    let Some(writer) = session.writer() else { return Vec::new() };
    let one = |gateway: GatewayId| {
        let fate = if writer.revoked().contains_key(&gateway.gateway) {
            "it is revoked"
        } else if session.author.is_none() {
            "this host is a node now"
        } else {
            "this host has another name now"
        };
        let cause = format!("{fate}, and no broker took its withdrawal yet{why}");
        let next = "it is tried again; until then others may keep lanes to it that nobody answers";
        problem(Severity::Part, "NotWithdrawn", &gateway.to_string(), &cause, next)
    };
    writer.due().map(one).collect()
}

/// Somebody else speaks under our own name.
fn name_problem(session: &Session) -> Option<ProblemView> {
    let own = (Kind::Advertisement, session.own.to_string());
    let refusal = session.trust.refusals().remove(&own)?;
    let reason = refusal.rejected.reason;
    (reason == Reason::OwnNameTaken).then(|| {
        let cause = refusal.rejected.to_string();
        problem(Severity::Host, reason.as_str(), &own.1, &cause, reason.next_step())
    })
}

fn is_up(member: &sealane_view::status::MemberView) -> bool {
    matches!(
        member.state,
        sealane_view::status::MemberState::Up | sealane_view::status::MemberState::Degraded
    )
}

/// Makes a problem of its parts.
pub fn problem(
    severity: Severity,
    reason: &str,
    thing: &str,
    cause: &str,
    next: &str,
) -> ProblemView {
    ProblemView {
        severity,
        reason: reason.to_owned(),
        thing: thing.to_owned(),
        cause: cause.to_owned(),
        next: next.to_owned(),
    }
}

fn networks_view(
    networks: &sealane_api::advertisement::Networks<sealane_api::cidr::Cidr>,
) -> NetworksView {
    let networks = sealane_plan::intake::networks(networks);
    NetworksView {
        pods: networks.pods.into_iter().collect(),
        services: networks.services.into_iter().collect(),
        external: networks.external.into_iter().collect(),
    }
}

fn clusterset_view(set: &ClusterSet, now: UnixTime) -> ClusterSetView {
    let state = match (set.is_expired(now), set.on_expiry) {
        (false, _) => ClusterSetState::Current,
        (true, OnExpiry::Hold) => ClusterSetState::Held,
        (true, OnExpiry::Drop) => ClusterSetState::Dropped,
    };
    ClusterSetView {
        id: set.id.to_string(),
        link_index: set.position.link_index,
        version: set.position.version,
        expires_unix_seconds: set.expires.0,
        state,
    }
}

/// Returns the tunnel key in use, how old it is and whether it is being replaced.
pub fn tunnel_key(session: &Session) -> Option<TunnelKeyView> {
    let (keys, rotation) = (session.keys.as_ref()?, session.rotation.as_ref()?);
    let replacement = rotation.step().map(|step| match step {
        Step::Announced(_) => Replacement::Announced,
        Step::Moving(_) | Step::Finishing => Replacement::Moving,
    });
    Some(TunnelKeyView {
        public_key: keys.wireguard().to_string(),
        since_unix_seconds: rotation.since().0,
        replacement,
    })
}

fn identity_view(session: &Session) -> Option<IdentityView> {
    let identity = session.keys.as_ref()?.identity.public();
    let entry = session.trust.receiver().clusterset()?.members.get(&session.own.member);
    let pinned = entry.is_some_and(|entry| entry.keys.contains(&identity));
    Some(IdentityView { fingerprint: identity.fingerprint(), pinned })
}

fn broker_view(session: &Session) -> BrokerView {
    let state = &session.line.state;
    BrokerView {
        url: state.url.clone(),
        connected: state.connected,
        since_unix_seconds: state.since,
        last_error: state.last_error.clone(),
        refused: state.is_refused,
        credential_expires_unix_seconds: session.membership.credential_expires.map(|at| at.0),
    }
}

fn rejections(session: &Session) -> Vec<RejectionView> {
    let refusals = session.trust.refusals().into_iter();
    refusals
        .map(|((kind, object), refusal)| RejectionView {
            object: printable(&object),
            kind: kind_name(kind).to_owned(),
            member: printable(&refusal.member),
            reason: refusal.rejected.reason.as_str().to_owned(),
            explanation: refusal.rejected.to_string(),
            since_unix_seconds: refusal.since.0,
        })
        .collect()
}

/// Names of refused objects are hostile text; nothing in them may move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().take(256).flat_map(char::escape_debug).collect()
}

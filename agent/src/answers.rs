//! Owns the answers to what is asked on the admin socket. Each is a document; long ones go on by
//! themselves and answer later.

use std::net::IpAddr;
use std::sync::Arc;

use sealane_api::time::UnixTime;
use sealane_plan::documents;
use sealane_plan::name::LaneId;
use sealane_plan::verdict::Way;
use sealane_plan::world::{NodeRole, Role};
use sealane_state::diff::diff;
use sealane_view::membership::{JoinDocument, JoinRequest};
use sealane_view::ping::PingRequest;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::admin::{Answer, Ask, Fault, Question, Refusal};
use crate::join::{self, JoinError};
use crate::membership::Membership;
use crate::pings::{Rhythm, Target};
use crate::run::Agent;
use crate::session::Session;

impl Agent {
    /// Answers a question, or begins to.
    pub fn answer(&mut self, ask: Ask) {
        let Ask { question, reply } = ask;
        let answer = match question {
            Question::Status => document(&self.status()),
            Question::Peers => document(&documents::peers::of(&self.fresh_world(), &self.plan)),
            Question::Routes => document(&documents::routes::of(&self.plan)),
            Question::World => document(&documents::world::of(&self.fresh_world())),
            Question::Plan => self.plan_document(),
            Question::Join(request) => self.join(&request),
            Question::List(request) => self.take_list(&request),
            Question::Revoke(request) => self.revoke(&request),
            Question::Rotate => self.rotate(),
            Question::RotateIdentity => self.rotate_identity(),
            Question::Allow(request) => self.allow(&request),
            Question::Leave(request) => return self.leave(&request, reply),
            Question::Ping(request) => return self.ping(&request, reply),
            Question::Trace(request) => return self.trace(request, reply),
        };
        // Who asked may have stopped waiting.
        let _ = reply.send(answer);
    }

    fn plan_document(&self) -> Answer {
        let pending = self.seen.as_ref().map(|seen| diff(&self.plan.host, &seen.ours));
        let pending = pending.iter().flatten().map(ToString::to_string).collect();
        document(&documents::plan(&self.fresh_world(), &self.plan, pending))
    }

    /// Joins, and takes up the membership at once; a member takes its broker access from the token.
    pub fn join(&mut self, request: &JoinRequest) -> Answer {
        let now = self.now();
        if self.session.is_some() {
            return self.renew(request, now);
        }
        let joined: JoinDocument = join::join(&self.store, &self.config, &request.token)
            .map_err(|error| not_joined(&error))?;
        self.forget_session();
        self.session =
            match Session::resume(&self.store, &self.config, &self.ring, &self.events, now) {
                Ok(session) => session,
                Err(error) => {
                    let undone = Membership::remove(&self.store).err();
                    let undone = undone.map(|error| format!("; {error}")).unwrap_or_default();
                    let cause = format!("{error}{undone}");
                    return Err(refused(Fault::State, "this host did not join", cause));
                }
            };
        self.mark_stale();
        document(&joined)
    }

    fn renew(&mut self, request: &JoinRequest, now: UnixTime) -> Answer {
        let Some(session) = &mut self.session else {
            return Err(refused(Fault::State, NOT_RENEWED, "this host is no member"));
        };
        if self.departure.is_some() {
            return Err(refused(Fault::State, NOT_RENEWED, "this host is leaving"));
        }
        let membership = join::renew(&self.store, &session.membership, &request.token, now)
            .map_err(|error| not_joined(&error))?;
        session.reach_brokers_by(membership);
        let identity = session.keys.as_ref().map(|keys| keys.identity.public());
        let renewed = JoinDocument {
            clusterset: session.id.to_string(),
            member: session.own.member.to_string(),
            node: self.config.node.clone(),
            fingerprint: identity.map(|it| it.fingerprint()).unwrap_or_default(),
            renewed: true,
            next: Vec::new(),
        };
        self.unsaid = None;
        self.speak();
        document(&renewed)
    }

    fn ping(&mut self, request: &PingRequest, reply: oneshot::Sender<Answer>) {
        let begun =
            Rhythm::of(request).and_then(|rhythm| Ok((rhythm, self.ping_target(&request.target)?)));
        match begun {
            Ok((rhythm, target)) => self.pings.begin(target, rhythm, reply),
            // Who asked may have stopped waiting.
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn ping_target(&self, text: &str) -> Result<Target, Refusal> {
        let lane = self.lane_named(text).ok_or_else(|| self.no_lane_to(text))?;
        let (way, address) = self.paths.way_to_lane(&lane).ok_or_else(|| {
            let cause = "its lane is not probed yet";
            Refusal::new(Fault::State, "no ping", cause, "try again in a second")
        })?;
        let gateway = self.paths.gateway_of_lane(&lane).ok_or_else(|| {
            Refusal::new(Fault::State, "no ping", "its lane is gone", "try again in a second")
        })?;
        let health = self.paths.lane_health(self.wall.now());
        let path_mtu = health.get(&lane).and_then(|health| health.path_mtu);
        Ok(Target { gateway, way, address, path_mtu })
    }

    /// Finds the lane that a person means: by member, by gateway, or by an address behind it.
    pub fn lane_named(&self, text: &str) -> Option<LaneId> {
        let lanes = &self.plan.probes.lanes;
        if let Ok(address) = text.parse::<IpAddr>() {
            return self.lane_towards(address);
        }
        let chosen = |member: &str| {
            let members = self.plan.choices.iter();
            members.filter(|(id, _)| id.0 == member).map(|(_, key)| *key).next()
        };
        let exact = lanes.iter().find(|(_, target)| target.gateway.to_string() == text);
        let best = lanes.iter().find(|(id, target)| {
            target.gateway.member.0 == text && chosen(text).is_none_or(|key| key == id.remote)
        });
        exact.or(best).map(|(id, _)| *id)
    }

    /// Says why there is no lane to what a person named.
    fn no_lane_to(&self, text: &str) -> Refusal {
        let refuse =
            |cause: String, next: &str| Refusal::new(Fault::Request, "no ping", cause, next);
        let Some(me) = &self.world.me else {
            let cause = "this host is in no clusterset".to_owned();
            return refuse(cause, "join it with `sealane join`");
        };
        let member = text.split('.').next().unwrap_or(text);
        let address = text.parse::<IpAddr>().ok();
        if member == me.member.0
            || address.is_some_and(|it| me.networks.all().any(|net| net.contains(it)))
        {
            let cause = format!("{text} is of this host's own member, which it needs no lane for");
            return refuse(cause, "name another member");
        }
        let prefixes = self.plan.verdicts.prefixes.keys();
        let is_routed = address.is_some_and(|it| prefixes.clone().any(|net| net.contains(it)));
        let is_listed = self.world.members.iter().any(|it| it.0 == member);
        if !is_routed && !is_listed {
            let cause = format!("{text:?} is no member, gateway or address of another member");
            return refuse(cause, "`sealane status` lists the members and their networks");
        }
        if me.role == Role::Node {
            let gateways =
                self.world.nodes.iter().filter(|(_, node)| node.role == NodeRole::Gateway);
            let names: Vec<String> = gateways.map(|(name, _)| name.to_string()).collect();
            let cause =
                format!("this host is a node, and nodes have no lanes: ask {}", names.join(" or "));
            return refuse(cause, "`sealane trace` shows the whole way from here");
        }
        let cause = format!("{text} has no lane at the moment");
        refuse(cause, "`sealane status` says why")
    }

    fn lane_towards(&self, address: IpAddr) -> Option<LaneId> {
        let prefixes = self.plan.verdicts.prefixes.iter();
        let best = prefixes
            .filter(|(prefix, _)| prefix.contains(address))
            .max_by_key(|(prefix, _)| prefix.prefix())?;
        match best.1.way {
            Way::Lane(lane) => Some(lane),
            _ => None,
        }
    }

    /// Returns the host as last seen, or why nothing can be said of it.
    pub fn host_seen(&self) -> Result<Arc<sealane_state::facts::Observation>, Refusal> {
        self.seen.clone().ok_or_else(|| {
            let cause = self.unseen.clone().unwrap_or_else(|| "not looked at yet".to_owned());
            Refusal::new(Fault::State, "this host is not known", cause, "try again in a second")
        })
    }
}

const NOT_RENEWED: &str = "the broker access was not renewed";

fn not_joined(error: &JoinError) -> Refusal {
    let fault = match error {
        JoinError::Token(_) | JoinError::NoBroker | JoinError::Expired { .. } => Fault::Request,
        _ => Fault::State,
    };
    refused(fault, "this host did not join", error.to_string())
}

fn refused(fault: Fault, message: &str, cause: impl ToString) -> Refusal {
    Refusal::new(fault, message, cause, "see `sealane join --help`")
}

/// Turns a document into an answer.
pub fn document<T: Serialize>(document: &T) -> Answer {
    serde_json::to_value(document).map_err(|error| {
        Refusal::new(Fault::State, "the document cannot be told", error, "report this as a defect")
    })
}

//! Owns what fails in a run: drawn from its seed, struck at its moment, mended at the end. Knows nothing
//! of how the product takes it.

use std::time::Duration;

use sealane_api::cidr::Cidr;
use sealane_api::names::ClusterId;
use sealane_broker::store::Store;

use super::hostile::{self, LIES, Lie};
use super::network::Weather;
use super::truth::{self, Known};
use super::world::{Event, World};

/// Faults strike within this long.
const SPAN: Duration = Duration::from_secs(16);
/// Faults do not strike before this: there is something to break then.
const PEACE: Duration = Duration::from_secs(4);

/// What strikes, and what mends.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A host's agent starts.
    Start(usize),
    /// Nobody reaches the broker.
    BrokerAway,
    /// It is reached again.
    BrokerBack,
    /// The broker loses everything.
    BrokerLoses,
    /// The broker's disk is backed up.
    BrokerBackedUp,
    /// The broker goes back to its backup.
    BrokerRollsBack,
    /// The broker stops to show some objects.
    BrokerHides,
    /// The broker loses one object.
    BrokerLosesOne,
    /// One host's line to the broker is cut.
    LineCut(usize),
    /// It is mended.
    LineMended(usize),
    /// An agent is killed; tunnels go on.
    AgentKilled(usize),
    /// A host loses power.
    PowerOff(usize),
    /// A host's tunnels begin anew.
    TunnelsRestart(usize),
    /// A host loses its disk, and root lists its new identity.
    StateLost(usize),
    /// A host's disk is backed up.
    StateBackedUp(usize),
    /// A host's disk goes back to its backup, the agent with it.
    StateRolledBack(usize),
    /// A host's wall clock is set, so many seconds off.
    ClockSet(usize, i64),
    /// Packets fare otherwise.
    WeatherTurns(Weather),
    /// Two hosts cannot reach each other.
    Cut(usize, usize),
    /// They can again.
    Joined(usize, usize),
    /// All routers forget their mappings.
    Rebind,
    /// Root takes a member off the list, or back on.
    Listed(ClusterId, bool),
    /// Root grants a member less, or all again.
    Granted(ClusterId, bool),
    /// A gateway says its last word and leaves.
    Withdraws(usize),
    /// The hostile member lies.
    Lies(Lie),
    /// Everything that can be mended is.
    Mended,
}

/// Draws the faults of a run.
pub fn draw(world: &mut World) {
    let count = 4 + world.chance.below(7);
    for _ in 0..count {
        let at = world.chance.between(PEACE, SPAN);
        let lasts = world.chance.between(Duration::from_millis(300), Duration::from_secs(8));
        for (after, fault) in one(world, lasts) {
            world.schedule((at + after).min(SPAN), Event::Fault(fault));
        }
    }
    if world.hostile.is_some() {
        for _ in 0..3 {
            let at = world.chance.between(PEACE, SPAN);
            if let Some(lie) = world.chance.one_of(&LIES) {
                world.schedule(at, Event::Fault(Fault::Lies(lie)));
            }
        }
    }
    world.schedule(SPAN + Duration::from_millis(1), Event::Fault(Fault::Mended));
}

/// Draws a fault and what ends it, each with the time after the fault begins.
fn one(world: &mut World, lasts: Duration) -> Vec<(Duration, Fault)> {
    let host = world.chance.below(world.members.len());
    let other = (host + 1 + world.chance.below(world.members.len() - 1)) % world.members.len();
    let member = world.members[host].profile.id.member.clone();
    let now = Duration::ZERO;
    let pair = |first, then| vec![(now, first), (lasts, then)];
    match world.chance.below(19) {
        0 => pair(Fault::BrokerAway, Fault::BrokerBack),
        1 => vec![(now, Fault::BrokerLoses)],
        2 => pair(Fault::BrokerBackedUp, Fault::BrokerRollsBack),
        3 => vec![(now, Fault::BrokerHides)],
        4 => vec![(now, Fault::BrokerLosesOne)],
        5 => pair(Fault::LineCut(host), Fault::LineMended(host)),
        6 => pair(Fault::AgentKilled(host), Fault::Start(host)),
        7 => pair(Fault::PowerOff(host), Fault::Start(host)),
        8 => vec![(now, Fault::TunnelsRestart(host))],
        9 => pair(Fault::StateLost(host), Fault::Start(host)),
        10 => pair(Fault::StateBackedUp(host), Fault::StateRolledBack(host)),
        11 | 12 => {
            let hours = world.chance.one_of(&[24, -24, 24 * 40, -24 * 40, 1, -1]).unwrap_or(24);
            pair(Fault::ClockSet(host, hours * 3_600), Fault::ClockSet(host, 0))
        }
        13 => {
            let weather = Weather {
                loss: world.chance.one_of(&[10, 50, 200]).unwrap_or(10),
                doubled: 50,
                delay: Duration::from_millis(20),
                jitter: Duration::from_millis(60),
            };
            pair(Fault::WeatherTurns(weather), Fault::WeatherTurns(Weather::FAIR))
        }
        14 => pair(Fault::Cut(host, other), Fault::Joined(host, other)),
        15 => vec![(now, Fault::Rebind)],
        16 => pair(Fault::Listed(member.clone(), false), Fault::Listed(member, true)),
        17 => pair(Fault::Granted(member.clone(), false), Fault::Granted(member, true)),
        // Some never come back.
        _ if world.chance.hits(500) => vec![(now, Fault::Withdraws(host))],
        _ => pair(Fault::Withdraws(host), Fault::Start(host)),
    }
}

/// Has a fault strike, or what mends it; returns the hosts that have something to do then.
///
/// # Errors
/// What the disk or the product says of a start that must not fail.
pub fn strike(world: &mut World, fault: Fault) -> anyhow::Result<Vec<usize>> {
    tell(world, &fault);
    match fault {
        Fault::Start(number) => {
            start(world, number)?;
            return Ok(vec![number]);
        }
        Fault::AgentKilled(number) => world.members[number].kill(),
        Fault::PowerOff(number) => world.members[number].power_off(),
        Fault::TunnelsRestart(number) => world.members[number].restart_tunnels(),
        Fault::ClockSet(number, off) => world.members[number].clock_off = off,
        Fault::Withdraws(number) => {
            let now = world.now;
            world.members[number].withdraw(now)?;
            return Ok(vec![number]);
        }
        Fault::StateLost(number) => lose_state(world, number)?,
        Fault::StateBackedUp(number) => copy(world, number, Way::Out)?,
        Fault::StateRolledBack(number) => {
            world.members[number].kill();
            copy(world, number, Way::Back)?;
            start(world, number)?;
            return Ok(vec![number]);
        }
        Fault::WeatherTurns(weather) => world.network.weather = weather,
        Fault::Cut(one, other) => {
            world.network.cuts.insert((one.min(other), one.max(other)));
        }
        Fault::Joined(one, other) => {
            world.network.cuts.remove(&(one.min(other), one.max(other)));
        }
        Fault::Rebind => {
            let routers = world.network.sites.iter_mut().filter_map(|site| site.nat.as_mut());
            routers.for_each(super::network::Nat::rebind);
        }
        Fault::Listed(member, is_listed) => list_member(world, &member, is_listed),
        Fault::Granted(member, is_whole) => grant(world, &member, is_whole),
        Fault::Lies(lie) => hostile::lie(world, lie),
        Fault::Mended => {
            mend(world)?;
            return Ok((0..world.members.len()).collect());
        }
        fault => strike_broker(world, &fault),
    }
    Ok(Vec::new())
}

fn strike_broker(world: &mut World, fault: &Fault) {
    match fault {
        Fault::BrokerAway => world.board.is_away = true,
        Fault::BrokerBack => world.board.is_away = false,
        Fault::BrokerLoses => world.board.lose_all(),
        Fault::BrokerBackedUp => return world.board.back_up(),
        Fault::BrokerRollsBack => world.board.roll_back(),
        Fault::BrokerHides => {
            let names = world.board.names();
            let hidden = names.into_iter().filter(|_| world.chance.hits(500)).collect();
            world.board.hidden = hidden;
        }
        Fault::BrokerLosesOne => {
            let names = world.board.names();
            let place = world.chance.below(names.len());
            let gone = names.get(place).and_then(|key| world.board.lose(key));
            return world.announce(gone);
        }
        Fault::LineCut(number) => {
            world.members[*number].line.is_cut = true;
            return world.disconnect(*number);
        }
        Fault::LineMended(number) => {
            world.members[*number].line.is_cut = false;
            return;
        }
        _ => return,
    }
    (0..world.members.len()).for_each(|number| world.disconnect(number));
}

fn start(world: &mut World, number: usize) -> anyhow::Result<()> {
    let (now, seed) = (world.now, world.chance.draw());
    let member = &mut world.members[number];
    if member.agent.is_some() {
        return Ok(());
    }
    member.start(now, seed)?;
    let id = member.profile.id.clone();
    if let Some(agent) = &member.agent {
        world.truth.tunnels.insert(agent.tunnel_key(), id);
    }
    world.disconnect(number);
    Ok(())
}

/// Loses a disk. Members of several gateways share an identity, which one of them keeps.
fn lose_state(world: &mut World, number: usize) -> anyhow::Result<()> {
    let member = world.members[number].profile.id.member.clone();
    if member.as_str() == "b" {
        return Ok(());
    }
    world.members[number].power_off();
    let store = world.members[number].store.clone();
    for file in ["held.json", "gateway.json"] {
        store.remove(file)?;
    }
    world.members[number].draw_keys(&mut world.chance)?;
    let identity = store.load("identity.key")?.unwrap_or_default();
    let seed = zeroize::Zeroizing::new(<[u8; 32]>::try_from(identity.as_slice())?);
    let key = sealane_api::keys::SigningSeed::from_bytes(seed).public();
    change_list(world, |list| {
        if let Some(entry) = list.members.get_mut(&member) {
            (entry.keys, entry.join) = (vec![key], None);
        }
    });
    world.pinned.insert(member.clone(), key);
    let token = world.truth.token(&member, world.truth.list.position);
    world.members[number].join_with(token, None);
    Ok(())
}

enum Way {
    Out,
    Back,
}

fn copy(world: &World, number: usize, way: Way) -> anyhow::Result<()> {
    let member = &world.members[number];
    let aside = Store::open(&world.folder.path().join(format!("{}.backup", member.name())))?;
    let (from, to) = match way {
        Way::Out => (&member.store, &aside),
        Way::Back => (&aside, &member.store),
    };
    // Keys that were drawn anew since the backup are root's to pin, so only numbers and belief go back.
    let drawn = |store: &Store| store.load("identity.key").ok().flatten();
    if matches!(way, Way::Back) && drawn(from) != drawn(to) {
        return Ok(());
    }
    for file in ["held.json", "gateway.json", "identity.key"] {
        if let Some(bytes) = from.load(file)? {
            to.save(file, &bytes)?;
        }
    }
    Ok(())
}

fn list_member(world: &mut World, member: &ClusterId, is_listed: bool) {
    let known = world.truth.lists.values().rev();
    let entry = known.filter_map(|list| list.members.get(member)).next_back().cloned();
    let pinned = world.pinned.get(member).copied();
    change_list(world, |list| {
        if !is_listed {
            list.members.remove(member);
        } else if let Some(entry) = entry.filter(|_| !list.members.contains_key(member)) {
            let cidrs = entry.cidrs.clone();
            let entry = pinned.map_or(entry, |key| truth::entry(Known::Pinned(key), cidrs));
            list.members.insert(member.clone(), entry);
        }
    });
}

fn grant(world: &mut World, member: &ClusterId, is_whole: bool) {
    let of = |host: &&super::member::Member| host.profile.id.member == *member;
    let Some(host) = world.members.iter().find(of) else { return };
    let whole: Vec<Cidr> = host.profile.networks.iter().copied().collect();
    let kept = if is_whole { whole.len() } else { 2 };
    let cidrs: Vec<Cidr> = whole.into_iter().take(kept).collect();
    change_list(world, |list| {
        if let Some(entry) = list.members.get_mut(member) {
            entry.cidrs = cidrs;
        }
    });
}

/// Signs the next list and puts it on the broker, unless that is away; it is put there again at the end.
fn change_list(world: &mut World, change: impl FnOnce(&mut sealane_api::clusterset::ClusterSet)) {
    let now = truth::BEGIN.plus_seconds(world.now.since_origin().as_secs());
    world.remember_words();
    let spec = world.truth.sign_next(now, change);
    world.newest_list = Some(spec.clone());
    if !world.board.is_away {
        let event = world.board.write_list(&spec);
        world.announce(event);
    }
}

/// Mends all that can be: the broker is back and shows the newest list, clocks are right, hosts run.
fn mend(world: &mut World) -> anyhow::Result<()> {
    world.network.weather = Weather::FAIR;
    world.network.cuts.clear();
    world.board.is_away = false;
    world.board.hidden.clear();
    let newest = world.newest_list.clone();
    newest.and_then(|list| world.board.write_list(&list));
    for number in 0..world.members.len() {
        world.members[number].clock_off = 0;
        world.members[number].line.is_cut = false;
        if world.members[number].last_word.is_none() {
            start(world, number)?;
        }
        world.disconnect(number);
    }
    world.quiet_since = Some(world.now);
    world.schedule(Duration::from_secs(1), Event::Look);
    Ok(())
}

fn tell(world: &mut World, fault: &Fault) {
    let name = |number: &usize| world.members[*number].name();
    let line = match fault {
        Fault::Start(number) => format!("{} starts", name(number)),
        Fault::AgentKilled(number) => format!("{}: its agent is killed", name(number)),
        Fault::PowerOff(number) => format!("{}: loses power", name(number)),
        Fault::TunnelsRestart(number) => format!("{}: its tunnels begin anew", name(number)),
        Fault::StateLost(number) => format!("{}: loses its disk", name(number)),
        Fault::StateBackedUp(number) => format!("{}: its disk is backed up", name(number)),
        Fault::StateRolledBack(number) => format!("{}: its disk is rolled back", name(number)),
        Fault::ClockSet(number, off) => format!("{}: its clock is off by {off} s", name(number)),
        Fault::LineCut(number) => format!("{}: no line to the broker", name(number)),
        Fault::LineMended(number) => format!("{}: line to the broker mended", name(number)),
        Fault::Withdraws(number) => format!("{} leaves", name(number)),
        Fault::Cut(one, other) => format!("{} and {} are parted", name(one), name(other)),
        Fault::Joined(one, other) => format!("{} and {} meet again", name(one), name(other)),
        Fault::Listed(member, true) => format!("root lists {member}"),
        Fault::Listed(member, false) => format!("root takes {member} off the list"),
        Fault::Granted(member, true) => format!("root grants {member} all again"),
        Fault::Granted(member, false) => format!("root grants {member} less"),
        Fault::Mended => "everything is mended".to_owned(),
        other => format!("{other:?}"),
    };
    world.tell(line);
}

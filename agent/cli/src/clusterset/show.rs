//! Owns `sealane clusterset show` and the document of a list that other commands show too.

use clap::Args;
use sealane_api::clusterset::{ClusterSet, MemberEntry};
use sealane_api::names::ClusterId;
use sealane_api::time::UnixTime;
use serde::Serialize;

use super::folder::FolderArgs;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::{Palette, Tone};
use crate::show::table::Table;
use crate::show::units;

/// `sealane clusterset show`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane clusterset show -o yaml")]
pub struct ShowArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// A list as people read it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListDocument {
    /// The clusterset's id.
    pub clusterset: String,
    /// Number of root links: how often the root key was replaced.
    pub link_index: u64,
    /// Version of the list, under the last of them.
    pub version: u64,
    /// When it was signed, Unix seconds.
    pub issued_unix_seconds: u64,
    /// When it expires, Unix seconds.
    pub expires_unix_seconds: u64,
    /// Brokers, best first.
    pub brokers: Vec<BrokerDocument>,
    /// Members by name.
    pub members: Vec<MemberDocument>,
}

/// A broker on the list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerDocument {
    /// Its address.
    pub url: String,
    /// Namespace there.
    pub namespace: String,
    /// Pins of its keys.
    pub pins: Vec<String>,
}

/// A member on the list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberDocument {
    /// Its name.
    pub member: String,
    /// Fingerprints of its pinned identity keys, preferred first.
    pub identities: Vec<String>,
    /// Until when a token may enrol it, Unix seconds; absent when none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrols_until_unix_seconds: Option<u64>,
    /// Networks granted.
    pub cidrs: Vec<String>,
    /// Namespaces granted.
    pub namespaces: Vec<String>,
    /// Most live gateways.
    pub gateways: u64,
}

impl ListDocument {
    /// Describes a list.
    pub fn of(list: &ClusterSet) -> Self {
        let brokers = list.brokers.iter().map(|broker| BrokerDocument {
            url: broker.url.clone(),
            namespace: broker.namespace.clone(),
            pins: broker.spki.clone(),
        });
        Self {
            clusterset: list.id.to_string(),
            link_index: list.position.link_index,
            version: list.position.version,
            issued_unix_seconds: list.issued.0,
            expires_unix_seconds: list.expires.0,
            brokers: brokers.collect(),
            members: list.members.iter().map(|(id, entry)| MemberDocument::of(id, entry)).collect(),
        }
    }
}

impl MemberDocument {
    fn of(id: &ClusterId, entry: &MemberEntry) -> Self {
        Self {
            member: id.to_string(),
            identities: entry.keys.iter().map(sealane_api::keys::VerifyKey::fingerprint).collect(),
            enrols_until_unix_seconds: entry.join.as_ref().map(|join| join.before.0),
            cidrs: entry.cidrs.iter().map(ToString::to_string).collect(),
            namespaces: entry.namespaces.clone(),
            gateways: entry.gateways,
        }
    }
}

/// Shows the list.
pub fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let manifest = args.folder.open()?.manifest()?;
    let now = clock::now();
    let document = ListDocument::of(&manifest.list);
    args.form.show(&document, |document, palette| table(document, now, palette))?;
    Ok(Exit::Fine)
}

fn table(document: &ListDocument, now: UnixTime, palette: Palette) -> String {
    let mut head = Table::bare();
    head.row(["clusterset".to_owned(), document.clusterset.clone()]);
    head.row(["version".to_owned(), document.version.to_string()]);
    let expires = UnixTime(document.expires_unix_seconds);
    head.row(["expires".to_owned(), expiry(expires, now)]);
    if expires < now {
        head.tone(1, Tone::Bad);
    }
    for broker in &document.brokers {
        let pins = match broker.pins.as_slice() {
            [] => "no pin: the host's own certificate authorities decide".to_owned(),
            pins => format!("pin {}", pins.join(" ")),
        };
        let text = format!("{}  namespace {}  {pins}", broker.url, broker.namespace);
        head.row(["broker".to_owned(), text]);
    }
    let members = members(&document.members, now, palette);
    format!("{}\n{members}", head.render(palette))
}

/// Draws members, one a line.
pub fn members(members: &[MemberDocument], now: UnixTime, palette: Palette) -> String {
    if members.is_empty() {
        return "no members yet; add one with sealane token create\n".to_owned();
    }
    let mut table = Table::new(["MEMBER", "IDENTITY", "NETWORKS", "NAMESPACES", "GATEWAYS"]);
    for member in members {
        let (identity, tone) = identity(member, now);
        table
            .row([
                member.member.clone(),
                identity,
                member.cidrs.join(","),
                member.namespaces.join(","),
                format!("<={}", member.gateways),
            ])
            .tone(1, tone);
    }
    table.render(palette)
}

fn identity(member: &MemberDocument, now: UnixTime) -> (String, Tone) {
    if !member.identities.is_empty() {
        return (member.identities.join(","), Tone::Good);
    }
    let until = UnixTime(member.enrols_until_unix_seconds.unwrap_or_default());
    if until < now {
        return (format!("not pinned, token ended {}", clock::date(until)), Tone::Bad);
    }
    (format!("not pinned, token until {}", clock::date(until)), Tone::Doubtful)
}

fn expiry(at: UnixTime, now: UnixTime) -> String {
    match at.0.checked_sub(now.0) {
        Some(left) => format!("{} (in {})", clock::date(at), units::duration(left)),
        None => format!("{} ({} ago)", clock::date(at), units::duration(now.0 - at.0)),
    }
}

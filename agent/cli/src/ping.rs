//! Owns `sealane ping`: round trips through a lane, answered by the remote agent.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use sealane_view::admin;
use sealane_view::ping::{PingDocument, PingRequest};

use crate::agent::AgentArgs;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::{Palette, Tone};
use crate::show::units;

/// The agent answers when the last probe is done, within two minutes.
const LONGEST_MILLISECONDS: u64 = 100_000;

const EXAMPLE: &str = "\
Examples:
  sealane ping cluster-b
  sealane ping 10.2.0.9 -c 20 -i 100ms -s 1400

Probes the gateway that carries traffic to the member or address, and not the address itself. Ends
with 1 when none is answered.";

/// `sealane ping`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct PingArgs {
    /// A member, member.gateway, or an address of another member.
    #[arg(value_name = "MEMBER|ADDR")]
    target: String,
    /// Probes to send.
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = count)]
    count: u32,
    /// Time between two probes, in seconds unless a unit is given.
    #[arg(short, long, value_name = "LENGTH", default_value = "0.2")]
    interval: Interval,
    /// IP packet size of a probe, headers included; small unless given.
    #[arg(short, long, value_name = "BYTES")]
    size: Option<u32>,
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Time between two probes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval(u32);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "expected 10ms to 60s, such as 0.2 or 200ms".to_owned();
        if let Some(milliseconds) = text.strip_suffix("ms") {
            let milliseconds: u32 = milliseconds.parse().map_err(|_| refused())?;
            let fits = (10..=60_000).contains(&milliseconds);
            return if fits { Ok(Self(milliseconds)) } else { Err(refused()) };
        }
        let text = text.strip_suffix('s').unwrap_or(text);
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let padded = format!("{part:0<3}");
        let thousandths = padded.get(..3).filter(|_| part.len() <= 3).ok_or_else(refused)?;
        let digits = format!("{whole}{thousandths}");
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let milliseconds: u32 = digits.parse().map_err(|_| refused())?;
        if is_number && (10..=60_000).contains(&milliseconds) {
            Ok(Self(milliseconds))
        } else {
            Err(refused())
        }
    }
}

fn count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=1000).contains(number));
    number.ok_or_else(|| "expected 1 to 1000 probes".to_owned())
}

/// Sends probes.
pub async fn run(args: &PingArgs) -> Result<Exit, Failure> {
    if u64::from(args.count) * u64::from(args.interval.0) > LONGEST_MILLISECONDS {
        return Err(Failure::new(Exit::Usage, "ping", "it would take longer than 100 seconds")
            .next("send fewer probes or send them faster"));
    }
    let request = PingRequest {
        target: args.target.clone(),
        count: args.count,
        interval_milliseconds: args.interval.0,
        size_bytes: args.size,
    };
    let document: PingDocument = args.agent.ask(admin::PING, &request).await?;
    args.form.show(&document, |document, palette| {
        let behind = args.target.parse::<IpAddr>().ok();
        let asked = behind.map(|address| behind_whom(address, document)).unwrap_or_default();
        let hint = too_large(args.size, document).unwrap_or_default();
        format!("{asked}{}{hint}", draw(document, palette))
    })?;
    Ok(if document.received == 0 { Exit::NotWorking } else { Exit::Fine })
}

/// Whoever names an address is told that somebody else answers for it.
fn behind_whom(address: IpAddr, document: &PingDocument) -> String {
    let PingDocument { member, gateway, .. } = document;
    let name = crate::show::text::printable(&format!("{member}.{gateway}"));
    format!("{address} is behind {name}, which is asked; sealane trace shows the way beyond\n")
}

fn too_large(size: Option<u32>, document: &PingDocument) -> Option<String> {
    let (size, mtu) = size.zip(document.path_mtu_bytes)?;
    let is_lost = document.received == 0 && size > mtu;
    is_lost.then(|| format!("probes of {size} bytes are larger than the path takes: {mtu}\n"))
}

/// Draws a series of probes.
pub fn draw(document: &PingDocument, palette: Palette) -> String {
    let name = crate::show::text::printable(&format!("{}.{}", document.member, document.gateway));
    let mut text = format!("{name} at {}\n", document.address);
    for reply in &document.replies {
        let answer = match reply.rtt_microseconds {
            Some(_) => format!("time={}", units::round_trip(reply.rtt_microseconds)),
            None => palette.paint(Tone::Bad, "no answer"),
        };
        text.push_str(&format!("seq={} {answer}\n", reply.sequence));
    }
    let lost = u64::from(document.sent.saturating_sub(document.received)) * 1_000;
    let permille = lost.checked_div(document.sent.into()).and_then(|lost| u16::try_from(lost).ok());
    text.push_str(&format!(
        "{} sent, {} answered, {} lost",
        document.sent,
        document.received,
        units::loss(permille)
    ));
    if document.rtt_mean_microseconds.is_some() {
        let times = [
            document.rtt_min_microseconds,
            document.rtt_mean_microseconds,
            document.rtt_max_microseconds,
        ];
        let [min, mean, max] = times.map(units::round_trip);
        text.push_str(&format!("; min {min}, mean {mean}, max {max}"));
    }
    if let Some(mtu) = document.path_mtu_bytes {
        text.push_str(&format!("; path MTU {mtu}"));
    }
    text.push('\n');
    text
}

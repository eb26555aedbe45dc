//! The program `sealane-tunnel`: one userspace WireGuard device, configured by `wg`. Owns the
//! command line and the exit codes; everything else is `sealane_kernel::tunnel_io`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use sealane_kernel::tunnel_io::offload::{Choice, Choices};
use sealane_kernel::tunnel_io::process::{self, Launch};
use sealane_kernel::tunnel_io::run::{Settings, run};
use sealane_kernel::tunnel_io::shared::Ended;
use sealane_kernel::tunnel_io::tun::LinkName;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

const EXAMPLE: &str = "\
Example:
  sealane-tunnel wg0
  wg set wg0 private-key ./key listen-port 51820
  wg set wg0 peer PUBLIC_KEY allowed-ips 10.1.0.0/16 endpoint 192.0.2.1:51820
  ip address add 10.0.0.1/16 dev wg0
  ip link set wg0 up

Without --foreground the command returns once the device is there, so that wg-quick can use it:
  WG_QUICK_USERSPACE_IMPLEMENTATION=sealane-tunnel wg-quick up wg0
Under systemd use --foreground with Type=notify.

The tunnel ends, and takes link and socket with it, on SIGTERM, SIGINT or SIGHUP, and when somebody
deletes the link or the file /var/run/wireguard/NAME.sock.

Exit codes:
  0  ended as asked, or (without --foreground) running in the background
  1  could not start, or broke down; standard error says why
  2  wrong command line";

/// A userspace WireGuard device. It needs CAP_NET_ADMIN, /dev/net/tun and /var/run/wireguard.
#[derive(Parser)]
#[command(name = "sealane-tunnel", version, after_help = EXAMPLE)]
struct Arguments {
    /// Name of the link to make
    name: LinkName,
    /// Stay in the foreground and log to standard error
    #[arg(short, long, env = "WG_PROCESS_FOREGROUND", value_parser = clap::builder::FalseyValueParser::new())]
    foreground: bool,
    /// MTU of the link in bytes: that of the way to the peers less 80
    #[arg(long, default_value_t = 1420, value_parser = clap::value_parser!(u16).range(576..))]
    mtu: u16,
    /// TCP superpackets from and to the link: auto, on or off
    #[arg(long, default_value_t, value_name = "CHOICE")]
    tun_tso: Choice,
    /// UDP superpackets from and to the link: auto, on or off
    #[arg(long, default_value_t, value_name = "CHOICE")]
    tun_uso: Choice,
    /// Many datagrams in one send: auto, on or off
    #[arg(long, default_value_t, value_name = "CHOICE")]
    udp_gso: Choice,
    /// Many datagrams in one receive: auto, on or off
    #[arg(long, default_value_t, value_name = "CHOICE")]
    udp_gro: Choice,
    /// What to log
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
    /// Set by the program itself when it goes to the background
    #[arg(long, hide = true)]
    announce: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const fn filter(self) -> &'static str {
        // boringtun logs every retry at warn, and names no peer.
        match self {
            Self::Error => "error,boringtun=off",
            Self::Warn => "warn,boringtun=off",
            Self::Info => "info,boringtun=off",
            Self::Debug => "debug,boringtun=off",
            Self::Trace => "trace",
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = arguments.log_level.filter();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !plain)
        .log_internal_errors(false)
        .init();
    let result = if arguments.foreground || arguments.announce {
        serve(&arguments)
    } else {
        send_to_background()
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn send_to_background() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> =
        std::iter::once("--announce".to_owned()).chain(std::env::args().skip(1)).collect();
    match process::launch(&arguments).context("starting the background process")? {
        Launch::Ready => Ok(ExitCode::SUCCESS),
        Launch::Ended(_) => Ok(ExitCode::FAILURE),
    }
}

fn serve(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    process::harden().context("protecting the process from core dumps")?;
    if arguments.announce {
        process::leave_session().context("starting a session")?;
    }
    let settings = Settings {
        name: arguments.name.clone(),
        mtu: arguments.mtu,
        offloads: Choices {
            tun_tso: arguments.tun_tso,
            tun_uso: arguments.tun_uso,
            udp_gso: arguments.udp_gso,
            udp_gro: arguments.udp_gro,
        },
    };
    let ended = run(&settings, || {
        process::notify_ready();
        if arguments.announce {
            // A parent that did not wait is no reason to stop.
            let _ = process::announce_ready();
        }
    })?;
    process::notify_stopping();
    Ok(match ended {
        Ended::Signal => {
            info!("ended by a signal");
            ExitCode::SUCCESS
        }
        Ended::LinkDeleted => {
            info!("ended: the link was deleted");
            ExitCode::SUCCESS
        }
        Ended::SocketDeleted => {
            info!("ended: the UAPI socket was deleted");
            ExitCode::SUCCESS
        }
        Ended::Fault(what) => {
            error!("broke down: {what}");
            ExitCode::FAILURE
        }
    })
}

//! Owns the start of the agent: flags, configuration, log, host, and the loop with its neighbours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use sealane_agent::admin::{self, Ask};
use sealane_agent::clock::Wall;
use sealane_agent::config::{self, Config, ConfigError, Overrides, Supervision};
use sealane_agent::event::Event;
use sealane_agent::hand::{self, Strings, Wish};
use sealane_agent::keys::Ring;
use sealane_agent::log::{self, Format};
use sealane_agent::metrics::{self, Metrics};
use sealane_agent::run::{Agent, Connections};
use sealane_broker::store::Store;
use sealane_kernel::host::{Host, ObserveError};
use sealane_kernel::nft::NftError;
use sealane_kernel::wireguard::process::{self, Tunnels};
use sealane_kernel::wireguard::uapi::{SOCKET_DIR, Sockets};
use sealane_view::membership::JoinRequest;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// The configuration is wrong.
const EXIT_CONFIG: u8 = 2;
/// Something this host lacks or refuses.
const EXIT_HOST: u8 = 1;

/// Sealane's agent: advertises this member, keeps its lanes, routes and rules.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Example:
  sealane-agent --config /etc/sealane/agent.toml --log-format json

Stopping the agent leaves all lanes up; `sealane leave` removes them.
Exit codes: 0 stopped by a signal, 1 this host refuses or another agent runs on it,
2 wrong configuration or flags."
)]
struct Flags {
    /// Configuration file.
    #[arg(long, env = "SEALANE_CONFIG", default_value = config::DEFAULT_FILE)]
    config: PathBuf,
    /// Node name, instead of the file's or the host's.
    #[arg(long, env = "SEALANE_NODE")]
    node: Option<String>,
    /// Token to join with if this host is no member yet.
    #[arg(long, env = "SEALANE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Admin socket, instead of the file's.
    #[arg(long, env = "SEALANE_SOCKET")]
    socket: Option<PathBuf>,
    /// Who starts sealane-tunnel where the file's [tunnel] supervision does not say.
    #[arg(long, env = "SEALANE_SUPERVISION", value_enum, default_value = "agent")]
    supervision: Supervision,
    /// How log lines look.
    #[arg(long, env = "SEALANE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: Format,
    /// What is logged: error, warn, info, debug, trace, or directives such as sealane_agent=debug or
    /// info,kube_client=warn.
    #[arg(long, env = "SEALANE_LOG", default_value = "info")]
    log_level: String,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Err(error) = keep_secrets() {
        eprintln!("sealane-agent: this process may be dumped with its keys: {error}");
        return ExitCode::from(EXIT_HOST);
    }
    let config = match read_config(&flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("sealane-agent: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if flags.check {
        println!("{}: sound", flags.config.display());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = log::start(flags.log_format, &flags.log_level) {
        eprintln!("sealane-agent: {error}");
        return ExitCode::from(EXIT_CONFIG);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.context("no threads").and_then(|runtime| {
        let ended = runtime.block_on(serve(config));
        runtime.shutdown_timeout(Duration::from_millis(500));
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealane-agent: {error:#}");
            ExitCode::from(EXIT_HOST)
        }
    }
}

/// Keeps keys and tokens out of core dumps and away from debuggers.
fn keep_secrets() -> nix::Result<()> {
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

fn read_config(flags: &Flags) -> Result<Config, ConfigError> {
    let overrides = Overrides {
        node: flags.node.clone(),
        token_file: flags.token_file.clone(),
        socket: flags.socket.clone(),
        supervision: flags.supervision,
    };
    let host = nix::unistd::gethostname().unwrap_or_default();
    config::load(&flags.config, overrides, &host.to_string_lossy())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let store = Store::open(&config.paths.state)?;
    let _claim = admin::claim(&config.paths.state)?;
    let host = open_host(&config)?;
    let listener = admin::open(&config.paths.socket).await?;
    let socket = config.paths.socket.clone();
    let served = serve_on(listener, config, store, host).await;
    // The next agent makes its own; a socket nobody answers would only confuse.
    drop(std::fs::remove_file(socket));
    served
}

/// Opens the host and looks at it once: what is missing for good is told at the start, in one line.
fn open_host(config: &Config) -> anyhow::Result<Host> {
    let mut host = Host::open(&config.paths.state, tunnels(config))?;
    match host.observe(&BTreeSet::new()) {
        Err(ObserveError::Filter(missing @ NftError::Missing { .. })) => Err(missing.into()),
        // Anything else may pass; the hand looks again and tells.
        _ => Ok(host),
    }
}

async fn serve_on(
    listener: UnixListener,
    config: Config,
    store: Store,
    host: Host,
) -> anyhow::Result<()> {
    let (events, inbox) = mpsc::channel(1024);
    let (errands, errands_in) = mpsc::channel(16);
    let (wish, wished) = watch::channel(Wish::default());
    let ring = Arc::new(Ring::default());
    let metrics = Arc::new(Metrics::new());
    let connections = Connections {
        wish,
        errands,
        events: events.clone(),
        ring: ring.clone(),
        metrics: metrics.clone(),
        wall: Wall::of_system(),
    };
    let token_file = config.token_file.clone();
    let metrics_address = config.metrics;
    let agent = Agent::new(config, store, connections)?;
    if token_file.is_none() && agent.joins_by_itself() {
        tracing::info!("this host is no member; waiting for `sealane join --token-file FILE`");
    }
    let token_file = token_file.filter(|_| agent.joins_by_itself());
    hand::take_charge(
        host,
        Strings { keys: ring, wish: wished, errands: errands_in, events: events.clone() },
    )?;
    let (asks, asked) = mpsc::channel(64);
    tokio::spawn(forward(asked, events.clone()));
    tokio::spawn(admin::serve(listener, asks.clone()));
    if let Some(address) = metrics_address {
        tokio::spawn(async move {
            if let Err(error) = metrics::serve(address, metrics).await {
                tracing::warn!(%address, %error, "no metrics; choose another metrics.listen");
            }
        });
    }
    if let Some(path) = token_file {
        tokio::spawn(async move { join_with(&path, asks).await });
    }
    tokio::spawn(stop_on_signal(events));
    agent.run(inbox).await;
    Ok(())
}

fn tunnels(config: &Config) -> Tunnels {
    let supervision = match config.tunnel.supervision {
        Supervision::Agent => process::Supervision::Ours,
        Supervision::Systemd => process::Supervision::Systemd,
        Supervision::External => process::Supervision::External,
    };
    let tunnels =
        Tunnels::new(Sockets::below(Path::new(SOCKET_DIR)), supervision, &config.paths.runtime);
    match &config.paths.tunnel_program {
        Some(program) => tunnels.with_program(program),
        None => tunnels,
    }
}

async fn forward(mut asked: mpsc::Receiver<Ask>, events: mpsc::Sender<Event>) {
    while let Some(ask) = asked.recv().await {
        if events.send(Event::Ask(ask)).await.is_err() {
            return;
        }
    }
}

/// Joins with the configured token, as `sealane join` would.
async fn join_with(path: &Path, asks: mpsc::Sender<Ask>) {
    let token = match std::fs::read_to_string(path) {
        Ok(token) => token,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "token not read; not joined");
            return;
        }
    };
    let (reply, answer) = oneshot::channel();
    let question = admin::Question::Join(JoinRequest { token });
    if asks.send(Ask { question, reply }).await.is_ok()
        && let Ok(Err(refusal)) = answer.await
    {
        tracing::warn!(path = %path.display(), cause = refusal.document.cause, "not joined");
    }
}

async fn stop_on_signal(events: mpsc::Sender<Event>) {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("no signals; stop with SIGKILL");
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    // A closed channel means that the loop has ended already.
    let _ = events.send(Event::Stop).await;
}

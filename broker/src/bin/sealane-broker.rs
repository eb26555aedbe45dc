//! Owns the program `sealane-broker`: flags, logs, signals, exit codes. Does not own the broker.

use anyhow::Context;
use clap::{Parser, ValueEnum};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use sd_notify::NotifyState;
use sealane_api::names::ClusterSetId;
use sealane_broker::server::{
    config::Config,
    history::HistoryBounds,
    limit::Limits,
    serve::{Server, StartError},
    signature_gate::SignatureGate,
};
use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLE: &str = "\
Example:
  sealane-broker --host broker.example.net --data-dir /var/lib/sealane-broker
  kubectl --kubeconfig /var/lib/sealane-broker/admin.kubeconfig get sealane

Exit codes:
  0  stopped by SIGTERM or SIGINT
  1  a thread or signal handler could not be set up
  2  wrong flags or settings
  3  the data directory, its database or its certificate authority cannot be used
  4  an address cannot be listened on

The log level is read from RUST_LOG (default info).";

/// The embedded broker of Sealane: serves ClusterSets and Advertisements over the Kubernetes API.
#[derive(Debug, Parser)]
#[command(name = "sealane-broker", version, after_help = EXAMPLE)]
struct Flags {
    /// Address to listen on; repeatable. [::] takes IPv4 as well.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:6464")]
    listen: Vec<SocketAddr>,
    /// Directory of the database, the certificate authority and admin.kubeconfig.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/sealane-broker")]
    data_dir: PathBuf,
    /// Name or address that members dial, for the certificate; repeatable or with commas. The first is
    /// written into admin.kubeconfig.
    #[arg(long, value_name = "HOST", env = "SEALANE_BROKER_HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// Namespace that kubectl uses by default.
    #[arg(long, value_name = "NAME", default_value = sealane_api::clusterset::DEFAULT_NAMESPACE)]
    namespace: String,
    /// Clusterset id to bind the namespace to; without it the administrator's first ClusterSet
    /// decides.
    #[arg(long, value_name = "ID")]
    anchor: Option<ClusterSetId>,
    /// Changes kept for watches that reconnect.
    #[arg(long, value_name = "EVENTS", default_value_t = 8_192)]
    history: usize,
    /// Seconds that a change is kept.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    history_age: u64,
    /// Requests per second of one credential, sustained.
    #[arg(long, value_name = "RATE", default_value = "50")]
    request_rate: NonZeroU32,
    /// Requests of one credential at once.
    #[arg(long, value_name = "COUNT", default_value = "200")]
    request_burst: NonZeroU32,
    /// Objects of all kinds.
    #[arg(long, value_name = "COUNT", default_value_t = 50_000)]
    max_objects: usize,
    /// Open watches in all.
    #[arg(long, value_name = "COUNT", default_value_t = 8_192)]
    max_watches: usize,
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    start_log(flags.log_format);
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.downcast_ref().map_or(1, exit_code);
            let _ = writeln!(io::stderr(), "sealane-broker: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Config(_) => 2,
        StartError::DataDir { .. }
        | StartError::InUse { .. }
        | StartError::Database { .. }
        | StartError::Certificate { .. } => 3,
        StartError::Listen { .. } => 4,
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !plain);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

#[tokio::main]
async fn run(flags: Flags) -> anyhow::Result<()> {
    keep_secrets().context("keeping credentials out of core dumps")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config(flags), SignatureGate).await?;
    greet(&server)?;
    notify(NotifyState::Ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = feed_watchdog() => {}
    }
    tracing::info!("stopping");
    notify(NotifyState::Stopping);
    server.stop().await;
    Ok(())
}

/// Keeps the certificate authority's key and what members show out of core dumps and debuggers.
fn keep_secrets() -> nix::Result<()> {
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

fn config(flags: Flags) -> Config {
    Config {
        listen: flags.listen,
        hosts: flags.host,
        namespace: flags.namespace,
        anchor: flags.anchor.map(|id| id.to_string()),
        history: HistoryBounds {
            events: flags.history,
            age: Duration::from_secs(flags.history_age),
            ..HistoryBounds::default()
        },
        limits: Limits {
            requests_per_second: flags.request_rate,
            request_burst: flags.request_burst,
            objects: flags.max_objects,
            watches: flags.max_watches,
            ..Limits::default()
        },
        ..Config::new(flags.data_dir)
    }
}

/// What a person, or the one who writes a token, needs to know.
fn greet(server: &Server) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    writeln!(out, "url   {}", server.url())?;
    for pin in server.pins() {
        writeln!(out, "pin   {pin}")?;
    }
    let kubeconfig = server.admin_kubeconfig().display();
    writeln!(out, "try   kubectl --kubeconfig {kubeconfig} get advertisements")?;
    out.flush()
}

/// Tells systemd for ever that the runtime still turns, twice as often as its unit demands.
async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut due = tokio::time::interval(limit / 2);
    loop {
        due.tick().await;
        notify(NotifyState::Watchdog);
    }
}

/// Tells systemd, if it asked.
fn notify(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "service manager not notified");
    }
}

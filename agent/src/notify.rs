//! Owns what systemd is told: readiness, a status line, the watchdog, stopping. Silent elsewhere.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells systemd that the first pass over the host is done.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd that the agent is on its way out.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Tells systemd that the loop still turns and the hand is at work.
pub fn alive(status: &str) {
    send(&[NotifyState::Watchdog, NotifyState::Status(status)]);
}

/// Tells systemd how things stand, and not that all is well.
pub fn ailing(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// Returns how often [`alive`] is due: half of what the unit's `WatchdogSec=` allows.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd did not take a notification");
    }
}

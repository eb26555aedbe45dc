//! Owns the reading of an agent's metrics page. Knows no metric.

use crate::lab::error::LabError;
use crate::lab::host::Host;

/// Where an agent has its page.
pub const URL: &str = "http://127.0.0.1:9182/metrics";

/// A page as it was read.
#[derive(Debug, Clone)]
pub struct Page {
    text: String,
}

impl Page {
    /// Reads the page of the agent on a host.
    ///
    /// # Errors
    /// Nobody serves it.
    pub fn of(host: &Host) -> Result<Self, LabError> {
        Ok(Self { text: host.run(&format!("curl -sS {URL}"))? })
    }

    /// The value of a series, which is named with its labels as on the page.
    ///
    /// # Errors
    /// The page, where it has no such series or more than one.
    pub fn value(&self, series: &str) -> Result<f64, String> {
        let lines = self.text.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        match (values.next().and_then(|value| value.parse().ok()), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(format!("not one {series} in: {}", self.text)),
        }
    }
}

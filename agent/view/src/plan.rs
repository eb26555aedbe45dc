//! Owns the readable form of a plan: [`PlanDocument`].

use serde::{Deserialize, Serialize};

use crate::status::{MemberView, ProblemView};

/// What this host should look like, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanDocument {
    /// The wanted host, one line per object in the order of `ip`, `wg` and `nft`.
    pub host: Vec<String>,
    /// Steps that are left between the host as it is and as it should be; empty when it fits.
    pub pending: Vec<String>,
    /// Probes in flight, one line per target.
    pub probes: Vec<String>,
    /// Other members.
    pub members: Vec<MemberView>,
    /// What keeps something from working.
    pub problems: Vec<ProblemView>,
    /// When time alone changes the plan, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_at_unix_seconds: Option<u64>,
}

//! Owns the asking and answering of traces.

use sealane_view::trace::TraceRequest;
use tokio::sync::oneshot;

use crate::admin::{Answer, Fault, Refusal};
use crate::inquiry::Inquiry;
use crate::run::Agent;

impl Agent {
    /// Begins a trace.
    pub fn trace(&mut self, _request: TraceRequest, reply: oneshot::Sender<Answer>) {
        let refusal = Refusal::new(Fault::State, "no trace", "soon", "soon");
        let _ = reply.send(Err(refusal));
    }

    /// Answers another agent.
    pub fn answer_inquiry(&mut self, inquiry: Inquiry) {
        drop(inquiry);
    }
}

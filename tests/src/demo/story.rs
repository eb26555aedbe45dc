//! Owns the order of the demo's chapters, and what happens when one of them cannot go on.

use crate::demo::cast::Cast;
use crate::demo::summary::Summary;
use crate::demo::teller::{Teller, say};
use crate::demo::{farewell, faults, prologue, traffic};
use crate::lab::error::LabError;
use crate::lab::kept;
use crate::product::command;
use crate::product::traces::Traces;

/// The lab's name.
pub const NAME: &str = "demo";

/// What is left when the story is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing.
    Clean,
    /// Everything, all members joined, until [`remove`].
    Kept,
}

/// Tells the story; answers whether every claim of it holds.
///
/// # Errors
/// A lab that cannot be built. What goes wrong in the story is told and answered as `false`.
pub fn tell(ending: Ending) -> Result<bool, LabError> {
    let (mut teller, mut summary) = (Teller::default(), Summary::default());
    teller.chapter("Two clusters, an edge host behind NAT, an internet between them");
    teller.note("Network namespaces on this machine; nothing leaves it. IPv4 and IPv6 everywhere.");
    let cast = Cast::new()?;
    introduce(&cast, &teller);
    let told = acts(&cast, ending, &mut teller, &mut summary);
    if let Err(error) = &told {
        summary.claim("the story goes on", &error.to_string(), false);
    }
    if !summary.holds() {
        say(&cast.ground.lab.dump());
    }
    summary.print(&teller);
    if ending == Ending::Kept {
        let kept = cast.ground.lab.keep()?;
        say(&format!("\n{kept}\n\nFor example:"));
        let (admin, pod) = (command::KUBECONFIG, cast.tokyo.far.link.addresses()[0]);
        for line in [
            "edge sealane status",
            "berlin-gw sealane peers",
            "berlin-worker sealane routes",
            "edge sealane ping tokyo",
            &format!("edge sealane trace self {pod}"),
            &format!("admin kubectl --kubeconfig {admin} get advertisements"),
        ] {
            say(&format!("  {} {line}", kept.enter.display()));
        }
        say("remove it with: make demo-down");
    }
    Ok(summary.holds())
}

/// Ends a demo that was kept; answers how many there were.
///
/// # Errors
/// A lab that does not end.
pub fn remove() -> Result<usize, LabError> {
    kept::remove(NAME)
}

fn acts(
    cast: &Cast,
    ending: Ending,
    teller: &mut Teller,
    summary: &mut Summary,
) -> Result<(), LabError> {
    let before = Traces::of(&cast.edge.host)?;
    let broker = prologue::found(cast, teller)?;
    let mut programs = prologue::join(cast, broker, teller, summary)?;
    traffic::look(cast, teller, summary)?;
    traffic::reach(cast, teller, summary);
    traffic::throughput(cast, teller, summary)?;
    faults::agent_dies(cast, &mut programs, teller, summary)?;
    faults::broker_dies(cast, &mut programs, teller, summary)?;
    faults::tunnel_dies(cast, teller, summary)?;
    farewell::edge_leaves(cast, &before, teller, summary)?;
    if ending == Ending::Kept {
        farewell::edge_returns(cast, teller)?;
    }
    Ok(())
}

fn introduce(cast: &Cast, teller: &Teller) {
    for site in [&cast.berlin, &cast.tokyo] {
        let networks: Vec<String> = site.networks().iter().map(ToString::to_string).collect();
        let (gateway, worker) = (site.gateway.host.name(), site.worker.host.name());
        let networks = networks.join(" ");
        teller.note(&format!("{}: gateway {gateway}, worker {worker}; {networks}", site.name));
    }
    let networks: Vec<String> = cast.edge.networks().iter().map(ToString::to_string).collect();
    teller.note(&format!(
        "{}: behind {}; {}",
        cast.edge.name,
        cast.edge.router.name(),
        networks.join(" ")
    ));
}

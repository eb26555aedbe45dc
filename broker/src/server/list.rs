//! Owns lists: which objects, of which revision, in pages. Does not own their form (`rendering`).

use super::{
    app::App,
    failure::Failure,
    object::{Key, Object},
    query::{At, Listing, continue_token},
    rendering::Rendering,
    resource::Resource,
    store::State,
};
use serde_json::json;
use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

/// How long a list waits for a revision that is not there yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// One page, rendered. `namespace` is `None` for all of them.
pub(crate) async fn list(
    app: &App,
    resource: &'static Resource,
    namespace: Option<&str>,
    listing: &Listing,
    rendering: Rendering,
) -> Result<Vec<u8>, Failure> {
    if let At::Since(revision) = listing.at {
        reached(app, revision).await?;
    }
    let page = {
        let state = app.store.read();
        match listing.at {
            At::Exactly(revision) if revision != state.revision => {
                let then = rewound(&state, resource, revision)?;
                Page::of(&then, revision, resource, namespace, listing)
            }
            _ => Page::of(&state.objects, state.revision, resource, namespace, listing),
        }
    };
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let (true, Some(last)) = (page.remaining > 0, page.objects.last()) {
        let token = continue_token(page.revision, &last.key.namespace, &last.key.name);
        metadata["continue"] = token.into();
        metadata["remainingItemCount"] = page.remaining.into();
    }
    Ok(rendering.list(resource, metadata, page.objects.iter().map(AsRef::as_ref)))
}

async fn reached(app: &App, revision: u64) -> Result<(), Failure> {
    let mut revisions = app.store.revisions();
    let wait = revisions.wait_for(|current| *current >= revision);
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Failure::timed_out(format!(
            "Too large resource version: {revision}, current: {}",
            app.store.read().revision
        ))),
    }
}

fn rewound(
    state: &State,
    resource: &'static Resource,
    revision: u64,
) -> Result<BTreeMap<Key, Arc<Object>>, Failure> {
    let gone = || {
        Failure::expired(format!(
            "the list of resourceVersion {revision} has expired; start it again without continue"
        ))
    };
    if revision > state.revision {
        return Err(gone());
    }
    state.history.rewind(&state.objects, resource.plural, revision).ok_or_else(gone)
}

struct Page {
    revision: u64,
    objects: Vec<Arc<Object>>,
    remaining: usize,
}

impl Page {
    fn of(
        objects: &BTreeMap<Key, Arc<Object>>,
        revision: u64,
        resource: &'static Resource,
        namespace: Option<&str>,
        listing: &Listing,
    ) -> Self {
        let start = match &listing.after {
            Some((namespace, name)) => Bound::Excluded(Key::new(resource, namespace, name)),
            None => Bound::Included(Key::new(resource, namespace.unwrap_or_default(), "")),
        };
        let limit = if listing.limit == 0 { usize::MAX } else { listing.limit };
        let mut matching = objects
            .range((start, Bound::Unbounded))
            .map(|(_, object)| object)
            .take_while(|object| object.key.plural == resource.plural)
            .filter(|object| namespace.is_none_or(|wanted| object.key.namespace == wanted))
            .filter(|object| listing.selector.matches(object));
        let objects = matching.by_ref().take(limit).map(Arc::clone).collect();
        Self { revision, objects, remaining: matching.count() }
    }
}

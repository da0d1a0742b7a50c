//! The override file: the local database out of the model, the branch in its place. No secret of the workspace is in it.

pub mod direct;
pub mod rehearsal;
pub mod seat;
mod yaml;

use serde_yaml::value::{Tag, TaggedValue};
use serde_yaml::{Mapping, Value};

use super::model::{Model, Service};
use crate::connection::CONTAINER_HOST;

/// The whole file: what it does, the services' changes, and the volumes that leave the model.
fn document<'a>(what: &str, services: Mapping, volumes: impl Iterator<Item = &'a str>) -> String {
    let mut root = Mapping::new();
    root.insert("services".into(), Value::Mapping(services));
    let volumes: Mapping = volumes.map(|volume| (volume.into(), reset())).collect();
    if !volumes.is_empty() {
        root.insert("volumes".into(), Value::Mapping(volumes));
    }
    let body = yaml::document(&root);
    format!(
        "# Written by `docker compose lakebase`, laid over your Compose files as the last `-f`.\n\
         # {what} No secret of the workspace is in here.\n\
         {body}"
    )
}

/// `!reset null`: Compose removes the element (compose-go; 2.24 and later).
fn reset() -> Value {
    Value::Tagged(Box::new(TaggedValue { tag: Tag::new("reset"), value: Value::Null }))
}

fn knows_host(service: &Service) -> bool {
    let name = |entry: &String| entry.split(['=', ':']).next() == Some(CONTAINER_HOST);
    service.extra_hosts.iter().any(name)
}

/// The keys of the database's named volumes. Those that no other service mounts leave the model, so that
/// `down -v` can't remove them.
fn only_of<'a>(model: &'a Model, database: &str) -> impl Iterator<Item = &'a str> {
    let (own, _) = volumes(model, database);
    own.into_iter()
}

/// The engine's names of volumes that the database shares with another service: they stay in the model, where
/// `down -v` would remove the database's data with them.
pub fn shared_volumes<'a>(model: &'a Model, database: &str) -> Vec<&'a str> {
    let (_, shared) = volumes(model, database);
    shared.into_iter().map(|key| model.volume_name(key)).collect()
}

/// The keys of the database's named volumes: its own, and those that another service mounts too.
fn volumes<'a>(model: &'a Model, database: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let named = |service: &'a Service| {
        let mounts =
            service.volumes.iter().filter(|mount| mount.kind == "volume" && !mount.source.is_empty());
        mounts.map(|mount| mount.source.as_str())
    };
    let others = model.services.iter().filter(|(name, _)| *name != database);
    let others: Vec<&str> =
        others.flat_map(|(_, service)| named(service)).map(|key| model.volume_name(key)).collect();
    let mut keys: Vec<&str> = model.services.get(database).into_iter().flat_map(named).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().partition(|key| !others.contains(&model.volume_name(key)))
}

//! The model of a rehearsal: the gateway's, in a project of its own beside the developer's, so that nothing is published and
//! no container's name is taken twice. The gateway tells what its sessions do.

use serde_yaml::{Mapping, Value};

use super::seat::{self, Seat};
use super::{document, only_of, reset};
use crate::compose::model::{Model, Mount, Service};
use crate::env_vars;
use crate::error::Result;

/// Label of every container of a rehearsal: the name of its project.
pub const CHECK: &str = "lakebase.check";

/// Where a place of this machine is to be found instead, if it is to be: that of a checkout in a merge, say.
pub type Moved<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The text of the override file. `check` is the name of the rehearsal's own project.
///
/// # Errors
/// Those of [`seat::fits`].
pub fn text(model: &Model, database: &str, seat: &Seat, check: &str, moved: Moved<'_>) -> Result<String> {
    let mut services = seat::services(model, database, seat)?;
    for (name, service) in &model.services {
        let change = services.entry(name.as_str().into()).or_insert_with(|| Value::Mapping(Mapping::new()));
        let Value::Mapping(change) = change else { continue };
        change.extend(alone(service));
        let labels = change.entry("labels".into()).or_insert_with(|| Value::Mapping(Mapping::new()));
        if let Value::Mapping(labels) = labels {
            labels.insert(CHECK.into(), check.into());
        }
        if name != database {
            change.extend(elsewhere(service, moved));
        }
        if name == database
            && let Some(Value::Mapping(environment)) = change.get_mut("environment")
        {
            environment.insert(env_vars::LAKEBASE_TAP.into(), "1".into());
        }
    }
    let what = format!("It rehearses a migration on a gateway in the seat of `{database}`.");
    Ok(document(&what, services, only_of(model, database)))
}

/// What lets a service run beside itself.
fn alone(service: &Service) -> impl Iterator<Item = (Value, Value)> {
    let taken = [("container_name", service.has("container_name")), ("ports", service.has("ports"))];
    taken.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| (key.into(), reset()))
}

/// Whether a service runs anything of what has moved.
pub fn runs_moved(service: &Service, moved: Moved<'_>) -> bool {
    service.build_context().is_some_and(|context| moved(context).is_some())
        || !mounts(service, moved).is_empty()
}

/// The mounts of what has moved, as they are then.
fn mounts(service: &Service, moved: Moved<'_>) -> Vec<Mount> {
    let binds = service.volumes.iter().filter(|mount| mount.kind == "bind");
    let moved = |mount: &Mount| {
        let mut mount = mount.clone();
        mount.source = moved(&mount.source)?.replace('$', "$$");
        Some(mount)
    };
    binds.filter_map(moved).collect()
}

/// What makes a service run the files that it is about, not those that an image of an earlier build has. Its image gets no
/// name, so that it takes nobody else's.
fn elsewhere(service: &Service, moved: Moved<'_>) -> Mapping {
    let mut change = Mapping::new();
    if let Some(original) = service.build() {
        if service.image.is_some() {
            change.insert("image".into(), reset());
        }
        let mut build = Mapping::new();
        let place = |value: &serde_json::Value| Some(seat::literal(&moved(value.as_str()?)?));
        for key in ["context", "dockerfile"] {
            build.extend(original.get(key).and_then(place).map(|place| (key.into(), place)));
        }
        let more = original.get("additional_contexts").and_then(serde_json::Value::as_object);
        let more: Mapping = more
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str().into(), place(value)?)))
            .collect();
        if !more.is_empty() {
            build.insert("additional_contexts".into(), Value::Mapping(more));
        }
        if !build.is_empty() {
            change.insert("build".into(), Value::Mapping(build));
        }
    }
    // One of the same place in the container replaces the original.
    let mounts: Vec<Value> =
        mounts(service, moved).iter().filter_map(|mount| serde_yaml::to_value(mount).ok()).collect();
    if !mounts.is_empty() {
        change.insert("volumes".into(), Value::Sequence(mounts));
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_published_and_the_gateway_tells() {
        let json = r#"{"name": "shop", "services": {
            "db": {"image": "postgres:17", "ports": [{"target": 5432, "published": "5432"}], "container_name": "shop-db"},
            "cache": {"image": "redis", "ports": [{"target": 6379, "published": "6379"}]},
            "web": {"image": "web", "depends_on": {"db": {"condition": "service_healthy"}}},
            "idle": {"image": "idle"}}}"#;
        let model = Model::parse(json.as_bytes()).unwrap();
        let seat = Seat {
            image: "gateway:1".into(),
            upstream: "db.example:5432".into(),
            user: "ada".into(),
            database: "shop".into(),
            role: None,
            ca: None,
            branch: "projects/shop/branches/check".into(),
            fork: "fork-1".into(),
            endpoint: "projects/shop/branches/check/endpoints/primary".into(),
        };
        let text = text(&model, "db", &seat, "shop-check-7", &|_| None).unwrap();
        let root: Value = serde_yaml::from_str(&text).unwrap();
        let services = root.get("services").unwrap();
        for (service, keys) in [("db", &["ports", "container_name"][..]), ("cache", &["ports"])] {
            for key in keys {
                assert!(
                    matches!(&services[service][*key], Value::Tagged(tag) if tag.tag == "!reset"),
                    "{text}"
                );
            }
        }
        assert_eq!(services["db"]["environment"]["LAKEBASE_TAP"], "1");
        for service in model.services.keys() {
            assert_eq!(services[service.as_str()]["labels"][CHECK], "shop-check-7", "{text}");
        }
    }

    #[test]
    fn what_has_moved_is_built_and_mounted_from_its_new_place() {
        let json = r#"{"name": "shop", "services": {
            "db": {"image": "postgres:17"},
            "web": {"image": "shop:dev", "build": {"context": "/shop/web", "dockerfile": "Dockerfile",
                "additional_contexts": {"lib": "/shop/lib", "base": "docker-image://base"}},
                "volumes": [
                    {"type": "bind", "source": "/shop/web/sql", "target": "/sql", "read_only": true},
                    {"type": "bind", "source": "/etc/ssl", "target": "/ssl"},
                    {"type": "volume", "source": "/shop/web", "target": "/data"}]},
            "other": {"build": {"context": "https://example.com/x.git"}}}}"#;
        let model = Model::parse(json.as_bytes()).unwrap();
        let moved = |place: &str| Some(format!("/merge{}", place.strip_prefix("/shop")?));
        let change = elsewhere(&model.services["web"], &moved);
        let text = serde_yaml::to_string(&change).unwrap();
        let wanted = "image: !reset null\nbuild:\n  context: /merge/web\n  additional_contexts:\n    lib: /merge/lib\n\
                      volumes:\n- type: bind\n  source: /merge/web/sql\n  target: /sql\n  read_only: true\n";
        assert_eq!(text, wanted);
        assert!(runs_moved(&model.services["web"], &moved));
        for name in ["other", "db"] {
            assert!(
                !runs_moved(&model.services[name], &moved)
                    && elsewhere(&model.services[name], &moved).is_empty()
            );
        }
    }
}

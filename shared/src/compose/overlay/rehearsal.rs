//! The model of a rehearsal: the gateway's, in a project of its own beside the developer's, so that nothing is published and
//! no container's name is taken twice. The gateway tells what its sessions do.

use serde_yaml::{Mapping, Value};

use super::seat::{self, Seat};
use super::{document, only_of, reset};
use crate::compose::model::{Model, Service};
use crate::env_vars;
use crate::error::Result;

/// Label of every container of a rehearsal: the name of its project.
pub const CHECK: &str = "lakebase.check";

/// The text of the override file. `check` is the name of the rehearsal's own project.
///
/// # Errors
/// Those of [`seat::fits`].
pub fn text(model: &Model, database: &str, seat: &Seat, check: &str) -> Result<String> {
    let mut services = seat::services(model, database, seat)?;
    for (name, service) in &model.services {
        let change = services.entry(name.as_str().into()).or_insert_with(|| Value::Mapping(Mapping::new()));
        let Value::Mapping(change) = change else { continue };
        change.extend(alone(service));
        let labels = change.entry("labels".into()).or_insert_with(|| Value::Mapping(Mapping::new()));
        if let Value::Mapping(labels) = labels {
            labels.insert(CHECK.into(), check.into());
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
        let text = text(&model, "db", &seat, "shop-check-7").unwrap();
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
}

//! `connect = "direct"`: the local database leaves the model, and the login goes into `DATABASE_URL`.

use serde_yaml::value::{Tag, TaggedValue};
use serde_yaml::{Mapping, Value};

use super::{document, knows_host, only_of, reset};
use crate::compose::consumers;
use crate::compose::model::{Model, Service};
use crate::connection::CONTAINER_HOST;
use crate::env_vars;
use crate::error::Result;

/// Stands where a value would be when nobody gave one: other tools replay the file without our variables,
/// and a `:?` would make their `ps` and `down` fail.
const UNSET: &str = "run-docker-compose-lakebase-up";

/// The text of the override file.
///
/// `host_side` says that the branch listens on the machine that runs the containers. The text holds no
/// secret: the values travel in the environment of the Compose process.
///
/// # Errors
/// [`crate::error::Kind::Unsupported`] where a service shares the database's container.
pub fn text(model: &Model, database: &str, host_side: bool) -> Result<String> {
    consumers::none_inside(model, database)?;
    let with_url = consumers::of_url(model, database);
    let mut services = Mapping::new();
    services.insert(database.into(), reset());
    for (name, service) in model.services.iter().filter(|(name, _)| *name != database) {
        let mut change = without_database(service, database);
        if with_url.contains(&name.as_str()) {
            change.insert("environment".into(), environment());
        }
        let owns = |url: &&str| consumers::network_owner(model, url) == name;
        let of_another = service.network_mode.as_deref().is_some_and(|mode| mode.starts_with("container:"));
        if host_side && with_url.iter().any(owns) && !knows_host(service) && !of_another {
            let entry = format!("{CONTAINER_HOST}:host-gateway");
            change.insert("extra_hosts".into(), Value::Sequence(vec![entry.into()]));
        }
        if !change.is_empty() {
            services.insert(name.as_str().into(), Value::Mapping(change));
        }
    }
    let what = format!("It takes `{database}` out of the model and puts the Lakebase branch in its place.");
    Ok(document(&what, services, only_of(model, database)))
}

/// What has to go from a service so that it no longer names the database.
fn without_database(service: &Service, database: &str) -> Mapping {
    let mut change = Mapping::new();
    if service.depends_on.contains_key(database) {
        let gone: Mapping = [(database.into(), reset())].into_iter().collect();
        change.insert("depends_on".into(), Value::Mapping(gone));
    }
    let (gone, kept): (Vec<&String>, Vec<&String>) =
        service.links.iter().partition(|link| link.split(':').next() == Some(database));
    if !gone.is_empty() {
        let kept = Value::Sequence(kept.into_iter().map(|link| link.as_str().into()).collect());
        let tagged = TaggedValue { tag: Tag::new("override"), value: kept };
        change.insert("links".into(), Value::Tagged(Box::new(tagged)));
    }
    change
}

fn environment() -> Value {
    let value = |variable: &str| Value::from(format!("${{{variable}:-{UNSET}}}"));
    let pairs = [
        (env_vars::DATABASE_URL, value(env_vars::LAKEBASE_DATABASE_URL)),
        (env_vars::DB_SOURCE, value(env_vars::LAKEBASE_DB_SOURCE)),
        (env_vars::LAKEBASE_BRANCH_PATH, value(env_vars::LAKEBASE_BRANCH_PATH)),
    ];
    Value::Mapping(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::error::Kind;

    fn model(services: &serde_json::Value) -> Model {
        Model::parse(json!({"name": "shop", "services": services}).to_string().as_bytes()).unwrap()
    }

    fn body(services: &serde_json::Value, host_side: bool) -> String {
        let text = text(&model(services), "postgres", host_side).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn the_database_goes_and_the_application_gets_the_branch() {
        let text = body(
            &json!({
                "postgres": {"image": "postgres:17", "volumes": [{"type": "volume", "source": "pgdata"}]},
                "backend": {
                    "environment": {"DATABASE_URL": "postgresql://u:p@postgres/d"},
                    "depends_on": {"postgres": {"condition": "service_healthy"}, "redis": {}},
                },
                "redis": {"image": "redis"},
            }),
            true,
        );
        assert_eq!(
            text,
            r#""services":
  "postgres": !reset null
  "backend":
    "depends_on":
      "postgres": !reset null
    "environment":
      "DATABASE_URL": "${LAKEBASE_DATABASE_URL:-run-docker-compose-lakebase-up}"
      "DB_SOURCE": "${LAKEBASE_DB_SOURCE:-run-docker-compose-lakebase-up}"
      "LAKEBASE_BRANCH_PATH": "${LAKEBASE_BRANCH_PATH:-run-docker-compose-lakebase-up}"
    "extra_hosts":
      - "host.docker.internal:host-gateway"
"volumes":
  "pgdata": !reset null
"#
        );
    }

    #[test]
    fn the_host_entry_stands_at_the_owner_of_the_network() {
        let text = body(
            &json!({
                "postgres": {"image": "postgres"},
                "vpn": {"image": "vpn"},
                "app": {"network_mode": "service:vpn", "environment": {"DATABASE_URL": null}},
                "known": {"environment": {"DATABASE_URL": null}, "extra_hosts": ["host.docker.internal=10.0.0.1"]},
            }),
            true,
        );
        let parsed: Value = serde_yaml::from_str(&text).unwrap();
        let hosts = |service: &str| parsed["services"][service].get("extra_hosts").is_some();
        assert_eq!((hosts("vpn"), hosts("app"), hosts("known")), (true, false, false));
    }

    #[test]
    fn links_go_and_a_shared_volume_stays() {
        let text = body(
            &json!({
                "postgres": {"image": "postgres", "volumes": [{"type": "volume", "source": "shared"}]},
                "backup": {"links": ["postgres:db", "redis"], "volumes": [{"type": "volume", "source": "shared"}]},
            }),
            false,
        );
        assert_eq!(
            text,
            r#""services":
  "postgres": !reset null
  "backup":
    "links": !override
      - "redis"
"#
        );
    }

    #[test]
    fn a_service_inside_the_databases_container_is_refused() {
        for inside in [json!({"network_mode": "service:postgres"}), json!({"volumes_from": ["postgres:ro"]})]
        {
            let model = model(&json!({"postgres": {"image": "postgres"}, "side": inside}));
            assert_eq!(text(&model, "postgres", false).unwrap_err().kind, Kind::Unsupported);
        }
    }

    proptest! {
        /// Names come from the user's file; whatever they are, the text is YAML with just those keys.
        #[test]
        fn any_service_name_survives_the_yaml(name in "[a-zA-Z0-9._-]{1,20}") {
            prop_assume!(name != "postgres");
            let body = body(&json!({"postgres": {}, (name.as_str()): {"environment": {"DATABASE_URL": "x"}}}), false);
            let parsed: Value = serde_yaml::from_str(&body).unwrap();
            let services = parsed["services"].as_mapping().unwrap();
            let keys: Vec<_> = services.keys().map(|key| key.as_str().map(str::to_owned)).collect();
            prop_assert!(keys.contains(&Some(name)));
            prop_assert_eq!(keys.len(), 2);
        }
    }
}

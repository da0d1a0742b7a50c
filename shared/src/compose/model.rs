//! What Compose says that the project is: the output of `docker compose config --format json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::is_loopback_host;
use crate::error::{Error, Kind, Result};

/// The parts of a project's model that matter here.
#[derive(Debug, Clone, Deserialize)]
pub struct Model {
    /// The project's name.
    pub name: String,
    /// The services by name.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// The named volumes by key.
    #[serde(default)]
    volumes: BTreeMap<String, Volume>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Volume {
    /// The name on the engine; several keys may have one.
    name: Option<String>,
}

/// The parts of a service that matter here.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Service {
    /// The image, if it names one.
    pub image: Option<String>,
    /// Environment; a variable without a value is `null`.
    #[serde(default)]
    pub environment: BTreeMap<String, Option<Value>>,
    /// What it waits for.
    #[serde(default)]
    pub depends_on: BTreeMap<String, Value>,
    /// `service:x`, `host`, `container:y`, …
    pub network_mode: Option<String>,
    /// `ipc: service:x`.
    pub ipc: Option<String>,
    /// `pid: service:x`.
    pub pid: Option<String>,
    /// `service` or `service:alias`.
    #[serde(default)]
    pub links: Vec<String>,
    /// `service`, `service:ro` or `container:y`.
    #[serde(default)]
    pub volumes_from: Vec<String>,
    /// Mounts.
    #[serde(default)]
    pub volumes: Vec<Mount>,
    /// Entries of `/etc/hosts`, `name=address`.
    #[serde(default)]
    pub extra_hosts: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

/// A mount of a service; written as it was read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Mount {
    /// `volume`, `bind`, `tmpfs`, …
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The volume's key in the model, or a path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Where in the container.
    #[serde(default)]
    pub target: String,
    /// Everything else.
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

impl Model {
    /// The engine's name of the volume with that key.
    pub fn volume_name<'a>(&'a self, key: &'a str) -> &'a str {
        self.volumes.get(key).and_then(|volume| volume.name.as_deref()).unwrap_or(key)
    }

    /// Reads what Compose printed.
    ///
    /// # Errors
    /// [`Kind::NoModel`] where it is not a model.
    pub fn parse(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| {
            // The model holds the project's secrets, so the parser's position is all that may be said.
            Error::new(Kind::NoModel, "what `docker compose config` printed is no Compose model")
                .because_of(format!("line {}, column {}", error.line(), error.column()))
        })
    }
}

impl Model {
    /// Whether the service `from` needs the service `to`, by whatever way Compose starts one before the other.
    pub fn depends(&self, from: &str, to: &str) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        let mut next = vec![from];
        while let Some(name) = next.pop() {
            if name == to {
                return true;
            }
            if let Some(service) = self.services.get(name).filter(|_| seen.insert(name)) {
                next.extend(service.needs());
            }
        }
        false
    }
}

impl Service {
    /// The services that Compose starts before this one (compose-go, `Service.GetDependencies`).
    fn needs(&self) -> impl Iterator<Item = &str> {
        let shared = [&self.network_mode, &self.ipc, &self.pid];
        let shared = shared.into_iter().filter_map(|mode| mode.as_deref()?.strip_prefix("service:"));
        let named = self.links.iter().chain(&self.volumes_from).filter_map(|text| text.split(':').next());
        self.depends_on.keys().map(String::as_str).chain(shared).chain(named)
    }

    /// The folder that its image is built of, if it is built.
    pub fn build_context(&self) -> Option<&str> {
        self.build()?.get("context")?.as_str()
    }

    /// How its image is built, if it is.
    pub fn build(&self) -> Option<&serde_json::Map<String, Value>> {
        self.other.get("build")?.as_object()
    }

    /// Whether the service sets a key that is none of the fields here.
    pub fn has(&self, key: &str) -> bool {
        self.other.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether a port of it can be reached from other machines, as Compose publishes one that names no address.
    pub fn is_published_to_all(&self) -> bool {
        let is_open = |port: &Value| {
            let address = port.get("host_ip").and_then(Value::as_str).unwrap_or("0.0.0.0");
            port.get("published").is_some() && !is_loopback_host(address)
        };
        self.other.get("ports").and_then(Value::as_array).is_some_and(|ports| ports.iter().any(is_open))
    }

    /// The arguments of its command, if it sets one.
    pub fn command(&self) -> Vec<&str> {
        let words = self.other.get("command").and_then(Value::as_array);
        words.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The service whose network this one shares.
    pub fn network_owner(&self) -> Option<&str> {
        self.network_mode.as_deref()?.strip_prefix("service:")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_output_is_read_or_refused_without_showing_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = Model::parse(&bytes) {
                prop_assert_eq!(error.kind, Kind::NoModel);
            }
        }
    }

    /// A model as Compose prints it, in which anything may be anywhere.
    fn models() -> impl Strategy<Value = Value> {
        let word = prop_oneof![Just("db".to_owned()), Just("postgres:17".to_owned()), any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        let any_value = leaf.prop_recursive(3, 12, 3, |inner| {
            let key = prop_oneof![Just("target".to_owned()), Just("source".to_owned()), any::<String>()];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::hash_map(key, inner, 0..3)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        });
        let field = proptest::sample::select(vec![
            "image",
            "environment",
            "depends_on",
            "network_mode",
            "ipc",
            "pid",
            "links",
            "volumes_from",
            "volumes",
            "extra_hosts",
            "ports",
            "networks",
            "healthcheck",
            "secrets",
            "profiles",
            "build",
            "labels",
        ]);
        let service = proptest::collection::hash_map(field, any_value.clone(), 0..4).prop_map(|fields| {
            Value::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
        });
        let services = proptest::collection::hash_map(word, service, 0..4)
            .prop_map(|services| Value::Object(services.into_iter().collect()));
        (services, any_value).prop_map(
            |(services, more)| serde_json::json!({"name": "shop", "services": services, "volumes": more}),
        )
    }

    proptest! {
        /// Whatever Compose says, there is a change of it or an error, and never a panic.
        #[test]
        fn any_model_is_changed_or_refused(model in models()) {
            if let Ok(model) = Model::parse(model.to_string().as_bytes())
                && let Ok(database) = crate::compose::database::find(&model, None)
            {
                let text = crate::compose::overlay::direct::text(&model, database, true);
                if let Ok(text) = text {
                    prop_assert!(serde_yaml::from_str::<serde_yaml::Value>(&text).is_ok(), "{}", text);
                }
                let _ = crate::compose::overlay::seat::fits(&model, database);
                let _ = crate::compose::overlay::shared_volumes(&model, database);
            }
        }
    }

    #[test]
    fn a_port_without_an_address_is_open_to_all() {
        let open = |ports: &str| {
            let model = format!(r#"{{"name":"x","services":{{"db":{{"ports":{ports}}}}}}}"#);
            Model::parse(model.as_bytes()).unwrap().services["db"].is_published_to_all()
        };
        assert!(open(r#"[{"target":5432,"published":"5432"}]"#));
        assert!(open(r#"[{"target":5432,"published":"5432","host_ip":"0.0.0.0"}]"#));
        assert!(!open(r#"[{"target":5432,"published":"5432","host_ip":"127.0.0.1"}]"#));
        assert!(!open(r#"[{"target":5432,"published":"5432","host_ip":"::1"}]"#));
        assert!(!open(r#"[{"target":5432}]"#) && !open("[]"));
    }

    #[test]
    fn a_refusal_does_not_quote_the_model() {
        let error =
            Model::parse(br#"{"name":"x","services":{"a":{"image":7,"environment":{"P":"hunter2"}}}}"#);
        assert!(!format!("{:?}", error.unwrap_err()).contains("hunter2"));
    }
}

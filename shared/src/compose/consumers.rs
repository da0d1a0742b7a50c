//! Who names the local database, and how.

use super::model::{Model, Service};
use crate::env_vars::DATABASE_URL;
use crate::error::{Error, Kind, Result};

/// The services that get the branch: those that declare `DATABASE_URL`, whatever its value.
pub fn of_url<'a>(model: &'a Model, database: &str) -> Vec<&'a str> {
    let declares = |service: &Service| service.environment.contains_key(DATABASE_URL);
    model
        .services
        .iter()
        .filter(|(name, service)| *name != database && declares(service))
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The service that owns the network of `name`: itself, unless it shares another's.
pub fn network_owner<'a>(model: &'a Model, name: &'a str) -> &'a str {
    let mut owner = name;
    // A chain longer than the model would be a circle, which Compose refuses; never loop over it.
    for _ in 0..model.services.len() {
        match model.services.get(owner).and_then(Service::network_owner) {
            Some(next) => owner = next,
            None => break,
        }
    }
    owner
}

/// Refuses a model in which another service lives inside the database's container.
///
/// # Errors
/// [`Kind::Unsupported`] with the service and the setting.
pub fn none_inside(model: &Model, database: &str) -> Result<()> {
    for (name, service) in &model.services {
        let shared = [("network_mode", &service.network_mode), ("ipc", &service.ipc), ("pid", &service.pid)];
        let wanted = format!("service:{database}");
        let setting = shared.iter().find(|(_, value)| value.as_deref() == Some(&wanted)).map(|(key, _)| *key);
        let volumes = service.volumes_from.iter().any(|from| from.split(':').next() == Some(database));
        if let Some(setting) = setting.or(volumes.then_some("volumes_from")) {
            return Err(Error::new(
                Kind::Unsupported,
                format!("service `{name}` can't run without `{database}`: it shares its container"),
            )
            .because_of(format!("`{setting}` of `{name}` names `{database}`"))
            .hint(format!(
                "give `{name}` a profile that only the local database uses, or a life of its own"
            )));
        }
    }
    Ok(())
}

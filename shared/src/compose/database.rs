//! Which service is the local database.

use super::model::Model;
use crate::error::{Error, Kind, Result};

/// Names of images that are a PostgreSQL server: the last part of the repository, without the tag.
const IMAGES: [&str; 8] = [
    "postgres",
    "postgresql",
    "postgis",
    "pgvector",
    "timescaledb",
    "timescaledb-ha",
    "alloydbomni",
    "edb-postgres-advanced",
];

/// The service named by the configuration, or else the one with a Postgres image.
///
/// # Errors
/// [`Kind::NoDatabaseService`] where the named one does not exist, or there is not exactly one.
pub fn find<'a>(model: &'a Model, configured: Option<&str>) -> Result<&'a str> {
    let hint = "name it: `LAKEBASE_DATABASE_SERVICE=SERVICE` in lakebase.config or the environment";
    if let Some(name) = configured {
        return model.services.get_key_value(name).map(|(name, _)| name.as_str()).ok_or_else(|| {
            let all: Vec<&str> = model.services.keys().map(String::as_str).collect();
            Error::new(Kind::NoDatabaseService, format!("the Compose file has no service `{name}`"))
                .because_of("`database-service` is configured to that name")
                .hint(format!("its services are {}", all.join(", ")))
        });
    }
    let postgres = |image: &Option<String>| image.as_deref().is_some_and(is_postgres);
    let found: Vec<&str> = model
        .services
        .iter()
        .filter(|(_, service)| postgres(&service.image))
        .map(|(name, _)| name.as_str())
        .collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Error::new(Kind::NoDatabaseService, "no service has a Postgres image").hint(hint)),
        several => Err(Error::new(
            Kind::NoDatabaseService,
            format!("{} services have a Postgres image", several.len()),
        )
        .because_of(several.join(", "))
        .hint(hint)),
    }
}

/// Whether an image reference names a PostgreSQL server: `[registry[:port]/]path/name[:tag][@digest]`.
fn is_postgres(image: &str) -> bool {
    let repository = image.split('@').next().unwrap_or_default();
    let last = repository.rsplit('/').next().unwrap_or_default();
    IMAGES.contains(&last.split(':').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(images: &[(&str, &str)]) -> Model {
        let services: serde_json::Map<String, serde_json::Value> = images
            .iter()
            .map(|(name, image)| ((*name).into(), serde_json::json!({"image": image})))
            .collect();
        Model::parse(serde_json::json!({"name": "x", "services": services}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_usual_images_are_known_with_registry_tag_and_digest() {
        for image in [
            "postgres",
            "postgres:17-alpine",
            "registry.example.com:5000/library/postgres:16",
            "bitnami/postgresql@sha256:00",
            "supabase/postgres:15",
            "pgvector/pgvector:pg17",
        ] {
            assert!(is_postgres(image), "{image}");
        }
        for image in ["", "redis", "postgres-exporter", "postgrest/postgrest", "dpage/pgadmin4:postgres"] {
            assert!(!is_postgres(image), "{image}");
        }
    }

    #[test]
    fn two_candidates_need_a_name() {
        let two = model(&[("db", "postgres:17"), ("warehouse", "postgis/postgis"), ("web", "nginx")]);
        let error = find(&two, None).unwrap_err();
        assert_eq!((error.kind, error.causes), (Kind::NoDatabaseService, vec!["db, warehouse".to_owned()]));
        assert_eq!(find(&two, Some("db")).unwrap(), "db");
        assert_eq!(find(&two, Some("gone")).unwrap_err().kind, Kind::NoDatabaseService);
        assert_eq!(find(&model(&[("web", "nginx")]), None).unwrap_err().kind, Kind::NoDatabaseService);
        assert_eq!(find(&model(&[("web", "nginx"), ("pg", "postgres")]), None).unwrap(), "pg");
    }
}

//! `connect = "gateway"`: a gateway in the local database's seat. The service keeps its name, networks, ports,
//! environment and secrets, so that whoever knew the database finds it; what answers is the branch. Constants only.

use serde_yaml::value::{Tag, TaggedValue};
use serde_yaml::{Mapping, Value};

use super::{document, knows_host, only_of, reset};
use crate::compose::model::{Model, Service};
use crate::compose::{consumers, declared};
use crate::connection::CONTAINER_HOST;
use crate::env_vars;
use crate::error::{Error, Kind, Result};

/// Label of a gateway's container: the branch's resource name.
pub const BRANCH: &str = "lakebase.branch";
/// Label of a gateway's container: which fork of the branch's name it is.
pub const FORK: &str = "lakebase.fork";
/// Label of a gateway's container: the resource name of the endpoint that logins are minted for.
pub const ENDPOINT: &str = "lakebase.endpoint";
/// Label of the services that use the gateway. It never changes, so it recreates them on the way from and to the local
/// database alone: their entrypoints then migrate the one they find.
const CONNECT: &str = "lakebase.connect";
/// The gateway's program in its image.
pub const PROGRAM: &str = "/lakebase-gateway";
/// The gateway keeps an answer about its health back for so many seconds while it is the one that it gave last. So it is
/// seen to be healthy at once, which engines before 25 (`start_interval`) can't otherwise, and is seldom asked after that.
const HOLD: &str = "20";
/// What makes the local database a database, and would break the gateway.
const OF_THE_DATABASE: [&str; 14] = [
    "build",
    "command",
    "develop",
    "devices",
    "platform",
    "post_start",
    "pre_stop",
    "profiles",
    "read_only",
    "shm_size",
    "stop_signal",
    "tmpfs",
    "user",
    "working_dir",
];

/// What the gateway has to know; it travels in the model, so none of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The gateway's image, which is on the engine already.
    pub image: String,
    /// `host:port` of the branch's endpoint as a container reaches it.
    pub upstream: String,
    /// The database user.
    pub user: String,
    /// The branch's database.
    pub database: String,
    /// The role that sessions start as.
    pub role: Option<String>,
    /// Certificate authority of an endpoint that no public one signed, PEM.
    pub ca: Option<String>,
    /// The branch's resource name.
    pub branch: String,
    /// Which fork of the branch's name it is.
    pub fork: String,
    /// The endpoint's resource name.
    pub endpoint: String,
}

impl Seat {
    /// The id of the branch, without its project.
    fn branch_id(&self) -> &str {
        self.branch.rsplit('/').next().unwrap_or_default()
    }

    fn environment(&self) -> Mapping {
        let mut pairs = vec![
            (env_vars::LAKEBASE_UPSTREAM, &self.upstream),
            (env_vars::LAKEBASE_USER, &self.user),
            (env_vars::LAKEBASE_DATABASE, &self.database),
        ];
        pairs.extend(self.role.as_ref().map(|role| (env_vars::LAKEBASE_ROLE, role)));
        pairs.extend(self.ca.as_ref().map(|ca| (env_vars::LAKEBASE_CA, ca)));
        pairs.into_iter().map(|(key, value)| (key.into(), literal(value))).collect()
    }

    fn labels(&self) -> Mapping {
        let pairs = [(BRANCH, &self.branch), (FORK, &self.fork), (ENDPOINT, &self.endpoint)];
        pairs.into_iter().map(|(key, value)| (key.into(), literal(value))).collect()
    }

    /// The seat that an override file of ours holds for the service, so that a command that asks nobody
    /// can leave it as it is.
    pub fn read(text: &str, database: &str) -> Option<Self> {
        let root: Value = serde_yaml::from_str(text).ok()?;
        let service = root.get("services")?.get(database)?;
        let plain = |value: &Value| Some(value.as_str()?.replace("$$", "$"));
        let variable = |name: &str| plain(service.get("environment")?.get(name)?);
        let label = |name: &str| plain(service.get("labels")?.get(name)?);
        Some(Self {
            image: plain(service.get("image")?)?,
            upstream: variable(env_vars::LAKEBASE_UPSTREAM)?,
            user: variable(env_vars::LAKEBASE_USER)?,
            database: variable(env_vars::LAKEBASE_DATABASE)?,
            role: variable(env_vars::LAKEBASE_ROLE),
            ca: variable(env_vars::LAKEBASE_CA),
            branch: label(BRANCH)?,
            fork: label(FORK)?,
            endpoint: label(ENDPOINT)?,
        })
    }
}

/// Whether a gateway can take the database's seat.
///
/// # Errors
/// [`Kind::Unsupported`] where a service mounts the database's volumes.
pub fn fits(model: &Model, database: &str) -> Result<()> {
    if !model.services.contains_key(database) {
        return Err(Error::new(Kind::NoDatabaseService, format!("the model has no service `{database}`")));
    }
    let inside =
        |service: &Service| service.volumes_from.iter().any(|from| from.split(':').next() == Some(database));
    match model.services.iter().find(|(_, service)| inside(service)) {
        None => Ok(()),
        Some((name, _)) => Err(Error::new(
            Kind::Unsupported,
            format!("service `{name}` can't run without `{database}`: it mounts its volumes"),
        )
        .hint(format!("give `{name}` a profile that only the local database uses"))),
    }
}

/// The text of the override file.
///
/// # Errors
/// Those of [`fits`].
pub fn text(model: &Model, database: &str, seat: &Seat) -> Result<String> {
    let what = format!("It puts a gateway to the Lakebase branch into the seat of `{database}`.");
    Ok(document(&what, services(model, database, seat)?, only_of(model, database)))
}

/// How the services change.
pub(super) fn services(model: &Model, database: &str, seat: &Seat) -> Result<Mapping> {
    fits(model, database)?;
    let mut services = Mapping::new();
    let original = &model.services[database];
    services.insert(database.into(), Value::Mapping(gateway(original, seat)));
    let owner = consumers::network_owner(model, database);
    for (name, service) in model.services.iter().filter(|(name, _)| *name != database) {
        let mut change = beside(name, service, model, database, seat);
        if name == owner {
            change.extend(host_entry(service, seat));
        }
        if !change.is_empty() {
            services.insert(name.as_str().into(), Value::Mapping(change));
        }
    }
    Ok(services)
}

/// The database's own service.
fn gateway(original: &Service, seat: &Seat) -> Mapping {
    let mut service = Mapping::new();
    let mut set = |key: &str, value: Value| service.insert(key.into(), value);
    set("image", literal(&seat.image));
    // It was built or loaded beside the programs; no registry has it.
    set("pull_policy", "never".into());
    let program = |words: &[&str]| Value::Sequence(words.iter().map(|word| (*word).into()).collect());
    set("entrypoint", tagged("override", program(&[PROGRAM, "serve"])));
    for key in OF_THE_DATABASE.into_iter().filter(|key| original.has(key)) {
        set(key, reset());
    }
    if !original.volumes.is_empty() {
        let kept: Vec<Value> =
            declared::files(original).filter_map(|mount| serde_yaml::to_value(mount).ok()).collect();
        set("volumes", if kept.is_empty() { reset() } else { tagged("override", Value::Sequence(kept)) });
    }
    if !original.volumes_from.is_empty() {
        set("volumes_from", reset());
    }
    let mut check = Mapping::new();
    check.insert("test".into(), program(&["CMD", PROGRAM, "healthy", HOLD]));
    for (key, value) in [("interval", "100ms"), ("timeout", "30s"), ("start_period", "60s")] {
        check.insert(key.into(), value.into());
    }
    set("healthcheck", tagged("override", Value::Mapping(check)));
    let mut environment = seat.environment();
    if let Some(port) = declared::port(original) {
        environment.insert("PGPORT".into(), port.to_string().into());
    }
    set("environment", Value::Mapping(environment));
    set("labels", Value::Mapping(seat.labels()));
    if original.network_mode.as_deref().is_none_or(|mode| mode == "host") {
        service.extend(host_entry(original, seat));
    }
    service
}

/// What lets the owner of the gateway's network find an endpoint on the machine that runs the containers.
fn host_entry(owner: &Service, seat: &Seat) -> Option<(Value, Value)> {
    let entry = format!("{CONTAINER_HOST}:host-gateway");
    let wanted = seat.upstream.starts_with(&format!("{CONTAINER_HOST}:")) && !knows_host(owner);
    wanted.then(|| ("extra_hosts".into(), Value::Sequence(vec![entry.into()])))
}

/// Another service: restarted when the gateway is replaced, and told the branch where it asks for it.
fn beside(name: &str, service: &Service, model: &Model, database: &str, seat: &Seat) -> Mapping {
    let mut change = Mapping::new();
    let dependency = service.depends_on.get(database);
    let has_url = service
        .environment
        .get(env_vars::DATABASE_URL)
        .is_some_and(|url| declared::may_be_ours(url.as_ref()));
    if dependency.is_some() || has_url {
        change.insert(
            "labels".into(),
            Value::Mapping([(CONNECT.into(), "gateway".into())].into_iter().collect()),
        );
    }
    // Who uses the database without waiting for it is restarted with it all the same.
    if dependency.is_some() || (has_url && !model.depends(database, name)) {
        let condition =
            dependency.and_then(|value| value.get("condition")?.as_str()).unwrap_or("service_started");
        let dependency: Mapping = [
            ("condition".into(), condition.into()),
            ("restart".into(), true.into()),
            ("required".into(), true.into()),
        ]
        .into_iter()
        .collect();
        change.insert(
            "depends_on".into(),
            Value::Mapping([(database.into(), Value::Mapping(dependency))].into_iter().collect()),
        );
    }
    let mut environment = Mapping::new();
    if service
        .environment
        .get(env_vars::DATABASE_URL)
        .is_some_and(|value| !declared::is_usable(value.as_ref()))
        && let Some(url) = declared::url(model, database)
    {
        environment.insert(env_vars::DATABASE_URL.into(), literal(&url));
    }
    let source = format!("lakebase/{}", seat.branch_id());
    for (key, value) in [(env_vars::DB_SOURCE, &source), (env_vars::LAKEBASE_BRANCH_PATH, &seat.branch)] {
        if service.environment.contains_key(key) {
            environment.insert(key.into(), literal(value));
        }
    }
    if !environment.is_empty() {
        change.insert("environment".into(), Value::Mapping(environment));
    }
    change
}

/// A text that Compose takes as it is: it would read `$` as the start of a variable.
pub(super) fn literal(text: &str) -> Value {
    Value::from(text.replace('$', "$$"))
}

fn tagged(tag: &str, value: Value) -> Value {
    Value::Tagged(Box::new(TaggedValue { tag: Tag::new(tag), value }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seat() -> Seat {
        Seat {
            image: "lakebase-gateway:1".into(),
            upstream: "host.docker.internal:20001".into(),
            user: "ada@example.com".into(),
            database: "shop".into(),
            role: Some("own$er".into()),
            ca: Some("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into()),
            branch: "projects/shop/branches/dev-ada-x-123456".into(),
            fork: "br-1".into(),
            endpoint: "projects/shop/branches/dev-ada-x-123456/endpoints/primary".into(),
        }
    }

    fn overlay(services: &serde_json::Value) -> Value {
        let model =
            Model::parse(json!({"name": "shop", "services": services}).to_string().as_bytes()).unwrap();
        serde_yaml::from_str(&text(&model, "db", &seat()).unwrap()).unwrap()
    }

    #[test]
    fn the_seat_loses_what_makes_it_a_database_and_keeps_the_rest() {
        let overlay = overlay(&json!({"db": {
            "image": "postgres:17", "command": ["-c", "fsync=off"], "profiles": ["local"], "entrypoint": null,
            "environment": {"POSTGRES_PASSWORD": "x"}, "ports": [{"target": 5432}],
            "volumes": [{"type": "volume", "source": "pg"}],
        }}));
        let db = overlay["services"]["db"].as_mapping().unwrap();
        let keys: Vec<&str> = db.keys().filter_map(Value::as_str).collect();
        assert_eq!(
            keys,
            [
                "image",
                "pull_policy",
                "entrypoint",
                "command",
                "profiles",
                "volumes",
                "healthcheck",
                "environment",
                "labels",
                "extra_hosts"
            ]
        );
        assert!(matches!(&overlay["volumes"]["pg"], Value::Tagged(value) if value.tag == "reset"));
    }

    #[test]
    fn who_depends_on_the_seat_is_restarted_with_it() {
        let overlay = overlay(&json!({
            "db": {"image": "postgres"},
            "app": {"depends_on": {"db": {"condition": "service_healthy", "required": false}, "redis": {}}},
            "worker": {"environment": {"DATABASE_URL": "postgresql://u:p@db/x"}},
            "redis": {"image": "redis"},
        }));
        let dependency = &overlay["services"]["app"]["depends_on"]["db"];
        assert_eq!(dependency["condition"], "service_healthy");
        assert_eq!((&dependency["restart"], &dependency["required"]), (&true.into(), &true.into()));
        let unsaid = &overlay["services"]["worker"]["depends_on"]["db"];
        assert_eq!((&unsaid["condition"], &unsaid["restart"]), (&"service_started".into(), &true.into()));
        // Both are made anew on the way from and to the local database.
        for name in ["app", "worker"] {
            assert_eq!(overlay["services"][name]["labels"][CONNECT], "gateway");
        }
        assert!(overlay["services"].get("redis").is_none());
    }

    #[test]
    fn what_the_database_itself_waits_for_does_not_wait_for_it() {
        let overlay = overlay(&json!({
            "db": {"image": "postgres", "depends_on": {"vault": {}}},
            "vault": {"links": ["seed"]},
            "seed": {"environment": {"DATABASE_URL": "postgresql://elsewhere/x"}},
        }));
        assert!(overlay["services"]["seed"].get("depends_on").is_none());
    }

    #[test]
    fn only_what_a_service_declares_is_filled_in() {
        let overlay = overlay(&json!({
            "db": {"image": "postgres", "environment": {"POSTGRES_USER": "u@x", "POSTGRES_PASSWORD": "p$w"}},
            "has": {"environment": {"DATABASE_URL": "postgresql://u:p@db/x"}},
            "lacks": {"environment": {"DATABASE_URL": null, "DB_SOURCE": "local"}},
        }));
        assert!(overlay["services"]["has"].get("environment").is_none());
        let environment = &overlay["services"]["lacks"]["environment"];
        assert_eq!(environment["DATABASE_URL"], "postgresql://u%40x:p%24w@db:5432/u%40x");
        assert_eq!(environment["DB_SOURCE"], "lakebase/dev-ada-x-123456");
        assert!(environment.get("LAKEBASE_BRANCH_PATH").is_none());
    }

    #[test]
    fn a_mounted_password_stays_and_the_data_goes() {
        let overlay = overlay(&json!({"db": {
            "environment": {"POSTGRES_PASSWORD_FILE": "/run/login/password"},
            "volumes": [
                {"type": "volume", "source": "pg", "target": "/var/lib/postgresql/data"},
                {"type": "bind", "source": "/here/login", "target": "/run/login", "read_only": true, "bind": {"create_host_path": true}},
                {"type": "bind", "source": "/here/seed", "target": "/docker-entrypoint-initdb.d"},
            ],
        }}));
        let Value::Tagged(volumes) = &overlay["services"]["db"]["volumes"] else { panic!("{overlay:?}") };
        let kept = volumes.value.as_sequence().unwrap();
        assert_eq!((volumes.tag.to_string().as_str(), kept.len()), ("!override", 1));
        assert_eq!((&kept[0]["source"], &kept[0]["read_only"]), (&"/here/login".into(), &true.into()));
        assert_eq!(kept[0]["type"], "bind");
    }

    #[test]
    fn the_host_is_known_to_the_owner_of_the_network() {
        let overlay = overlay(&json!({"db": {"network_mode": "service:vpn"}, "vpn": {"image": "vpn"}}));
        assert!(overlay["services"]["db"].get("extra_hosts").is_none());
        assert_eq!(overlay["services"]["vpn"]["extra_hosts"][0], "host.docker.internal:host-gateway");
    }

    #[test]
    fn a_seat_is_read_back_as_it_was_written() {
        let model = Model::parse(br#"{"name":"shop","services":{"db":{"image":"postgres"}}}"#).unwrap();
        let written = text(&model, "db", &seat()).unwrap();
        assert_eq!(Seat::read(&written, "db"), Some(seat()));
        assert_eq!(Seat::read(&written, "other"), None);
        assert_eq!(Seat::read("nonsense: [", "db"), None);
    }
}

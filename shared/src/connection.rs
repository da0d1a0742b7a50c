//! How to reach a branch, in the forms that programs read.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::auth::is_loopback_host;
use crate::ensure::Live;
use crate::secret::Secret;

/// All but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The name by which a container reaches the machine that runs it.
pub const CONTAINER_HOST: &str = "host.docker.internal";

/// Variables of libpq that would lead a login elsewhere, or change what it does, behind our own (PostgreSQL
/// documentation, 34.15: a service and an address win over the host's name).
pub const MISLEADING: [&str; 6] =
    ["PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR", "PGOPTIONS", "PGCHANNELBINDING", "PGSSLNEGOTIATION"];

/// The facts of a database login.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user, unescaped; an e-mail address as a rule.
    pub user: String,
    /// The password: a token, as a rule.
    pub password: Secret,
    /// The database.
    pub database: String,
    /// The role that sessions start as, if it is not the user.
    pub role: Option<String>,
    /// Whether TLS is required; if not, none is used, which is for a listener of our own on loopback alone.
    pub tls: bool,
}

impl Connection {
    /// The login to `database` of a live branch, as this machine reaches it.
    pub fn new(live: &Live, database: &str, role: Option<&str>) -> Self {
        Self {
            host: live.endpoint.host.clone(),
            port: live.endpoint.port,
            user: live.login.user.clone(),
            password: live.login.password.clone(),
            database: database.to_owned(),
            role: role.map(str::to_owned),
            tls: true,
        }
    }

    /// The same login from inside a container: what listens on this machine's loopback has another name
    /// there.
    #[must_use]
    pub fn for_container(mut self) -> Self {
        if is_loopback_host(&self.host) {
            self.host = CONTAINER_HOST.to_owned();
        }
        self
    }

    /// The libpq connection URI (PostgreSQL documentation, 34.1.1.2).
    pub fn url(&self) -> Secret {
        let options = self.options().map_or_else(String::new, |text| format!("&options={}", escape(&text)));
        Secret::new(format!(
            "postgresql://{}:{}@{}:{}/{}?sslmode={}{options}",
            escape(&self.user),
            escape(self.password.expose()),
            self.host,
            self.port,
            escape(&self.database),
            self.sslmode(),
        ))
    }

    /// Drivers differ in what they make of the modes between the two: node-postgres verifies certificates in each of them.
    fn sslmode(&self) -> &'static str {
        if self.tls { "require" } else { "disable" }
    }

    /// The server's command-line options (PostgreSQL documentation, 34.1.2, `options`): the role, in which a
    /// backslash keeps a space or a backslash from ending it.
    pub(crate) fn options(&self) -> Option<String> {
        let mut text = "-c role=".to_owned();
        for c in self.role.as_deref()?.chars() {
            if c.is_whitespace() || c == '\\' {
                text.push('\\');
            }
            text.push(c);
        }
        Some(text)
    }

    /// The variables that libpq reads (PostgreSQL documentation, 34.15).
    pub fn variables(&self) -> Vec<(&'static str, Secret)> {
        let mut all = vec![
            ("PGHOST", Secret::new(&self.host)),
            ("PGPORT", Secret::new(self.port.to_string())),
            ("PGUSER", Secret::new(&self.user)),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", Secret::new(&self.database)),
            ("PGSSLMODE", Secret::new(self.sslmode())),
        ];
        all.extend(self.options().map(|options| ("PGOPTIONS", Secret::new(options))));
        all
    }
}

/// A text as a part of a URL: percent-encoded but for RFC 3986's unreserved characters.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connection(user: &str, password: &str, database: &str) -> Connection {
        Connection {
            host: "127.0.0.1".into(),
            port: 15432,
            user: user.into(),
            password: Secret::new(password),
            database: database.into(),
            role: None,
            tls: true,
        }
    }

    #[test]
    fn tls_is_required_but_where_there_is_none() {
        let mode = |tls| {
            let login = Connection { tls, ..connection("u", "p", "d") };
            let variable = login.variables().into_iter().find(|(name, _)| *name == "PGSSLMODE").unwrap().1;
            (login.url().expose().rsplit('=').next().unwrap().to_owned(), variable.expose().to_owned())
        };
        assert_eq!(mode(true), ("require".into(), "require".into()));
        assert_eq!(mode(false), ("disable".into(), "disable".into()));
    }

    #[test]
    fn the_at_sign_of_an_identity_is_escaped() {
        let url = connection("ada@example.com", "a.b/c", "my db").url();
        assert_eq!(
            url.expose(),
            "postgresql://ada%40example.com:a.b%2Fc@127.0.0.1:15432/my%20db?sslmode=require"
        );
    }

    #[test]
    fn only_loopback_gets_the_containers_name_for_it() {
        let mut remote = connection("u", "p", "d");
        assert_eq!(remote.clone().for_container().host, CONTAINER_HOST);
        remote.host = "ep-1.database.example.com".into();
        assert_eq!(remote.for_container().host, "ep-1.database.example.com");
    }

    #[test]
    fn a_role_goes_into_the_options_in_every_form() {
        let login = Connection { role: Some("own er\\x".into()), ..connection("u", "p", "d") };
        let variables = login.variables();
        let options = variables.iter().find(|(name, _)| *name == "PGOPTIONS").unwrap();
        assert_eq!(options.1.expose(), r"-c role=own\ er\\x");
        let config: tokio_postgres::Config = login.url().expose().parse().unwrap();
        assert_eq!(config.get_options(), Some(options.1.expose()));
    }

    proptest! {
        /// The peer is the parser of the PostgreSQL driver.
        #[test]
        fn a_driver_reads_back_what_went_in(user in "[^\0]{1,40}", password in "[^\0]{1,60}", database in "[^\0]{1,40}") {
            let url = connection(&user, &password, &database).url();
            let config: tokio_postgres::Config = url.expose().parse().unwrap();
            prop_assert_eq!(config.get_user(), Some(user.as_str()));
            prop_assert_eq!(config.get_password(), Some(password.as_bytes()));
            prop_assert_eq!(config.get_dbname(), Some(database.as_str()));
            prop_assert_eq!(config.get_ports(), &[15432]);
        }
    }
}

//! `embedded user`: who may talk to the server, beside the developer that every home has.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::{exports, say};
use crate::catalog;
use crate::error::{Error, ErrorKind, Result, embedded_command};
use crate::home::{DEFAULT_PORT, Home};
use crate::identities::{self, Identity, Kind};
use crate::random;
use crate::state::State;

/// A command about identities.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum UserCommand {
    /// Add an identity, and print what it signs in with, this once, as lines for a shell
    Add(AddArgs),
    /// List the identities
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an identity; its tokens are refused from then on, its roles and tables stay
    Remove {
        /// Its name, as it was added or as it logs in
        name: String,
    },
}

/// What an identity is added with.
#[derive(Debug, Clone, clap::Args)]
pub struct AddArgs {
    /// An e-mail address such as `ada@example.com`; of a service principal any name
    name: String,
    /// A machine, with an application id and a client secret instead of a token
    #[arg(long)]
    service_principal: bool,
    /// A machine that jobs of GitHub Actions sign in as: those whose tokens have this `sub`. Prints what such a job finds in its
    /// environment; this server stands for GitHub, too
    #[arg(long, value_name = "SUBJECT")]
    github: Option<String>,
    /// Give it no role when it first asks for a credential of a branch, as if nobody had granted it one yet
    #[arg(long)]
    no_role: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs one of them.
pub(super) fn run(
    home: &Home,
    command: &UserCommand,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    match command {
        UserCommand::Add(args) => add(home, args, out),
        UserCommand::List { json } => list(home, *json, out),
        UserCommand::Remove { name } => remove(home, name, err),
    }
}

fn add(home: &Home, args: &AddArgs, out: &mut dyn Write) -> Result<()> {
    let kind =
        if args.service_principal || args.github.is_some() { Kind::ServicePrincipal } else { Kind::User };
    check(&args.name, kind)?;
    let bad = |subject: &&String| subject.is_empty() || subject.chars().any(char::is_control);
    if args.github.as_ref().filter(bad).is_some() {
        return Err(Error::new(
            ErrorKind::Usage,
            "the subject of GitHub's tokens can't be empty or hold control characters",
        )
        .hint("a job on a branch has `repo:OWNER/NAME:ref:refs/heads/BRANCH`"));
    }
    let (user_name, secret) = match kind {
        Kind::User => (args.name.clone(), format!("dapi{}", random::hex::<16>()?)),
        Kind::ServicePrincipal => (random::uuid()?, format!("dose{}", random::hex::<16>()?)),
    };
    home.create()?;
    let mut identity = Identity::new(&user_name, &args.name, kind, &secret);
    identity.gets_roles = !args.no_role;
    identity.github_subject.clone_from(&args.github);
    identities::change(home, |all| {
        let taken = Identity::developer();
        if all.iter().chain([&taken]).any(|other| is_called(other, &args.name)) {
            let message = format!("there is an identity `{}` already", args.name);
            return Err(
                Error::new(ErrorKind::Usage, message).hint(format!("see {}", embedded_command("user list")))
            );
        }
        // The developer's number is 1; none is ever given twice as long as its owner is there.
        identity.id = all.iter().map(|other| other.id).max().unwrap_or(1) + 1;
        all.push(identity.clone());
        Ok(())
    })?;
    let host = host(home)?;
    let mut variables = vec![("DATABRICKS_HOST", host.clone())];
    match (kind, &args.github) {
        (Kind::User, _) => variables.push(("DATABRICKS_TOKEN", secret)),
        (Kind::ServicePrincipal, None) => {
            variables.push(("DATABRICKS_CLIENT_ID", user_name));
            variables.push(("DATABRICKS_CLIENT_SECRET", secret));
        }
        (Kind::ServicePrincipal, Some(_)) => {
            variables.push(("DATABRICKS_CLIENT_ID", user_name));
            // GitHub's own has a query, too: clients append to it.
            let url = format!("{host}/embedded/github-oidc?api-version=2.0");
            variables.push(("ACTIONS_ID_TOKEN_REQUEST_URL", url));
            variables.push(("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret));
        }
    }
    if args.json {
        let mut report = view(&identity);
        let environment: Map<String, Value> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        report["environment"] = environment.into();
        return say(out, &format!("{report:#}"));
    }
    exports(out, &variables)
}

/// Where the server is, or will be when it starts as it did last.
fn host(home: &Home) -> Result<String> {
    let port = match home.running() {
        Some(running) => running.port,
        None => State::load(home)?.api_port.unwrap_or(DEFAULT_PORT),
    };
    Ok(format!("http://127.0.0.1:{port}"))
}

fn check(name: &str, kind: Kind) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || "@.-_+".contains(c);
    let (good, hint) = match kind {
        Kind::User => {
            let parts = name.split_once('@').is_some_and(|(user, domain)| {
                !user.is_empty() && !domain.is_empty() && !domain.contains('@')
            });
            // It is the name of a role, too.
            (
                parts && name.chars().all(plain) && catalog::is_free_name(name),
                "a person's name is an e-mail address of at most 63 bytes, such as `ada@example.com`",
            )
        }
        Kind::ServicePrincipal => (
            !name.is_empty() && name.len() <= 63 && !name.chars().any(char::is_control),
            "a name has 1 to 63 bytes and no control characters",
        ),
    };
    if good {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("`{}` can't be the name of an identity", name.escape_debug()))
        .hint(hint))
}

fn is_called(identity: &Identity, name: &str) -> bool {
    identity.user_name == name || identity.display_name == name
}

fn view(identity: &Identity) -> Value {
    json!({
        "user_name": identity.user_name,
        "display_name": identity.display_name,
        "identity_type": identity.identity_type(),
        "gets_roles": identity.gets_roles,
        "github_subject": identity.github_subject,
    })
}

fn list(home: &Home, json: bool, out: &mut dyn Write) -> Result<()> {
    let mut all = vec![Identity::developer()];
    all.extend(identities::list(home)?);
    if json {
        let views: Vec<Value> = all.iter().map(view).collect();
        return say(out, &format!("{:#}", Value::from(views)));
    }
    for identity in all {
        let (name, kind) = (&identity.user_name, identity.identity_type());
        let called = if &identity.display_name == name {
            String::new()
        } else {
            format!(", {}", identity.display_name)
        };
        say(out, &format!("{name}: {kind}{called}"))?;
    }
    Ok(())
}

fn remove(home: &Home, name: &str, err: &mut dyn Write) -> Result<()> {
    let missing = || {
        Error::new(ErrorKind::Usage, format!("there is no identity `{}` to remove", name.escape_debug()))
            .hint(format!("see {}", embedded_command("user list")))
    };
    // A home that was never made stays so.
    if !home.exists() {
        return Err(missing());
    }
    identities::change(home, |all| {
        let before = all.len();
        all.retain(|identity| !is_called(identity, name));
        if all.len() == before { Err(missing()) } else { Ok(()) }
    })?;
    say(err, &format!("`{name}` is removed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_named_by_an_address_that_can_be_a_role() {
        for good in ["ada@example.com", "ada.l+dev@bücher.example", "a@b"] {
            assert!(check(good, Kind::User).is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(60));
        for bad in ["", "ada", "@b", "a@", "a@b@c", "a b@c", "a@b\n", "a'@b", "a\"@b", "a@$(x)", &long] {
            assert!(check(bad, Kind::User).is_err(), "{bad}");
        }
        assert!(check("the pipeline's", Kind::ServicePrincipal).is_ok());
        assert!(check("a\u{1b}[31m", Kind::ServicePrincipal).is_err());
    }
}

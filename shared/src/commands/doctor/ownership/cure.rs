//! The statements that let a migration alter what others own.

use serde_json::json;

use super::{Facts, Owner, Place, Role, Schema};
use crate::api::BranchPath;
use crate::branch::ResourceId;
use crate::commands::doctor::check::Check;
use crate::config::Key;

/// From this version on a grant says itself what it is good for; before, the member's role does.
const GRANTS_WITH_OPTIONS: i32 = 160_000;

/// Statements, and who can run them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cure {
    /// In their order; to be run in the database that was looked at.
    pub sql: Vec<String>,
    /// Who may run them, as far as the catalog tells.
    pub run_by: Vec<String>,
    /// Whether several people each have a statement that nobody else may run.
    each: bool,
    /// The role that sessions then should start as, where that is another one than now.
    role: Option<String>,
    /// Owners that no statement helps with.
    hopeless: Vec<String>,
    database: String,
}

impl Cure {
    /// What lets the session's role alter everything.
    pub fn of(facts: &Facts, foreign: &[&Owner]) -> Self {
        let heir = &facts.heir;
        let open: Vec<&&Owner> = foreign.iter().filter(|owner| !owner.superuser).collect();
        let people: Vec<&str> = open
            .iter()
            .filter(|owner| owner.can_login && owner.name != heir.name)
            .map(|it| it.name.as_str())
            .collect();
        let teams = open.iter().filter(|owner| !owner.can_login && owner.name != heir.name);
        let mut sql = Vec::new();
        if !heir.exists {
            sql.push(format!("CREATE ROLE {} NOLOGIN;", identifier(&heir.name)));
        }
        sql.extend(
            people.iter().filter(|name| **name != facts.user).map(|name| facts.grant(&heir.name, name)),
        );
        if !heir.may_be_set && heir.name != facts.user {
            sql.push(facts.grant(&heir.name, &facts.user));
        }
        sql.extend(teams.clone().map(|owner| facts.grant(&owner.name, &heir.name)));
        // A schema of somebody who gives all away goes with it.
        let schemas = facts.schemas.iter().filter(|schema| !schema.is_open_to_heir);
        let schemas = schemas.filter(|schema| !people.contains(&schema.owner.as_str()));
        sql.extend(schemas.map(|schema| facts.open(schema, &heir.name)));
        sql.extend(
            people
                .iter()
                .map(|name| format!("REASSIGN OWNED BY {} TO {};", identifier(name), identifier(&heir.name))),
        );
        let granters = || {
            let all =
                foreign.iter().filter(|owner| !owner.can_login).flat_map(|owner| owner.granters.clone());
            let mut all: Vec<String> = all.collect();
            all.sort();
            all.dedup();
            all.truncate(3);
            all
        };
        let is_new = facts.role.as_ref().is_none_or(|role| role.name != heir.name);
        Self {
            each: people.len() > 1,
            run_by: if people.is_empty() {
                granters()
            } else {
                people.iter().map(|name| (*name).to_owned()).collect()
            },
            sql,
            role: is_new.then(|| heir.name.clone()),
            hopeless: foreign
                .iter()
                .filter(|owner| owner.superuser)
                .map(|owner| owner.name.clone())
                .collect(),
            database: facts.database.clone(),
        }
    }

    /// Adds what to do to a finding. `forks` says whether the role exists on new copies only.
    pub fn prescribe(&self, mut check: Check, place: &Place<'_>, forks: bool) -> Check {
        let parent = &place.parent.branch;
        let role = self.role.as_ref().map(|role| format!("set `{}={}`", Key::Role.variable(), shell(role)));
        if !self.sql.is_empty() {
            let who = match self.run_by.as_slice() {
                [] => "somebody who may".to_owned(),
                [one] => identifier(one),
                several => {
                    let names: Vec<String> = several.iter().map(|name| identifier(name)).collect();
                    let word = if self.each { " and " } else { " or " };
                    names.join(word)
                }
            };
            check =
                check.cure(format!("let {who} run this on branch {parent}, in database {}:", self.database));
            check.copy.clone_from(&self.sql);
            if self.each {
                check = check.cure("each `REASSIGN` must be run by the one whom it names");
            }
        }
        for owner in &self.hopeless {
            check = check.cure(format!("what {} owns, only a superuser can give away", identifier(owner)));
        }
        let fresh = "fork anew, since a branch has the grants of the moment that it was forked at: `docker compose lakebase --fresh up`";
        let fresh = (!self.sql.is_empty() && (forks || place.read != place.parent)).then(|| fresh.to_owned());
        let then: Vec<String> = role.into_iter().chain(fresh).collect();
        if !then.is_empty() {
            let first = if self.sql.is_empty() { "" } else { "then " };
            check = check.cure(format!("{first}{}", then.join(", and ")));
        }
        check
            .with("sql", json!(self.sql))
            .with("run_on", place.parent.to_string())
            .with("run_by", json!(self.run_by))
            .with("set", self.role.as_ref().map_or(json!({}), |role| json!({Key::Role.variable(): role})))
    }
}

/// What lets the user start sessions as a role that exists.
pub fn entry(facts: &Facts, role: &Role) -> Cure {
    let owner = facts.owners.iter().find(|owner| owner.name == role.name);
    Cure {
        sql: vec![facts.grant(&role.name, &facts.user)],
        run_by: owner.map(|owner| owner.granters.clone()).unwrap_or_default(),
        database: facts.database.clone(),
        ..Cure::default()
    }
}

/// What lets the session's role make tables in schemas that are closed to it.
pub fn opening(facts: &Facts, closed: &[&Schema]) -> Cure {
    // That one is nobody: it stands for whoever owns the database.
    let mut owners: Vec<String> = closed
        .iter()
        .map(|schema| schema.owner.clone())
        .filter(|owner| owner != "pg_database_owner")
        .collect();
    owners.sort();
    owners.dedup();
    Cure {
        sql: closed.iter().map(|schema| facts.open(schema, facts.session())).collect(),
        each: owners.len() > 1,
        run_by: owners,
        database: facts.database.clone(),
        ..Cure::default()
    }
}

/// How a role for the user comes to be on the parent: one that SQL makes is nobody's, one of the API is the user's.
pub fn role_on_parent(check: Check, user: &str, parent: &BranchPath) -> Check {
    let kind = if user.contains('@') { "USER" } else { "SERVICE_PRINCIPAL" };
    let body = json!({"spec": {
        "postgres_role": user, "identity_type": kind, "membership_roles": ["DATABRICKS_SUPERUSER"],
    }});
    let id = ResourceId::from_words(&format!("role-{user}"))
        .map_or_else(|| "role-user".to_owned(), |id| id.to_string());
    let path = format!("{parent}/roles?role_id={id}");
    let mut check = check.cure("let a manager of the project make it, in the workspace or by:");
    check.copy.push(format!(
        "databricks api post {} --json {}",
        shell(&format!("/api/2.0/postgres/{path}")),
        shell(&body.to_string())
    ));
    check.with("call", json!({"method": "POST", "path": path, "body": body}))
}

impl Facts {
    fn grant(&self, role: &str, member: &str) -> String {
        let how = if self.version >= GRANTS_WITH_OPTIONS { " WITH INHERIT TRUE, SET TRUE" } else { "" };
        format!("GRANT {} TO {}{how};", identifier(role), identifier(member))
    }

    fn open(&self, schema: &Schema, role: &str) -> String {
        format!("GRANT USAGE, CREATE ON SCHEMA {} TO {};", schema.name, identifier(role))
    }
}

/// A name as SQL takes it, whatever is in it.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A word as a shell takes it, whatever is in it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

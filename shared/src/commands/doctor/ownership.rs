//! Ownership: which tables a migration could not alter, and which grants would let it. Pure but for [`catalog`].

pub mod catalog;
mod cure;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use self::cure::Cure;
use super::check::{Check, Status, skipped};
use crate::api::BranchPath;
use crate::config::Key;

/// Names of one kind: how many, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// How many there are.
    pub count: i64,
    /// The first [`catalog::FIRST`], quoted as SQL has them.
    pub first: Vec<String>,
}

/// A role that owns something, and what the session is to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Whether somebody logs in as it.
    pub can_login: bool,
    /// Whether it is a superuser, which nobody is let into.
    pub superuser: bool,
    /// Whether the session's role has its rights, and so may alter what it owns.
    pub has_rights: bool,
    /// Its tables.
    pub tables: Group,
    /// What else it owns, each with its kind: `view public.v`.
    pub others: Group,
    /// Some of those who log in and may let others into it.
    pub granters: Vec<String>,
}

/// A role that a session may start as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// Whether the user may start a session as it.
    pub may_be_set: bool,
}

/// A schema in which tables are, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Its name, quoted as SQL has it.
    pub name: String,
    /// Who owns it.
    pub owner: String,
    /// Whether the session's role may make tables in it.
    pub is_open: bool,
    /// The same for the heir.
    pub is_open_to_heir: bool,
}

/// What the catalog says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `server_version_num`.
    pub version: i32,
    /// Who logs in.
    pub user: String,
    /// The database that was looked at.
    pub database: String,
    /// The role that is configured.
    pub role: Option<Role>,
    /// Who owns something.
    pub owners: Vec<Owner>,
    /// The role that the tables should belong to: the configured one, the one that has most of them already, or a new one.
    pub heir: Role,
    /// The schemas.
    pub schemas: Vec<Schema>,
}

/// Where it was read, and what is known of the parent.
pub struct Place<'a> {
    /// The branch that was read.
    pub read: &'a BranchPath,
    /// The branch that others are copies of, where grants must be made.
    pub parent: &'a BranchPath,
    /// Whether the user has a role on the parent; none where that could not be asked.
    pub user_is_on_parent: Option<bool>,
}

/// The checks of this file.
pub const ALL: [(&str, &str); 4] = [
    ("database.role", "the role of sessions"),
    ("database.parent-role", "the user's role on the parent"),
    ("database.ownership", "table ownership"),
    ("database.create", "the right to make tables"),
];

/// Roles of the service itself: what they own is no migration's business.
const OF_THE_SERVICE: [&str; 2] = ["databricks_", "pg_"];

impl Owner {
    fn is_of_the_service(&self) -> bool {
        OF_THE_SERVICE.iter().any(|prefix| self.name.starts_with(prefix))
    }
}

impl Facts {
    /// Takes the configured role for one that has a password, and needs nobody to become it.
    pub fn role_logs_in_itself(&mut self) {
        self.role.iter_mut().chain([&mut self.heir]).for_each(|role| role.may_be_set = role.exists);
    }

    /// The role that sessions have.
    fn session(&self) -> &str {
        self.role.as_ref().map_or(&self.user, |role| &role.name)
    }

    /// The owners whose things the session could not alter.
    fn foreign(&self) -> Vec<&Owner> {
        self.owners.iter().filter(|owner| !owner.has_rights && !owner.is_of_the_service()).collect()
    }

    fn role_is_missing(&self) -> bool {
        self.role.as_ref().is_some_and(|role| !role.exists)
    }

    /// The findings.
    pub fn checks(&self, place: &Place<'_>) -> Vec<Check> {
        let foreign = self.foreign();
        let cure = Cure::of(self, &foreign);
        let role = self.of_role(&cure, place);
        let ownership = if self.role_is_missing() {
            Check::skip(ALL[2].0, ALL[2].1, "the role does not exist")
        } else {
            self.ownership(&foreign, &cure, place)
        };
        let create = if [&role, &ownership].iter().all(|check| check.status == Status::Ok) {
            vec![self.create(place)]
        } else {
            skipped(&ALL[3..], "the grants above come first")
        };
        let names_user =
            |check: &Check| check.copy.iter().any(|line| line.contains(&cure::identifier(&self.user)));
        let parent_role = self.parent_role(names_user(&role) || names_user(&ownership), place);
        [role, parent_role, ownership].into_iter().chain(create).collect()
    }

    fn of_role(&self, cure: &Cure, place: &Place<'_>) -> Check {
        let (id, user) = (ALL[0].0, cure::identifier(&self.user));
        let Some(role) = &self.role else {
            return Check::ok(id, format!("sessions are those of the user {user}")).with("role", Value::Null);
        };
        let name = cure::identifier(&role.name);
        let check = if !role.exists {
            let what = format!("there is no role {name}, which `{}` names", Key::Role.variable());
            cure.prescribe(Check::fail(id, what), place, true)
        } else if !role.may_be_set {
            let what = format!("{user} may not start a session as {name}: permission denied to set role");
            cure::entry(self, role).prescribe(Check::fail(id, what), place, true)
        } else {
            Check::ok(id, format!("sessions start as the role {name}"))
        };
        check.with("role", role.name.as_str())
    }

    fn parent_role(&self, is_needed: bool, place: &Place<'_>) -> Check {
        let (id, user, parent) = (ALL[1].0, cure::identifier(&self.user), &place.parent.branch);
        match place.user_is_on_parent {
            None => Check::skip(id, ALL[1].1, "the parent's roles can't be listed"),
            Some(true) => Check::ok(id, format!("{user} has a role on {parent}")),
            Some(false) if !is_needed => {
                Check::ok(id, format!("{user} has no role on {parent}, and needs none"))
            }
            Some(false) => cure::role_on_parent(
                Check::fail(
                    id,
                    format!("{user} has no role on {parent}, so nothing can be granted to it there"),
                ),
                &self.user,
                place.parent,
            ),
        }
    }

    fn ownership(&self, foreign: &[&Owner], cure: &Cure, place: &Place<'_>) -> Check {
        let (id, session) = (ALL[2].0, cure::identifier(self.session()));
        let all: i64 =
            self.owners.iter().filter(|owner| !owner.is_of_the_service()).map(|it| it.tables.count).sum();
        let tables: i64 = foreign.iter().map(|owner| owner.tables.count).sum();
        let others: i64 = foreign.iter().map(|owner| owner.others.count).sum();
        let words = foreign.iter().map(|owner| owned(owner)).collect::<Vec<_>>().join("; ");
        let check = if tables == 0 && others == 0 {
            let what = match all {
                0 => "there is no table yet".to_owned(),
                1 => format!("the one table can be altered as {session}"),
                _ => format!("all {all} tables can be altered as {session}"),
            };
            Check::ok(id, what)
        } else if tables == 0 {
            let what = format!("a migration as {session} could alter every table, but not all else: {words}");
            cure.prescribe(Check::warn(id, what), place, false)
        } else {
            let what = format!(
                "a migration as {session} could not alter {tables} of {all} tables (`must be owner of table`): {words}"
            );
            // Who names a role has chosen whose tables they mean.
            let chosen = self.role.is_some() && tables < all;
            let status = if chosen { Status::Warn } else { Status::Fail };
            cure.prescribe(Check::new(id, status, what), place, false)
        };
        check
            .with("branch", place.read.to_string())
            .with("database", self.database.as_str())
            .with("as", self.session())
            .with("tables", all)
            .with("foreign_tables", tables)
            .with("owners", foreign.iter().map(|owner| document(owner)).collect::<Vec<_>>())
    }

    fn create(&self, place: &Place<'_>) -> Check {
        let (id, session) = (ALL[3].0, cure::identifier(self.session()));
        let closed: Vec<&Schema> = self.schemas.iter().filter(|schema| !schema.is_open).collect();
        let names = closed.iter().map(|schema| schema.name.as_str()).collect::<Vec<_>>().join(", ");
        if closed.is_empty() {
            return Check::ok(id, format!("{session} may make tables in every schema that has some"));
        }
        let what = format!("{session} may make no tables in {names} (`permission denied for schema`)");
        let all = closed.len() == self.schemas.len();
        let check = if all { Check::fail(id, what) } else { Check::warn(id, what) };
        cure::opening(self, &closed).prescribe(check, place, false)
    }
}

/// What an owner has, in words.
fn owned(owner: &Owner) -> String {
    let some = |group: &Group| {
        let more = group.count - i64::try_from(group.first.len()).unwrap_or(0);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (group.count > 0).then(|| format!("{}{more}", group.first.join(", ")))
    };
    let all: Vec<String> = [some(&owner.tables), some(&owner.others)].into_iter().flatten().collect();
    format!("{} owns {}", cure::identifier(&owner.name), all.join(", "))
}

fn document(owner: &Owner) -> Value {
    json!({
        "owner": owner.name,
        "can_login": owner.can_login,
        "tables": {"count": owner.tables.count, "first": owner.tables.first},
        "others": {"count": owner.others.count, "first": owner.others.first},
    })
}

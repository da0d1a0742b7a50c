use super::*;
use crate::branch::ResourceId;

const USER: &str = "ben@example.com";
const ADA: &str = "ada@example.com";

fn path(branch: &str) -> BranchPath {
    let id = |text| ResourceId::parse(text).unwrap();
    BranchPath { project: id("shop"), branch: id(branch) }
}

fn tables(names: &[&str]) -> Group {
    Group {
        count: names.len().try_into().unwrap(),
        first: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn owner(name: &str, names: &[&str]) -> Owner {
    Owner { name: name.into(), can_login: name.contains('@'), tables: tables(names), ..Owner::default() }
}

fn role(name: &str, exists: bool, may_be_set: bool) -> Role {
    Role { name: name.into(), exists, may_be_set }
}

fn public(is_open_to_heir: bool) -> Schema {
    let owner = "pg_database_owner".into();
    Schema { name: "public".into(), owner, is_open: true, is_open_to_heir }
}

/// Two tables of a team's role, which the user is not in.
fn of_a_team() -> Facts {
    let team = Owner { granters: vec![ADA.into()], ..owner("shop_team", &["public.orders", "public.users"]) };
    Facts {
        version: 150_000,
        user: USER.into(),
        database: "shop".into(),
        owners: vec![team],
        heir: role("shop_team", true, false),
        schemas: vec![public(true)],
        ..Facts::default()
    }
}

/// Two tables of a person.
fn of_ada() -> Facts {
    Facts {
        owners: vec![owner(ADA, &["public.orders", "public.users"])],
        heir: role("shop_owner", false, false),
        schemas: vec![public(false)],
        ..of_a_team()
    }
}

fn checks(facts: &Facts) -> Vec<Check> {
    let (read, parent) = (path("dev-ben"), path("production"));
    let found = facts.checks(&Place { read: &read, parent: &parent, user_is_on_parent: Some(true) });
    let ids: Vec<&str> = found.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, ALL.map(|(id, _)| id));
    found
}

fn ownership(facts: &Facts) -> Check {
    checks(facts).swap_remove(2)
}

fn statuses(facts: &Facts) -> [&'static str; 4] {
    let found = checks(facts);
    std::array::from_fn(|at| found[at].status.word())
}

#[test]
fn tables_of_a_team_need_one_grant_and_the_role() {
    let check = ownership(&of_a_team());
    assert_eq!(check.status, Status::Fail);
    assert_eq!(
        check.what,
        "a migration as \"ben@example.com\" could not alter 2 of 2 tables (`must be owner of table`): \
         \"shop_team\" owns public.orders, public.users"
    );
    assert_eq!(check.copy, ["GRANT \"shop_team\" TO \"ben@example.com\";"]);
    assert_eq!(check.cure[0], "let \"ada@example.com\" run this on branch production, in database shop:");
    assert!(check.cure[1].starts_with("then set `LAKEBASE_ROLE=shop_team`, and fork anew"), "{check:#?}");
    assert!(check.cure[1].ends_with("`docker compose lakebase --fresh up`"), "{check:#?}");
    let document = check.document();
    assert_eq!(document["data"]["sql"], json!(check.copy));
    assert_eq!(document["data"]["run_on"], "projects/shop/branches/production");
    assert_eq!(document["data"]["run_by"], json!([ADA]));
    assert_eq!(document["data"]["set"], json!({"LAKEBASE_ROLE": "shop_team"}));
    assert_eq!(document["data"]["owners"][0]["tables"]["first"], json!(["public.orders", "public.users"]));
}

#[test]
fn from_postgresql_16_on_a_grant_says_what_it_is_good_for() {
    let check = ownership(&Facts { version: 160_000, ..of_a_team() });
    assert_eq!(check.copy, ["GRANT \"shop_team\" TO \"ben@example.com\" WITH INHERIT TRUE, SET TRUE;"]);
}

#[test]
fn tables_of_a_person_go_to_a_role_that_nobody_logs_in_as() {
    let check = ownership(&of_ada());
    assert_eq!(
        check.copy,
        [
            "CREATE ROLE \"shop_owner\" NOLOGIN;",
            "GRANT \"shop_owner\" TO \"ada@example.com\";",
            "GRANT \"shop_owner\" TO \"ben@example.com\";",
            "GRANT USAGE, CREATE ON SCHEMA public TO \"shop_owner\";",
            "REASSIGN OWNED BY \"ada@example.com\" TO \"shop_owner\";",
        ]
    );
    assert_eq!(check.data["run_by"], json!([ADA]));
    assert!(check.cure[1].contains("LAKEBASE_ROLE=shop_owner"), "{check:#?}");
}

#[test]
fn two_people_give_away_each_their_own_and_a_schema_goes_with_it() {
    let carol = "carol@example.com";
    let sales = Schema { name: "sales".into(), owner: carol.into(), ..Schema::default() };
    let mut facts = of_ada();
    facts.owners.push(owner(carol, &["sales.prices"]));
    facts.schemas.push(sales);
    let check = ownership(&facts);
    let reassigned: Vec<&String> = check.copy.iter().filter(|line| line.starts_with("REASSIGN")).collect();
    assert_eq!(reassigned.len(), 2);
    assert!(!check.copy.iter().any(|line| line.contains("SCHEMA sales")), "{check:#?}");
    assert!(check.cure[1].contains("by the one whom it names"), "{check:#?}");
}

#[test]
fn who_is_a_member_without_the_rights_needs_the_setting_alone() {
    let facts = Facts { heir: role("shop_team", true, true), ..of_a_team() };
    let check = ownership(&facts);
    assert!(check.copy.is_empty(), "{check:#?}");
    assert_eq!(check.cure, ["set `LAKEBASE_ROLE=shop_team`"]);
    // And then all is well.
    let mut owners = facts.owners.clone();
    owners[0].has_rights = true;
    let facts = Facts { role: Some(facts.heir.clone()), owners, ..facts };
    assert_eq!(statuses(&facts), ["ok"; 4]);
    assert_eq!(ownership(&facts).what, "all 2 tables can be altered as \"shop_team\"");
}

#[test]
fn a_role_that_may_not_be_set_or_is_not_there_is_told_apart() {
    let mut owners = of_a_team().owners;
    owners[0].has_rights = true;
    let closed = role("shop_team", true, false);
    let facts = Facts { role: Some(closed.clone()), heir: closed, owners, ..of_a_team() };
    assert_eq!(statuses(&facts), ["fail", "ok", "ok", "skip"]);
    let check = checks(&facts).swap_remove(0);
    assert!(check.what.contains("permission denied to set role"), "{check:#?}");
    assert_eq!(check.copy, ["GRANT \"shop_team\" TO \"ben@example.com\";"]);
    // One that logs in with a password of its own need not be.
    let mut native = facts.clone();
    native.role_logs_in_itself();
    assert_eq!(statuses(&native), ["ok"; 4]);
    let missing = role("nobody", false, false);
    let facts = Facts { role: Some(missing.clone()), heir: missing, ..of_ada() };
    assert_eq!(statuses(&facts), ["fail", "ok", "skip", "skip"]);
    let check = checks(&facts).swap_remove(0);
    assert_eq!(check.copy[0], "CREATE ROLE \"nobody\" NOLOGIN;");
    assert_eq!(check.data["set"], json!({}));
}

#[test]
fn what_others_own_beside_a_chosen_role_is_a_warning() {
    let team = role("shop_team", true, true);
    let mut facts = Facts { role: Some(team.clone()), heir: team, ..of_a_team() };
    facts.owners[0].has_rights = true;
    facts.owners.push(owner("billing_team", &["billing.invoices"]));
    let check = ownership(&facts);
    assert_eq!(
        (check.status, check.copy),
        (Status::Warn, vec!["GRANT \"billing_team\" TO \"shop_team\";".to_owned()])
    );
    // So is what is no table.
    let mut facts = of_a_team();
    facts.owners[0].has_rights = true;
    let others = tables(&["type public.mood"]);
    facts.owners.push(Owner { others, ..owner(ADA, &[]) });
    let check = ownership(&facts);
    assert!(check.status == Status::Warn && check.what.contains("type public.mood"), "{check:#?}");
}

#[test]
fn what_the_service_or_a_superuser_owns_is_nobodys_to_give() {
    let mut facts = of_a_team();
    facts.owners = vec![owner("databricks_writer_1", &["synced.rows"]), owner("pg_monitor", &["x.y"])];
    assert_eq!(ownership(&facts).status, Status::Ok);
    facts.owners = vec![Owner { superuser: true, ..owner("postgres", &["public.old"]) }];
    facts.heir = role("shop_owner", true, true);
    let check = ownership(&facts);
    assert!(check.status == Status::Fail && check.copy.is_empty(), "{check:#?}");
    assert!(check.cure[0].contains("only a superuser"), "{check:#?}");
}

#[test]
fn nothing_is_granted_to_a_user_whom_production_does_not_know() {
    let (read, parent) = (path("dev-ben"), path("production"));
    let of = |facts: &Facts, known| {
        let place = Place { read: &read, parent: &parent, user_is_on_parent: known };
        facts.checks(&place).swap_remove(1)
    };
    let check = of(&of_a_team(), Some(false));
    assert_eq!(check.status, Status::Fail);
    assert!(check.copy[0].starts_with("databricks api post"), "{check:#?}");
    let call = &check.data["call"];
    assert_eq!(call["path"], "projects/shop/branches/production/roles?role_id=role-ben-example-com");
    assert_eq!(call["body"]["spec"]["postgres_role"], USER);
    assert_eq!(of(&of_a_team(), None).status, Status::Skip);
    let mut well = of_a_team();
    well.owners[0].has_rights = true;
    assert_eq!(of(&well, Some(false)).status, Status::Ok);
}

#[test]
fn a_schema_that_is_closed_to_the_role_is_told_once_the_tables_are_not() {
    let mut facts = of_a_team();
    facts.owners[0].has_rights = true;
    let schema =
        |name: &str, is_open| Schema { name: name.into(), is_open, owner: ADA.into(), ..Schema::default() };
    facts.schemas = vec![schema("public", false), schema("sales", true)];
    let check = checks(&facts).swap_remove(3);
    assert_eq!((check.status, check.data["run_by"].clone()), (Status::Warn, json!([ADA])));
    assert_eq!(check.copy, ["GRANT USAGE, CREATE ON SCHEMA public TO \"ben@example.com\";"]);
    facts.schemas.pop();
    assert_eq!(checks(&facts).swap_remove(3).status, Status::Fail);
    assert_eq!(statuses(&of_a_team())[3], "skip");
}

#[test]
fn names_with_quotes_stay_names() {
    let mut facts = of_a_team();
    facts.user = "b\"; DROP TABLE x; --".into();
    assert_eq!(ownership(&facts).copy, ["GRANT \"shop_team\" TO \"b\"\"; DROP TABLE x; --\";"]);
    facts.heir.name = "it's $(me)".into();
    assert!(ownership(&facts).cure[1].contains(r"LAKEBASE_ROLE='it'\''s $(me)'"));
}

#[test]
fn only_the_first_names_are_told() {
    let mut facts = of_a_team();
    facts.owners[0].tables.count = 12;
    assert!(ownership(&facts).what.ends_with("public.orders, public.users and 10 more"));
    facts.owners.clear();
    assert_eq!(ownership(&facts).what, "there is no table yet");
}

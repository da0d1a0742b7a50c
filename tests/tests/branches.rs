//! `branches`, `prune` and `reset`: what a project's branches are, which of them go, and that nobody else's ever does.

use std::collections::BTreeSet;
use std::fs;

use e2e::{Lab, Project};
use serde_json::{Value, json};

const CONFIG: &str = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\n";

fn project(lab: &Lab) -> Project<'_> {
    let files = [("lakebase.config", CONFIG), (".gitignore", ".env.lakebase\n")];
    let project = lab.project("shop", &files);
    project.cargo("init").ok();
    project.commit("The project's id");
    project
}

/// A new git branch off `main` with a commit of its own, and its Lakebase branch. Gives that one's id.
fn branch(project: &Project<'_>, name: &str) -> String {
    project.switch("main");
    project.switch(name);
    project.commit(name);
    project.cargo("env").ok();
    project.branch_id()
}

fn merge(project: &Project<'_>, name: &str) {
    project.switch("main");
    project.run("git", ["merge", "--quiet", "--no-ff", "--no-edit", name]).ok();
}

/// Makes a branch as somebody else would.
fn foreign(lab: &Lab, id: &str, parent: &str) {
    let spec = json!({"spec": {"source_branch": format!("projects/shop/branches/{parent}"), "ttl": "3600s"}});
    lab.api("POST", &format!("projects/shop/branches?branch_id={id}"), &spec);
}

/// Changes a branch so that it never goes by itself.
fn keep(lab: &Lab, id: &str, protected: bool) {
    lab.api(
        "PATCH",
        &format!("projects/shop/branches/{id}?update_mask=spec.is_protected,spec.expiration"),
        &json!({"spec": {"is_protected": protected, "no_expiry": true}}),
    );
}

fn listed(project: &Project<'_>) -> Value {
    serde_json::from_str(&project.cargo("branches --json").ok().stdout).expect("a document")
}

/// The ids of all branches.
fn ids(project: &Project<'_>) -> BTreeSet<String> {
    let listed = listed(project);
    let all = listed["branches"].as_array().unwrap().iter();
    all.map(|branch| branch["id"].as_str().unwrap().to_owned()).collect()
}

/// The git branches that this machine has recorded.
fn recorded(lab: &Lab) -> BTreeSet<String> {
    let text = fs::read_to_string(lab.path("home/.local/state/lakebase/branches.json")).unwrap();
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    all.iter().map(|entry| entry["identity"]["branch"].as_str().unwrap().to_owned()).collect()
}

/// Lets everything that was recorded be of long ago.
fn age_the_record(lab: &Lab) {
    let path = lab.path("home/.local/state/lakebase/branches.json");
    let mut all: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    all.iter_mut().for_each(|entry| entry["used"] = json!("2026-01-01T00:00:00Z"));
    fs::write(&path, json!(all).to_string()).unwrap();
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_branch_is_listed_with_whose_it_is() {
    // Given branches of this user, of somebody else, and of a rehearsal.
    let lab = Lab::with_embedded();
    let project = project(&lab);
    let merged = branch(&project, "feature/merged");
    merge(&project, "feature/merged");
    let gone = branch(&project, "gone");
    let here = branch(&project, "here");
    project.run("git", ["branch", "--quiet", "-D", "gone"]).ok();
    foreign(&lab, "dev-bob-jones-x-123456", "production");
    foreign(&lab, "check-7f", "production");

    // When they are listed, then each is told with what became of its git branch.
    let listed = listed(&project);
    let all = listed["branches"].as_array().unwrap();
    let find = |id: &str| all.iter().find(|branch| branch["id"] == id).unwrap();
    assert_eq!(all.len(), 6);
    assert_eq!(listed["slots"], json!({"used": 6, "limit": 10}));
    assert_eq!((&all[0]["id"], &all[0]["current"]), (&json!(here), &json!(true)));
    for (id, git_branch, state) in
        [(&here, "here", "checked out"), (&merged, "feature/merged", "merged"), (&gone, "gone", "gone")]
    {
        let found = find(id);
        assert_eq!((&found["yours"], &found["git_branch"]), (&json!(true), &json!(git_branch)));
        assert_eq!(found["git_state"], state);
        assert!(found["expires"].is_string() && found["size_bytes"].as_i64().unwrap() > 0, "{found}");
        assert_eq!(found["parent"], "projects/shop/branches/production");
    }
    let bobs = find("dev-bob-jones-x-123456");
    assert_eq!((&bobs["yours"], &bobs["words"]), (&json!(false), &json!("bob-jones-x")));
    assert_eq!(find("production")["default"], true);

    // And read by a person, on either face.
    for face in ["cargo", "docker"] {
        let printed = project.run(face, ["lakebase", "branches"]).ok();
        let lines: Vec<&str> = printed.stdout.lines().collect();
        assert!(
            lines[0]
                .split_whitespace()
                .eq(["BRANCH", "STATE", "AGE", "EXPIRES", "SIZE", "WHOSE", "GIT", "BRANCH"])
        );
        assert!(
            lines[1].starts_with(&format!("*  {here}  ")) && lines[1].ends_with("  here"),
            "{printed:#?}"
        );
        assert!(lines.iter().any(|line| line.contains("you (merged)") && line.ends_with("feature/merged")));
        assert!(lines.iter().any(|line| line.contains("bob-jones-x") && !line.contains("you")));
        assert!(lines.iter().any(|line| line.contains("production") && line.contains("default")));
        assert!(printed.stderr.contains("6 of 10 branch slots are used"), "{printed:#?}");
    }
}

#[test]
fn only_what_was_made_here_for_this_user_and_is_over_is_pruned() {
    // Given a branch of every fate, on a server that gives its lists in pieces.
    let lab = Lab::with_embedded();
    let project = project(&lab);
    for fault in ["quota=20", "page-size=1"] {
        lab.run("cargo-lakebase", ["embedded", "fault", "add", fault]).ok();
    }
    let merged = branch(&project, "merged");
    merge(&project, "merged");
    let gone = branch(&project, "gone");
    let open = branch(&project, "open");
    let protected = branch(&project, "protected");
    let parent = branch(&project, "parent");
    let in_use = branch(&project, "in-use");
    merge(&project, "in-use");
    let elsewhere = {
        // Of the same user, but made on another machine.
        project.switch("elsewhere");
        let id = project.branch_id();
        foreign(&lab, &id, "production");
        id
    };
    project.switch("main");
    project.cargo("env").ok();
    let main = project.branch_id();
    for name in ["gone", "protected", "parent", "elsewhere"] {
        project.run("git", ["branch", "--quiet", "-D", name]).ok();
    }
    let path = lab.path("projects/other");
    project.run("git", ["worktree", "add", "--quiet", path.to_str().unwrap(), "in-use"]).ok();
    keep(&lab, &protected, true);
    keep(&lab, &parent, false);
    foreign(&lab, "dev-ada-lovelace-child-123456", &parent);
    foreign(&lab, "dev-bob-x-123456", "production");
    foreign(&lab, "check-7f", "production");
    let before = ids(&project);

    // When it is asked what would go, then that is said, and nothing does.
    let said = project.cargo("prune --dry-run").ok().stdout;
    assert_eq!(said.lines().count(), 2, "{said}");
    for (id, words) in
        [(&merged, "git branch merged, which is merged"), (&gone, "git branch gone, which is gone")]
    {
        assert!(said.lines().any(|line| line.contains(&**id) && line.contains(words)), "{said}");
    }
    let asked: Value = serde_json::from_str(&project.cargo("prune --dry-run --json").ok().stdout).unwrap();
    assert_eq!((&asked["dry_run"], asked["deleted"].as_array().unwrap().len()), (&json!(true), 2));
    // Nor where nobody says yes.
    project.cargo("prune").fails(84, &["nothing was deleted", "--yes", &merged, &gone]);
    // Nor is Ada's anybody else's, though they share the machine.
    lab.git_user("Bob", "bob@example.com");
    let bobs = project.cargo("prune --yes").ok();
    assert!(bobs.stderr.contains("No branch that was made here"), "{bobs:#?}");
    lab.git_user("Ada Lovelace", "ada@example.com");
    assert_eq!(ids(&project), before);

    // When they are pruned, then exactly those go.
    let done: Value = serde_json::from_str(&project.lakebase("prune --yes --json").ok().stdout).unwrap();
    let deleted = done["deleted"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
    assert_eq!(deleted.collect::<BTreeSet<_>>(), set(&[&merged, &gone]));
    let left: BTreeSet<String> = before.difference(&set(&[&merged, &gone])).cloned().collect();
    assert_eq!(ids(&project), left);
    for id in [&open, &protected, &parent, &in_use, &elsewhere, &main] {
        assert!(left.contains(id), "{id}");
    }
    assert_eq!(recorded(&lab), set(&["open", "protected", "parent", "in-use", "main"]));
    // And a second time nothing is left to do.
    let again = project.cargo("prune").ok();
    assert!(again.stderr.contains("No branch that was made here"), "{again:#?}");
}

#[test]
fn what_is_no_longer_there_is_forgotten_but_not_on_a_list_that_failed() {
    // Given branches that were recorded here and deleted elsewhere: long ago, and one a moment ago.
    let lab = Lab::with_embedded();
    let project = project(&lab);
    let old = branch(&project, "old");
    branch(&project, "kept");
    age_the_record(&lab);
    let new = branch(&project, "new");
    for id in [old, new] {
        lab.api("DELETE", &format!("projects/shop/branches/{id}?purge=true"), &json!({}));
    }
    project.switch("kept");
    // When the list fails, or can't be read, then nothing is forgotten.
    for fault in ["status=403 code=PERMISSION_DENIED", "garbage=json"] {
        let words = format!("branches.list {fault} always");
        lab.run("cargo-lakebase", ["embedded", "fault", "add", &words]).ok();
        let ran = project.cargo("prune --yes");
        assert!(
            ran.code.is_some_and(|code| code >= 70) && ran.stderr.contains("listing the branches"),
            "{ran:#?}"
        );
        assert_eq!(recorded(&lab), set(&["old", "kept", "new"]), "{fault}");
        lab.run("cargo-lakebase", ["embedded", "fault", "clear"]).ok();
    }
    // When it comes, then what is gone is forgotten, but for what may be being made.
    project.cargo("prune --yes").ok();
    assert_eq!(recorded(&lab), set(&["kept", "new"]));
}

#[test]
fn a_reset_branch_is_production_again_and_nothing_is_lost_unasked() {
    // Given a branch with a change on it, and its login in a file.
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.production_sql("CREATE TABLE todos (id int)");
    // A branch that is not there is made without a question.
    let made: Value = serde_json::from_str(&project.cargo("reset --json").ok().stdout).unwrap();
    assert_eq!((&made["replaced"], &made["branch_id"]), (&json!(false), &json!(project.branch_id())));
    project.sql("INSERT INTO todos VALUES (1)");
    project.cargo("env --write").ok();
    // When nobody says yes, then it stays as it is.
    project.cargo("reset").fails(84, &["left as it is", "on it are lost", "--yes"]);
    assert_eq!(project.sql("SELECT count(*) FROM todos"), "1");

    // When it is reset, then it is production as it is now.
    project.production_sql("CREATE TABLE later (id int)");
    let ran = project.lakebase("reset --yes --json --ttl 48h").ok();
    assert!(
        ran.stderr.contains("docker compose lakebase up") && ran.stderr.contains("env --write"),
        "{ran:#?}"
    );
    let anew: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(anew["replaced"], true);
    assert!(anew["forked"].as_str() > made["forked"].as_str(), "{anew} {made}");
    assert!(anew["expires"].as_str() > made["expires"].as_str(), "{anew} {made}");
    assert_eq!(project.sql("SELECT count(*), to_regclass('later') IS NOT NULL FROM todos"), "0|t");

    // And what is protected is not reset, whoever says yes.
    keep(&lab, &project.branch_id(), true);
    project.cargo("reset --yes").fails(84, &["is left alone", "protected"]);
    assert_eq!(project.status()["branch"]["forked"], anew["forked"]);
}

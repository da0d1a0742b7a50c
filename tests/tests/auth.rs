//! Who we are: Databricks unified auth and git, or CI, through the front door.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::{Lab, Project, Ran, Seat, Secrets, wait_for};
use serde_json::Value;

const CONFIG: &str = "LAKEBASE_PROJECT_NAME=shop\n";

fn project(lab: &Lab) -> Project<'_> {
    let project = lab.project("shop", &[("lakebase.config", CONFIG)]);
    project.cargo("init --profile embedded").ok();
    project.write("lakebase.config", CONFIG);
    project
}

/// A Databricks CLI that somebody logged in with, and that records what reached it.
fn logged_in(lab: &Lab) {
    let program = lab.bin.join("databricks");
    let (token, record) = (lab.path("token"), lab.path("record"));
    fs::write(&token, format!("{{\"access_token\": \"{}\"}}", lab.token())).unwrap();
    let script = format!(
        "#!/bin/sh\n{{ echo \"$*\"; env; }} >>'{}'\ncase $1 in version) echo '{{\"Major\": 1, \"Minor\": 2, \"Patch\": 3}}';; *) cat '{}';; esac\n",
        record.display(),
        token.display(),
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let profiles = format!("[team]\nhost = {}\nauth_type = databricks-cli\n", lab.host());
    fs::write(lab.path("home/.databrickscfg"), profiles).unwrap();
}

#[test]
fn a_login_of_the_databricks_cli_is_enough() {
    // Given a profile of the CLI in the configuration, and another credential in the environment.
    let lab = Lab::with_embedded();
    let project = project(&lab);
    logged_in(&lab);
    project.write("lakebase.config", &format!("{CONFIG}LAKEBASE_PROFILE=team\n"));
    let mut status = project.command("cargo-lakebase", ["status", "--json"]);
    status.env("DATABRICKS_HOST", "https://elsewhere").env("DATABRICKS_TOKEN", "hunter2");

    // When the branch is asked for, then the profile's workspace answers as the CLI's user.
    let ran = Ran::of(&mut status).ok();
    let seen: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(seen["workspace"]["credential"], "databricks auth token --profile team");
    assert_eq!(seen["workspace"]["host"], lab.host());
    assert_eq!(project.cargo("status").ok().stderr, "");

    // And the other credential reached neither the CLI nor the output, nor did the CLI's.
    let record = fs::read_to_string(lab.path("record")).unwrap();
    assert!(
        record.contains("auth token --profile team\n") && record.contains("version --output json\n"),
        "{record}"
    );
    assert!(
        !record.contains("hunter2") && !record.contains("elsewhere"),
        "another credential reached the CLI"
    );
    assert!(!ran.all().contains("hunter2") && !Secrets::of(&lab).are_in(ran.all().as_bytes()));
}

/// A service principal of the lab's workspace, as the variables that it signs in with.
fn principal(lab: &Lab, kind: &[&str]) -> Vec<(String, String)> {
    let words = [&["embedded", "user", "add", "ci", "--json"], kind].concat();
    let printed: Value = serde_json::from_str(&lab.run("cargo-lakebase", words).ok().stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    printed["environment"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

#[test]
fn a_service_principal_is_one_identity_from_the_secret_to_the_database() {
    // Given logins of a few seconds, and a machine's credential in the environment of `up` alone.
    for kind in [&["--service-principal"][..], &["--github", "repo:acme/shop:ref:refs/heads/main"]] {
        let lab = Lab::with_embedded_set(&[("LAKEBASE_EMBEDDED_TOKEN_TTL", "3")]);
        let seat = Seat::new(&lab, "shop", "");
        let variables = principal(&lab, kind);
        let secret = variables.iter().find(|(_, value)| value.starts_with("dose")).unwrap().1.clone();
        let id = &variables.iter().find(|(name, _)| name == "DATABRICKS_CLIENT_ID").unwrap().1;
        let with = |program: &str, line: &str| {
            let mut command = seat.project.command(program, line.split(' '));
            Ran::of(command.envs(variables.iter().cloned())).ok()
        };
        with("cargo-lakebase", "init");
        with("docker", "compose lakebase up -d --wait");

        // When sessions come until several logins were needed, then each is the machine's own.
        let calls = |name: &str| {
            let all = lab.ask("GET", "/embedded/calls", None).body;
            all["calls"].as_array().unwrap().iter().filter(|call| call["call"] == name).count()
        };
        wait_for("several logins", || {
            let ran = Ran::of(&mut seat.psql("SELECT session_user")).ok();
            assert_eq!(ran.stdout.trim(), id);
            (calls("credentials.create") > 4).then_some(())
        });

        // And the agent asked for an API token once, as `init` and `up` did.
        assert_eq!(calls("oidc.token"), 3);

        // And its secret is in no file and in no environment that lives on.
        let files = Ran::of(
            lab.command("grep", ["--recursive", "--files-with-matches", &secret]).arg(lab.path("home")),
        );
        assert_eq!(files.stdout, "");
        let environment = fs::read(format!("/proc/{}/environ", lab.agent_process())).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains(&secret));
    }
}

#[test]
fn the_scopes_of_a_profile_reach_the_workspace() {
    // Given a machine's credential in a profile, and a workspace that gives tokens for all APIs only.
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.write("lakebase.config", &format!("{CONFIG}LAKEBASE_PROFILE=ci\n"));
    let variables = principal(&lab, &["--service-principal"]);
    let value = |name: &str| variables.iter().find(|(key, _)| key == name).unwrap().1.clone();
    let profile = format!(
        "[ci]\nhost = {}\nclient_id = {}\nclient_secret = {}\n",
        lab.host(),
        value("DATABRICKS_CLIENT_ID"),
        value("DATABRICKS_CLIENT_SECRET")
    );
    let scoped = |scopes: &str| {
        fs::write(lab.path("home/.databrickscfg"), format!("{profile}scopes = {scopes}\n")).unwrap();
        project.cargo("status")
    };
    // Then what the profile asks for is what the workspace judges.
    scoped("sql, all-apis").ok();
    let refused = scoped("sql").fails(76, &["invalid_scope", "`scopes`"]);
    assert!(!refused.all().contains(&value("DATABRICKS_CLIENT_SECRET")));
}

#[test]
fn two_credentials_are_one_too_many() {
    let lab = Lab::new();
    let project = lab.project("shop", &[("lakebase.config", CONFIG)]);
    let mut status = project.command("cargo-lakebase", ["status"]);
    status
        .env("DATABRICKS_HOST", "https://w.example")
        .env("DATABRICKS_TOKEN", "hunter2")
        .env("DATABRICKS_CLIENT_ID", "ada")
        .env("DATABRICKS_CLIENT_SECRET", "hunter3");
    let says = ["`pat` by $DATABRICKS_TOKEN", "unset DATABRICKS_TOKEN", "DATABRICKS_AUTH_TYPE=oauth-m2m"];
    let ran = Ran::of(&mut status).fails(70, &says);
    assert!(!ran.all().contains("hunter"), "{ran:#?}");
}

#[test]
fn a_job_of_ci_has_a_branch_of_its_own() {
    // Given the checkout that a CI service makes: HEAD is detached, and git has no user.
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.write("lakebase.config", &format!("{CONFIG}LAKEBASE_PROFILE=embedded\n"));
    project.run("git", ["checkout", "--quiet", "--detach"]).ok();
    fs::remove_file(lab.path("home/.gitconfig")).unwrap();
    let job = |arguments: &[&str]| {
        let mut command = project.command("cargo-lakebase", arguments.iter().copied());
        command.env("CI", "true").env("GITHUB_ACTIONS", "true").env("GITHUB_HEAD_REF", "feature/Due-Date");
        Ran::of(&mut command)
    };

    // When it says nothing, then no id is guessed.
    project.cargo("status").fails(66, &["git has no `user.name`"]);

    // When it says which branch it works on, then that one has a branch, made and gone as any.
    // printf '\0feature/Due-Date' | sha256sum
    let id = "ci-feature-due-date-0010de";
    let ran = job(&["run", "--", "sh", "-c", "echo $DB_SOURCE"]).ok();
    assert_eq!(ran.stdout, format!("lakebase/{id}\n"));
    let explained: Value =
        serde_json::from_str(&job(&["status", "--explain", "--json"]).ok().stdout).unwrap();
    assert_eq!(explained["branch_id"], id);
    let why = |what: &str| {
        let steps = explained["steps"].as_array().unwrap();
        steps.iter().find(|step| step["what"] == what).unwrap()["why"].as_str().unwrap().to_owned()
    };
    assert!(why("git branch").contains("$GITHUB_HEAD_REF"), "{explained:#}");
    assert!(why("user").contains("$GITHUB_ACTIONS"), "{explained:#}");
    job(&["destroy"]).ok();
    let seen: Value = serde_json::from_str(&job(&["status", "--json"]).ok().stdout).unwrap();
    assert_eq!((seen["branch_id"].as_str(), &seen["branch"]), (Some(id), &Value::Null));
}

#[test]
fn status_explains_an_id_without_any_workspace() {
    let lab = Lab::new();
    let project = lab.project("shop", &[("README.md", "")]);
    project.run("git", ["branch", "--move", "main", "Über/Alles"]).ok();
    let ran = project.cargo("status --explain").ok();
    let line =
        |what: &str| ran.stdout.lines().find(|line| line.starts_with(what)).unwrap_or_default().to_owned();
    assert!(
        line("user").contains("Ada Lovelace  (`user.name` of ") && line("user").contains("/.gitconfig)"),
        "{ran:#?}"
    );
    assert!(
        line("git branch").contains("Über/Alles") && line("git branch").contains(".git/HEAD is on it"),
        "{ran:#?}"
    );
    assert!(line("words").contains("ada-lovelace-ber-alles  ("), "{ran:#?}");
    assert!(line("branch id").contains(" dev-ada-lovelace-ber-alles-"), "{ran:#?}");
    assert!(line("id before").contains(" dev-ada-lovelace-main-"), "{ran:#?}");
    assert_eq!(ran.stdout.lines().count(), 8, "{ran:#?}");
}

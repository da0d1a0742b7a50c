//! Tokens from the Databricks CLI and the Azure CLI, which are shell scripts here.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Answer, Server, resolve, run, words};
use lakebase::api::Client;
use lakebase::auth::Auth;
use lakebase::error::{Kind, Result};
use serde_json::json;
use tempfile::TempDir;

const PROFILES: &str = "[login]\nhost = https://w\nauth_type = databricks-cli\n";

/// A home with a file of profiles, and a folder of programs.
struct Machine {
    folder: TempDir,
}

impl Machine {
    /// `version` and `token` are shell; every call is recorded.
    fn with_databricks(version: &str, token: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(machine.path().join(".databrickscfg"), PROFILES).unwrap();
        machine.program(
            "databricks",
            &format!(
                "case \"$*\" in version*) {version};; auth*) {token};; *) echo \"Version 0.17.8\";; esac"
            ),
        );
        machine
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn program(&self, name: &str, script: &str) {
        let program = self.path().join(name);
        let record = self.path().join("record");
        let text = format!("#!/bin/sh\necho \"$*\" >>'{}'\n{script}\n", record.display());
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn resolve(&self, profile: Option<&str>, more: &[(&str, &str)]) -> Result<Auth> {
        let place = self.path().to_str().unwrap();
        resolve(profile, &[&[("PATH", place), ("HOME", place)], more].concat())
    }

    fn token(&self, profile: Option<&str>, more: &[(&str, &str)]) -> Result<String> {
        let auth = self.resolve(profile, more)?;
        run(auth.token()).map(|token| token.expose().to_owned())
    }

    /// The calls that programs got, in any order.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path().join("record")).unwrap_or_default();
        let mut calls: Vec<String> = text.lines().map(str::to_owned).collect();
        calls.sort();
        calls
    }
}

fn version(major: u32, minor: u32, patch: u32) -> String {
    let json =
        json!({"ProjectName": "cli", "Major": major, "Minor": minor, "Patch": patch, "Prerelease": ""});
    format!("echo '{json}'")
}

const GIVES: &str = "echo '{\"access_token\": \"token-of-ada\", \"token_type\": \"Bearer\", \"expiry\": \"2999-01-01T00:00:00.5+02:00\"}'";

#[test]
fn the_cli_is_found_on_path_and_asked_once() {
    let machine = Machine::with_databricks(&version(0, 298, 0), GIVES);
    let auth = machine.resolve(Some("login"), &[]).unwrap();
    for _ in 0..3 {
        assert_eq!(run(auth.token()).unwrap().expose(), "token-of-ada");
    }
    assert_eq!(machine.calls(), ["auth token --profile login", "version --output json"]);
    let by_host = Machine::with_databricks(&version(1, 0, 0), GIVES);
    assert_eq!(by_host.token(None, &[("DATABRICKS_HOST", "w.example")]).unwrap(), "token-of-ada");
    assert_eq!(by_host.calls()[0], "auth token --host https://w.example");
}

#[test]
fn its_place_may_be_named() {
    let machine = Machine::with_databricks(&version(1, 0, 0), GIVES);
    machine.program("other", GIVES);
    let other = machine.path().join("other");
    let named = [("DATABRICKS_CLI_PATH", other.to_str().unwrap())];
    machine.program("databricks", "exit 9");
    assert_eq!(machine.token(Some("login"), &named).unwrap(), "token-of-ada");
}

#[test]
fn without_it_the_error_says_how_to_get_one() {
    let machine = Machine { folder: tempfile::tempdir().unwrap() };
    let error = machine.token(None, &[("DATABRICKS_HOST", "https://w")]).unwrap_err();
    assert_eq!(error.kind, Kind::NoCredential);
    let words = words(&error);
    assert!(
        words.contains("`databricks` is not installed") && words.contains("databricks auth login"),
        "{words}"
    );
}

#[test]
fn it_is_told_which_files_count() {
    let says = "echo \"$HOME and $DATABRICKS_CONFIG_FILE and $AZURE_CONFIG_DIR\" >&2; false";
    let machine = Machine::with_databricks(&version(1, 0, 0), says);
    let place = machine.path().join(".databrickscfg");
    let more = [("DATABRICKS_CONFIG_FILE", place.to_str().unwrap()), ("AZURE_CONFIG_DIR", "/azure")];
    let error = machine.token(Some("login"), &more).unwrap_err();
    let home = machine.path().display();
    assert_eq!(error.causes, [format!("{home} and {} and /azure", place.display())]);
}

#[test]
fn one_that_is_too_old_is_told_what_to_install() {
    for (old, says) in [
        (version(0, 205, 2), "the Databricks CLI 0.205.2 is too old"),
        (version(0, 207, 0), "the Databricks CLI 0.207.0 is too old"),
    ] {
        // It would give a token, of nobody knows which profile.
        let machine = Machine::with_databricks(&old, GIVES);
        let error = machine.token(Some("login"), &[]).unwrap_err();
        let words = words(&error);
        assert_eq!(error.kind, Kind::NoCredential);
        assert!(words.contains(says) && words.contains("0.207.1 or later"), "{words}");
        assert!(
            words.contains("install the current one") && words.contains("DATABRICKS_CLI_PATH"),
            "{words}"
        );
    }
}

#[test]
fn the_legacy_one_is_known_by_its_version() {
    let no_command = "echo \"Error: No such command '$1'.\" >&2; exit 2";
    let machine = Machine::with_databricks(no_command, no_command);
    let words = words(&machine.token(Some("login"), &[]).unwrap_err());
    assert!(words.contains("0.17.8 is too old") && words.contains("pip uninstall databricks-cli"), "{words}");
}

#[test]
fn one_that_hides_its_version_or_has_none_is_taken_as_it_is() {
    for version in [version(0, 0, 0), "echo nonsense".to_owned(), "exit 1".to_owned()] {
        let machine = Machine::with_databricks(&version, GIVES);
        machine.program(
            "databricks",
            &format!("case \"$*\" in version*) {version};; auth*) {GIVES};; *) exit 1;; esac"),
        );
        assert_eq!(machine.token(Some("login"), &[]).unwrap(), "token-of-ada", "{version}");
    }
}

#[test]
fn its_errors_are_in_its_own_words() {
    let says = "printf 'Error: \\033[31mmore than one profile\\033[0m for host\\a dapi0123456789abcdef0123456789abcdef\\n' >&2; exit 1";
    let machine = Machine::with_databricks(&version(1, 0, 0), says);
    let error = machine.token(Some("login"), &[]).unwrap_err();
    assert_eq!(error.causes, ["Error: more than one profile for host ****"]);
    assert_eq!(error.hints, ["run `databricks auth login --profile login`"]);
    let silent = Machine::with_databricks(&version(1, 0, 0), "exit 3");
    assert!(silent.token(Some("login"), &[]).unwrap_err().causes[0].contains("exit status: 3"));
}

#[test]
fn an_answer_that_is_none_is_not_shown() {
    for answer in
        ["hunter2", "{\"hunter2\": 1}", "{\"access_token\": \"\"}", "{\"access_token\": \"hunter2 x\"}"]
    {
        let machine = Machine::with_databricks(&version(1, 0, 0), &format!("echo '{answer}'"));
        let words = words(&machine.token(Some("login"), &[]).unwrap_err());
        assert!(words.contains("is not the JSON") && !words.contains("hunter2"), "{words}");
    }
    for odd in ["\"expiry\": \"soon\"", "\"expiry\": \"-009999-01-02T00:00:00Z\"", "\"token_type\": 7"] {
        let machine = Machine::with_databricks(
            &version(1, 0, 0),
            &format!("echo '{{\"access_token\": \"t\", {odd}}}'"),
        );
        assert_eq!(machine.token(Some("login"), &[]).unwrap(), "t");
    }
}

#[test]
fn a_token_that_the_workspace_refuses_is_not_taken_from_its_cache() {
    for (number, arguments) in [
        (version(0, 296, 0), "auth token --host HOST --force-refresh"),
        (version(0, 295, 9), "auth token --host HOST"),
    ] {
        let server = Server::start(|request, _| match request.authorization.as_str() {
            "Bearer new" => Answer::ok(&json!({"userName": "ada@example.com"})),
            _ => Answer::status(401, "{}"),
        });
        let gives = "if [ -e again ]; then echo '{\"access_token\": \"new\"}'; else : >again; echo '{\"access_token\": \"old\"}'; fi";
        let machine = Machine::with_databricks(&number, "");
        let again = machine.path().join("again");
        let gives = gives.replace("again", again.to_str().unwrap());
        machine.program("databricks", &format!("case \"$*\" in version*) {number};; *) {gives};; esac"));
        let auth = machine.resolve(None, &[("DATABRICKS_HOST", &server.host())]).unwrap();
        let me = run(async { Client::new(auth).await.unwrap().me().await.unwrap() });
        assert_eq!(me, "ada@example.com");
        let expected = arguments.replace("HOST", &server.host());
        assert!(machine.calls().contains(&expected), "{:?}", machine.calls());
        assert_eq!(machine.calls().iter().filter(|call| call.starts_with("auth")).count(), 2);
    }
}

#[test]
fn the_azure_cli_is_used_where_it_is_chosen() {
    let machine = Machine { folder: tempfile::tempdir().unwrap() };
    let chosen = [("DATABRICKS_HOST", "https://w"), ("DATABRICKS_AUTH_TYPE", "azure-cli")];
    let words_of = |machine: &Machine| words(&machine.token(None, &chosen).unwrap_err());
    assert!(words_of(&machine).contains("`az` is not installed"));
    for end in ["\"expiresOn\": \"2999-01-01 10:00:00.000000\"", "\"expires_on\": 32472144000"] {
        machine.program(
            "az",
            &format!("echo '{{\"accessToken\": \"token-of-azure\", {end}, \"tokenType\": \"Bearer\"}}'"),
        );
        let auth = machine.resolve(None, &chosen).unwrap();
        let before = machine.calls().len();
        for _ in 0..2 {
            assert_eq!(run(auth.token()).unwrap().expose(), "token-of-azure");
        }
        assert_eq!(machine.calls().len(), before + 1, "its end is understood");
    }
    assert_eq!(
        machine.calls()[0],
        "account get-access-token --resource 2ff814a6-3304-4ab8-85cb-cd0e6f879c1d --output json"
    );
    machine.program("az", "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1");
    let said = words_of(&machine);
    assert!(said.contains("Please run 'az login'") && said.contains("run `az login`"), "{said}");
}

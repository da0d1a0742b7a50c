//! The decision as a table.

mod properties;

use std::path::{Path, PathBuf};

use super::*;
use crate::config::Origin;
use crate::error::{Error, Kind};

const FILE: &str = "/home/ada/.databrickscfg";
const PROFILES: &str = "
[DEFAULT]
host = https://default
token = tok-default

[team]
host = team.example/
token = tok-team

[login]
host = https://login
auth_type = databricks-cli

[bare]
host = https://bare

[principal]
host = https://principal
client_id = id-principal
client_secret = sec-principal

[both]
host = https://both
token = tok-both
client_id = id-both
client_secret = sec-both

[chosen]
host = https://chosen
auth_type = oauth-m2m
token = tok-chosen
client_id = id-chosen
client_secret = sec-chosen

[federated]
host = https://federated
auth_type = github-oidc
client_id = id-federated
token_audience = us

[azure]
host = https://azure
auth_type = azure-cli

[homeless]
token = tok-homeless

[browser]
host = https://browser
auth_type = external-browser

[basic]
host = https://basic
username = ada
password = sec-basic
";
const HOST: (&str, &str) = ("DATABRICKS_HOST", "https://env");
const TOKEN: (&str, &str) = ("DATABRICKS_TOKEN", "tok-env");
const ID: (&str, &str) = ("DATABRICKS_CLIENT_ID", "id-env");
const SECRET: (&str, &str) = ("DATABRICKS_CLIENT_SECRET", "sec-env");
const JOB: (&str, &str) = ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://github/token?x=1");
const JOB_TOKEN: (&str, &str) = ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "tok-job");

fn named(profile: &'static str) -> (&'static str, &'static str) {
    ("DATABRICKS_CONFIG_PROFILE", profile)
}

fn auth_type(value: &'static str) -> (&'static str, &'static str) {
    ("DATABRICKS_AUTH_TYPE", value)
}

fn ask(profile: Option<&str>, env: &[(&str, &str)], file: Option<&str>) -> Result<Decision> {
    let origin = Origin::File(PathBuf::from("lakebase.config"));
    let setting = profile.map(|value| Setting { value: value.to_owned(), origin });
    let env: Env = env.iter().copied().chain([("HOME", "/home/ada")]).collect();
    let file = file.map(|text| Profiles::parse(Path::new(FILE), text).unwrap());
    let asked = Asked { profile: setting.as_ref(), variables: &env, file: None };
    decide(&Asked { file: file.as_ref().filter(|_| asked.wants_file()), ..asked })
}

/// What counts in a line: host, way, and the values that it uses.
fn told(decision: &Decision) -> String {
    let what = match &decision.credential {
        Credential::Embedded => "embedded".to_owned(),
        Credential::Token(token) => format!("pat {}", token.expose()),
        Credential::Client { id, secret, scopes } => {
            format!("oauth-m2m {id} {}{}", secret.expose(), narrowed(scopes))
        }
        Credential::Github { id, audience, token, scopes, .. } => {
            let audience = audience.as_deref().unwrap_or("-");
            format!("github-oidc {id} {audience} {}{}", token.expose(), narrowed(scopes))
        }
        Credential::DatabricksCli { program, profile } => {
            format!("{program} {}", profile.as_deref().unwrap_or("-"))
        }
        Credential::AzureCli => "azure-cli".to_owned(),
    };
    format!("{} {what}", decision.host)
}

/// The scopes, where they are not those of everybody.
fn narrowed(scopes: &str) -> String {
    if scopes == "all-apis" { String::new() } else { format!(" for {scopes}") }
}

#[test]
fn the_scopes_of_a_profile_are_asked_for_each_once() {
    // databricks-sdk 0.162.0, `config._parse_scopes`: parted by commas and blanks, each once, in order.
    for (written, asked) in [
        ("scopes = sql, postgres,sql  all-apis", " for all-apis postgres sql"),
        ("scopes = postgres", " for postgres"),
        ("scopes = , ,", ""),
        ("scopes =", ""),
    ] {
        let client = "[p]\nhost = https://p\nclient_id = id\n";
        let secret = format!("{client}client_secret = sec\n{written}\n");
        let decision = ask(Some("p"), &[], Some(&secret)).unwrap();
        assert_eq!(told(&decision), format!("https://p oauth-m2m id sec{asked}"));
        let job = ask(Some("p"), &[JOB, JOB_TOKEN], Some(&format!("{client}{written}\n"))).unwrap();
        assert_eq!(told(&job), format!("https://p github-oidc id - tok-job{asked}"));
    }
}

#[track_caller]
fn wins(profile: Option<&str>, env: &[(&str, &str)], expected: &str) {
    let decision = ask(profile, env, Some(PROFILES)).unwrap_or_else(|error| panic!("{expected}: {error:?}"));
    assert_eq!(told(&decision), expected);
    assert!(decision.reasons.iter().any(|reason| reason.wins), "{decision:?}");
    is_discreet(&format!("{decision:?} {} {:?}", decision.source, decision.reasons));
}

#[track_caller]
fn fails(profile: Option<&str>, env: &[(&str, &str)], kind: Kind, says: &[&str]) -> Error {
    let error = ask(profile, env, Some(PROFILES)).unwrap_err();
    let text = format!("{error} | {}", error.hints.join(" | "));
    assert_eq!(error.kind, kind, "{text}");
    for words in says {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert!(!error.hints.is_empty(), "{text}");
    is_discreet(&text);
    error
}

#[track_caller]
fn is_discreet(text: &str) {
    assert!(!text.contains("tok-") && !text.contains("sec-"), "{text}");
}

#[test]
fn a_profile_of_the_configuration_stands_for_itself() {
    let noise = [HOST, TOKEN, ID, SECRET, auth_type("pat"), named("login")];
    wins(Some("team"), &noise, "https://team.example pat tok-team");
    wins(Some("principal"), &noise, "https://principal oauth-m2m id-principal sec-principal");
    wins(Some("login"), &noise, "https://login databricks login");
    wins(Some("bare"), &noise, "https://bare databricks bare");
    wins(Some("chosen"), &noise, "https://chosen oauth-m2m id-chosen sec-chosen");
    wins(Some("azure"), &noise, "https://azure azure-cli");
    wins(Some("DEFAULT"), &noise, "https://default pat tok-default");
    wins(Some(EMBEDDED), &noise, " embedded");
    fails(Some("gone"), &noise, Kind::NoCredential, &["`gone` does not exist", "DEFAULT, team"]);
    fails(Some("homeless"), &noise, Kind::NoCredential, &["`homeless` has no host", FILE]);
    fails(Some("__settings__"), &noise, Kind::BadConfig, &["is no profile"]);
}

#[test]
fn the_environment_comes_before_the_file() {
    wins(None, &[HOST, TOKEN], "https://env pat tok-env");
    wins(None, &[HOST, ID, SECRET], "https://env oauth-m2m id-env sec-env");
    wins(None, &[HOST], "https://env databricks -");
    wins(None, &[HOST, ("DATABRICKS_CLI_PATH", "/opt/db")], "https://env /opt/db -");
    wins(None, &[HOST, auth_type("azure-cli")], "https://env azure-cli");
    // An empty variable is none.
    wins(None, &[HOST, TOKEN, ("DATABRICKS_CLIENT_ID", "")], "https://env pat tok-env");
}

#[test]
fn a_part_of_a_credential_is_not_filled_from_elsewhere() {
    fails(None, &[TOKEN], Kind::NoCredential, &["$DATABRICKS_TOKEN is set, but not $DATABRICKS_HOST"]);
    fails(None, &[ID, SECRET], Kind::NoCredential, &["$DATABRICKS_HOST", "are set"]);
    fails(
        None,
        &[HOST, ID],
        Kind::NoCredential,
        &["no client secret", "$DATABRICKS_CLIENT_ID", "id-token: write"],
    );
    fails(None, &[HOST, SECRET], Kind::NoCredential, &["no client id", "set DATABRICKS_CLIENT_ID"]);
    fails(None, &[HOST, auth_type("pat")], Kind::NoCredential, &["no token", "set DATABRICKS_TOKEN"]);
    fails(None, &[HOST, auth_type("oauth-m2m"), TOKEN], Kind::NoCredential, &["no client id", "`oauth-m2m`"]);
}

#[test]
fn without_an_environment_the_default_profile_counts() {
    wins(None, &[], "https://default pat tok-default");
    wins(None, &[auth_type("databricks-cli")], "https://default databricks DEFAULT");
    let of = |text: &str| ask(None, &[], Some(text)).map(|decision| told(&decision));
    let default = "[__settings__]\ndefault_profile = team\n";
    assert_eq!(of(&format!("{PROFILES}{default}")).unwrap(), "https://team.example pat tok-team");
    let missing = of(&format!("{}{PROFILES}", default.replace("team", "gone"))).unwrap_err();
    assert_eq!(missing.kind, Kind::NoCredential);
    assert!(missing.message.contains("`gone`"), "{missing}");
    let itself = of(&default.replace("team", "__settings__")).unwrap_err();
    assert_eq!(itself.kind, Kind::BadConfig);
    for nothing in
        ["", "[DEFAULT]\n", "[team]\nhost=https://t\ntoken=x\n", "[__settings__]\ndefault_profile=\n"]
    {
        let error = of(nothing).unwrap_err();
        assert_eq!((error.kind, error.hints.len()), (Kind::NoCredential, 3), "{nothing:?}");
    }
    assert_eq!(ask(None, &[], None).unwrap_err().hints.len(), 3);
}

#[test]
fn the_environment_is_laid_over_the_profile_that_it_names() {
    wins(None, &[named("team")], "https://team.example pat tok-team");
    wins(None, &[named("team"), TOKEN], "https://team.example pat tok-env");
    wins(None, &[named("bare"), ID, SECRET], "https://bare oauth-m2m id-env sec-env");
    wins(None, &[named("principal"), SECRET], "https://principal oauth-m2m id-principal sec-env");
    wins(None, &[named("both"), auth_type("pat")], "https://both pat tok-both");
    wins(None, &[named("team"), HOST, TOKEN], "https://env pat tok-env");
    wins(None, &[named("homeless"), HOST], "https://env pat tok-homeless");
    wins(
        None,
        &[named("team"), ("DATABRICKS_HOST", "https://team.example/")],
        "https://team.example pat tok-team",
    );
    fails(None, &[named("gone"), HOST, TOKEN], Kind::NoCredential, &["`gone` does not exist"]);
    let no_file = ask(Some("team"), &[HOST, TOKEN], None).unwrap_err();
    assert!(no_file.to_string().contains("there is no such file"), "{no_file}");
}

#[test]
fn a_secret_of_a_profile_goes_to_no_other_workspace() {
    let says = ["two Databricks workspaces", "https://env", "https://team.example", "unset DATABRICKS_HOST"];
    fails(None, &[named("team"), HOST], Kind::BadConfig, &says);
    fails(None, &[named("principal"), HOST], Kind::BadConfig, &["two Databricks workspaces"]);
    fails(None, &[named("login"), HOST], Kind::BadConfig, &["two Databricks workspaces"]);
}

#[test]
fn two_credentials_clash_until_one_is_chosen() {
    let all = [HOST, TOKEN, ID, SECRET];
    let error = fails(None, &all, Kind::BadConfig, &["2 Databricks credentials"]);
    assert_eq!(
        error.causes,
        ["`oauth-m2m` by $DATABRICKS_CLIENT_ID and $DATABRICKS_CLIENT_SECRET", "`pat` by $DATABRICKS_TOKEN",]
    );
    assert_eq!(
        error.hints,
        [
            "for `oauth-m2m`: unset DATABRICKS_TOKEN; or set DATABRICKS_AUTH_TYPE=oauth-m2m",
            "for `pat`: unset DATABRICKS_CLIENT_ID, unset DATABRICKS_CLIENT_SECRET; or set DATABRICKS_AUTH_TYPE=pat",
        ]
    );
    wins(None, &[&all[..], &[auth_type("pat")]].concat(), "https://env pat tok-env");
    wins(None, &[&all[..], &[auth_type("oauth-m2m")]].concat(), "https://env oauth-m2m id-env sec-env");
    wins(None, &[&all[..], &[auth_type("databricks-cli")]].concat(), "https://env databricks -");

    let error = fails(Some("both"), &[], Kind::BadConfig, &[]);
    assert_eq!(
        error.hints[0],
        format!(
            "for `oauth-m2m`: remove `token` of profile both in {FILE}; or write `auth_type = oauth-m2m` into profile both"
        )
    );
    // One in the environment, one in the profile that it names.
    let error = fails(None, &[named("principal"), TOKEN], Kind::BadConfig, &["unset DATABRICKS_TOKEN"]);
    assert!(error.hints[0].ends_with("or set DATABRICKS_AUTH_TYPE=oauth-m2m"), "{error:?}");
}

#[test]
fn what_is_not_known_here_is_not_passed_over() {
    fails(None, &[HOST, ("ARM_CLIENT_ID", "x")], Kind::Unsupported, &["`azure`", "unset ARM_CLIENT_ID"]);
    fails(
        None,
        &[("GOOGLE_CREDENTIALS", "sec-x")],
        Kind::Unsupported,
        &["`google`", "unset GOOGLE_CREDENTIALS"],
    );
    fails(None, &[HOST, TOKEN, ("ARM_TENANT_ID", "x")], Kind::BadConfig, &["`azure` by $ARM_TENANT_ID"]);
    wins(None, &[HOST, TOKEN, ("ARM_TENANT_ID", "x"), auth_type("pat")], "https://env pat tok-env");
    fails(
        Some("browser"),
        &[],
        Kind::Unsupported,
        &["\"external-browser\"", "`auth_type` of profile browser", "`pat`"],
    );
    fails(Some("basic"), &[], Kind::Unsupported, &["`basic`", "remove `password` of profile basic"]);
    fails(None, &[HOST, TOKEN, auth_type("patt")], Kind::Unsupported, &["\"patt\"", "$DATABRICKS_AUTH_TYPE"]);
}

#[test]
fn a_job_of_github_needs_no_secret() {
    wins(None, &[HOST, ID, JOB, JOB_TOKEN], "https://env github-oidc id-env - tok-job");
    wins(Some("federated"), &[JOB, JOB_TOKEN], "https://federated github-oidc id-federated us tok-job");
    let audience = ("DATABRICKS_TOKEN_AUDIENCE", "them");
    wins(None, &[HOST, ID, JOB, JOB_TOKEN, audience], "https://env github-oidc id-env them tok-job");
    wins(None, &[HOST, ID, SECRET, JOB, JOB_TOKEN], "https://env oauth-m2m id-env sec-env");
    wins(None, &[HOST, TOKEN, JOB, JOB_TOKEN], "https://env pat tok-env");
    fails(None, &[HOST, ID, JOB], Kind::NoCredential, &["id-token: write"]);
    fails(Some("federated"), &[], Kind::NoCredential, &["ACTIONS_ID_TOKEN_REQUEST_URL", "id-token: write"]);
}

#[test]
fn where_a_secret_stands_is_known() {
    let variable = |profile, env: &[(&str, &str)]| ask(profile, env, Some(PROFILES)).unwrap().secret_variable;
    assert_eq!(variable(None, &[HOST, TOKEN]), Some("DATABRICKS_TOKEN"));
    assert_eq!(variable(None, &[HOST, ID, SECRET]), Some("DATABRICKS_CLIENT_SECRET"));
    assert_eq!(variable(None, &[named("principal"), SECRET]), Some("DATABRICKS_CLIENT_SECRET"));
    assert_eq!(variable(None, &[HOST, ID, JOB, JOB_TOKEN]), Some("ACTIONS_ID_TOKEN_REQUEST_TOKEN"));
    for profile in ["team", "principal", "login", "azure", EMBEDDED] {
        assert_eq!(variable(Some(profile), &[HOST, TOKEN]), None, "{profile}");
    }
}

#[test]
fn the_reasons_name_winners_and_losers() {
    let told = |profile, env: &[(&str, &str)]| -> Vec<String> {
        let reasons = ask(profile, env, Some(PROFILES)).unwrap().reasons;
        let line = |it: Reason| format!("{} {}: {}", if it.wins { "+" } else { "-" }, it.source, it.why);
        reasons.into_iter().map(line).collect()
    };
    assert_eq!(
        told(Some("team"), &[HOST, named("login"), ("DATABRICKS_CLI_PATH", "x")]),
        [
            "+ profile team of /home/ada/.databrickscfg: the configuration names it (lakebase.config)",
            "- $DATABRICKS_CONFIG_PROFILE: the configuration names another profile",
            "- $DATABRICKS_HOST: the configuration names a profile, which comes before the environment",
            "+ pat: a token is the only credential that is set",
        ]
    );
    assert_eq!(
        told(None, &[HOST, TOKEN, ID, SECRET, auth_type("pat")]),
        [
            "+ $DATABRICKS_AUTH_TYPE: set in the environment",
            "+ $DATABRICKS_HOST: set in the environment",
            "+ $DATABRICKS_TOKEN: set in the environment",
            "- ~/.databrickscfg: no profile is named, and the environment says enough",
            "- $DATABRICKS_CLIENT_ID: $DATABRICKS_AUTH_TYPE chooses `pat`",
            "- $DATABRICKS_CLIENT_SECRET: $DATABRICKS_AUTH_TYPE chooses `pat`",
            "+ pat: $DATABRICKS_AUTH_TYPE chooses `pat`",
        ]
    );
    assert_eq!(
        told(None, &[named("team"), HOST, TOKEN]),
        [
            "- profile team of /home/ada/.databrickscfg: the environment says all of it otherwise",
            "+ $DATABRICKS_HOST: the environment comes before this profile",
            "+ $DATABRICKS_TOKEN: the environment comes before this profile",
            "- `host` of profile team in /home/ada/.databrickscfg: the environment comes before it",
            "- `token` of profile team in /home/ada/.databrickscfg: the environment comes before it",
            "+ pat: a token is the only credential that is set",
        ]
    );
    assert_eq!(
        told(None, &[])[0],
        "+ profile DEFAULT of /home/ada/.databrickscfg: neither the configuration nor the environment names a workspace"
    );
    assert_eq!(told(Some(EMBEDDED), &[HOST]).len(), 2);
}

#[test]
fn the_source_is_one_line() {
    let source = |profile, env: &[(&str, &str)]| ask(profile, env, Some(PROFILES)).unwrap().source;
    assert_eq!(source(None, &[HOST, TOKEN]), "$DATABRICKS_HOST and $DATABRICKS_TOKEN (pat)");
    assert_eq!(source(Some("team"), &[]), format!("profile team of {FILE} (pat)"));
    assert_eq!(
        source(None, &[named("team"), TOKEN]),
        format!("profile team of {FILE} and $DATABRICKS_TOKEN (pat)")
    );
    assert_eq!(
        source(None, &[HOST, ID, SECRET]),
        "$DATABRICKS_HOST, $DATABRICKS_CLIENT_ID and $DATABRICKS_CLIENT_SECRET (oauth-m2m)"
    );
    assert_eq!(source(Some("login"), &[]), "databricks auth token --profile login");
    assert_eq!(source(None, &[HOST]), "databricks auth token --host https://env");
    assert_eq!(source(Some(EMBEDDED), &[]), "embedded Lakebase");
}

//! Four front doors lead to the same program, and a plain `docker compose` is as it was.

use std::fs;
use std::path::PathBuf;

use e2e::{Lab, Project, Ran};
use serde_json::{Map, Value, json};

const COMPOSE: &str = "services:
  postgres:
    image: postgres:17
    volumes: [pgdata:/var/lib/postgresql/data]
  app:
    image: app
    depends_on: [postgres]
    environment:
      DATABASE_URL: postgresql://u:p@postgres/d
volumes:
  pgdata:
";
const CONFIG: &str = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\n";

fn project(lab: &Lab) -> Project<'_> {
    lab.project("shop", &[("compose.yaml", COMPOSE), ("lakebase.config", CONFIG)])
}

/// The override file of the one set of Compose files that were used.
fn override_file(project: &Project<'_>) -> PathBuf {
    let mut files =
        fs::read_dir(project.folder.join(".lakebase")).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|end| end == "yaml")).unwrap()
}

#[test]
fn every_door_changes_the_model_in_the_same_way() {
    let lab = Lab::new();
    let project = project(&lab);
    let model = |ran: Ran| -> Value { serde_json::from_str(&ran.ok().stdout).unwrap() };
    let as_typed = model(project.compose("lakebase config --format json"));
    assert_eq!(as_typed["services"]["postgres"]["image"], "lakebase-gateway");
    assert_eq!(as_typed["services"]["app"]["environment"]["DATABASE_URL"], "postgresql://u:p@postgres/d");
    assert_eq!(as_typed.get("volumes"), None);
    for ran in [
        project.run("docker", ["lakebase", "config", "--format", "json"]),
        project.run("docker-compose-lakebase", ["config", "--format", "json"]),
        project.run("docker", ["compose", "-f", "compose.yaml", "lakebase", "config", "--format", "json"]),
        project
            .run("docker", ["--debug", "compose", "--profile=x", "lakebase", "config", "--format", "json"]),
    ] {
        let line = ran.line.clone();
        assert_eq!(model(ran)["services"], as_typed["services"], "{line}");
    }
    // And without the gateway, the local database leaves the model.
    let direct = Ran::of(
        project
            .command("docker", ["compose", "lakebase", "config", "--format", "json"])
            .env("LAKEBASE_CONNECT", "direct"),
    );
    let direct = model(direct);
    assert_eq!(direct["services"].as_object().unwrap().keys().collect::<Vec<_>>(), ["app"]);
    let app = &direct["services"]["app"];
    assert_eq!((&app["depends_on"], &app["environment"]["DATABASE_URL"]), (&Value::Null, &"****".into()));
    let status = project.run("cargo", ["lakebase", "--help"]).ok();
    assert!(status.stdout.contains("embedded"), "{status:#?}");
}

#[test]
fn the_users_files_are_not_touched_and_the_change_ignores_itself() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("lakebase.config", &format!("{CONFIG}LAKEBASE_CONNECT=direct\n"));
    project.commit("Without the gateway");
    project.lakebase("config").ok();
    assert_eq!(project.run("git", ["status", "--porcelain"]).ok().stdout, "");
    let file = override_file(&project);
    // Replayed by another tool, without our variables, the files still load.
    let replayed =
        project.run("docker", ["compose", "-f", "compose.yaml", "-f", file.to_str().unwrap(), "config"]);
    assert!(replayed.ok().stdout.contains("run-docker-compose-lakebase-up"));
}

/// Texts that are another thing to one YAML parser or another, where nothing quotes them; the first are names of services, too.
const NASTY: [&str; 48] = [
    "1_000",
    "2001-01-01",
    "0o17",
    "017",
    "0x1F",
    "0b11",
    "1e3",
    "1.5",
    ".inf",
    ".nan",
    "yes",
    "No",
    "on",
    "OFF",
    "y",
    "n",
    "null",
    "True",
    "~",
    "1:30",
    "190:20:30",
    "-.INF",
    "+12.5",
    "<<",
    "=",
    "2001-12-14 21:59:43.10 -5",
    "!tag",
    "&anchor",
    "*alias",
    "- item",
    "key: value",
    "text # comment",
    "'",
    "\"",
    "\\",
    "\\n",
    "two\nlines\n",
    "\ttab ",
    "é",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "🐘",
    "{}",
    "%@`|>",
    "",
];

#[test]
fn compose_reads_every_text_of_the_override_file_as_the_text_that_it_is() {
    // Given services of such names, which use the database.
    let lab = Lab::new();
    let project = project(&lab);
    let names = &NASTY[..18];
    let service = |name: &&str| ((*name).to_owned(), json!({"image": "app", "depends_on": ["postgres"]}));
    let mut services: Map<String, Value> = names.iter().map(service).collect();
    services.insert("postgres".into(), json!({"image": "postgres:17"}));
    project.write("compose.yaml", &json!({"services": services}).to_string());
    let config =
        || -> Value { serde_json::from_str(&project.lakebase("config --format json").ok().stdout).unwrap() };
    let model = config();
    for name in names {
        assert_eq!(model["services"][name]["labels"]["lakebase.connect"], "gateway", "{name}");
    }
    // And gateways that the last `up` told such things.
    let variables =
        ["LAKEBASE_UPSTREAM", "LAKEBASE_USER", "LAKEBASE_DATABASE", "LAKEBASE_ROLE", "LAKEBASE_CA"];
    let labels = ["lakebase.branch", "lakebase.fork", "lakebase.endpoint"];
    for texts in NASTY.chunks(variables.len() + labels.len()) {
        let texts = texts.iter().cycle();
        let environment: Map<_, _> = variables
            .iter()
            .zip(texts.clone())
            .map(|(name, text)| ((*name).to_owned(), json!(text)))
            .collect();
        let texts = texts.skip(variables.len());
        let labels: Map<_, _> =
            labels.iter().zip(texts).map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
        let gateway = json!({"image": "lakebase-gateway", "environment": environment, "labels": labels});
        let before = json!({"services": {"postgres": gateway}}).to_string();
        // What no YAML file can hold as it is.
        let escaped = ['\u{7f}', '\u{85}', '\u{2028}', '\u{feff}'].iter().fold(before, |text, character| {
            text.replace(*character, &format!("\\u{:04x}", u32::from(*character)))
        });
        fs::write(override_file(&project), escaped).unwrap();
        // When our program has written the file anew, then Compose finds the same in it.
        let found = &config()["services"]["postgres"];
        assert_eq!(found["environment"], Value::Object(environment));
        for (name, text) in labels {
            assert_eq!(found["labels"][&name], text, "{name}");
        }
    }
}

#[test]
fn the_default_files_are_those_that_compose_finds() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("compose.override.yml", "services:\n  app:\n    labels: {from: override}\n");
    project.write("deploy/other.yaml", "services:\n  app:\n    labels: {from: other}\n");
    project.write("sub/.keep", "");
    let label = |ran: Ran| -> Value {
        let model: Value = serde_json::from_str(&ran.ok().stdout).unwrap();
        model["services"]["app"]["labels"]["from"].clone()
    };
    for (folder, dotenv) in [(".", ""), ("sub", ""), (".", "COMPOSE_FILE=compose.yaml:deploy/other.yaml\n")] {
        project.write(".env", dotenv);
        let run = |words: &[&str]| {
            let mut command = project.command("docker", words);
            Ran::of(command.current_dir(project.folder.join(folder)))
        };
        let plain = label(run(&["compose", "config", "--format", "json"]));
        let ours = label(run(&["compose", "lakebase", "config", "--format", "json"]));
        assert_eq!(ours, plain, "{folder} {dotenv}");
    }
}

/// A plain call as it is without our front door in the way.
fn straight(lab: &Lab, project: &Project<'_>, line: &str) -> Ran {
    fs::rename(lab.path("doors"), lab.path("away")).unwrap();
    let ran = project.compose(line);
    fs::rename(lab.path("away"), lab.path("doors")).unwrap();
    ran
}

#[test]
fn plain_compose_is_as_before_whatever_becomes_of_our_programs() {
    let lab = Lab::new();
    let project = project(&lab);
    let lines = ["version", "config", "ps", "lakebase", "up --nonsense", "-f gone.yaml ps", "--help"];
    let straight: Vec<Ran> = lines.map(|line| straight(&lab, &project, line)).into();
    let same = |except: &str| {
        for (line, straight) in lines.iter().zip(&straight) {
            if *line == except {
                continue;
            }
            let ours = project.compose(line);
            assert_eq!(
                (ours.code, &ours.stdout, &ours.stderr),
                (straight.code, &straight.stdout, &straight.stderr),
                "{line}"
            );
        }
    };
    // All is well: every call but ours.
    same("lakebase");
    // The program behind the door is gone: then even that call is Compose's.
    for name in ["bin/docker-compose-lakebase", "docker/cli-plugins/docker-lakebase"] {
        fs::rename(lab.path(name), lab.path("gone")).unwrap();
        fs::remove_file(lab.path("gone")).unwrap();
    }
    same("");
    // It is broken.
    fs::write(lab.path("docker/cli-plugins/docker-lakebase"), "not a program").unwrap();
    same("");
    // The door itself is gone.
    fs::remove_file(lab.path("doors/docker-compose")).unwrap();
    same("");
}

#[test]
fn the_door_can_be_turned_off() {
    let lab = Lab::new();
    let project = project(&lab);
    let off =
        Ran::of(project.command("docker", ["compose", "lakebase", "config"]).env("LAKEBASE_SHIM", "off"));
    assert_ne!(off.code, Some(0), "{off:#?}");
    assert!(!project.folder.join(".lakebase").exists());
}

#[test]
fn a_dry_run_changes_nothing() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("init").ok();
    for line in ["up --dry-run", "--dry-run=true up -d"] {
        let _ = project.lakebase(line);
        assert!(!project.has_branch(), "{line}");
    }
    project.cargo("env").ok();
    project.compose("--dry-run lakebase destroy").fails(64, &["no dry run"]);
    assert!(project.has_branch());
}

#[test]
fn a_volume_that_holds_the_local_database_is_not_removed() {
    let lab = Lab::new();
    let project = project(&lab);
    let shared =
        COMPOSE.replace("  app:\n", "  backup:\n    image: app\n    volumes: [\"pgdata:/pg:ro\"]\n  app:\n");
    project.write("compose.yaml", &shared);
    project.lakebase("down -v").fails(84, &["pgdata", "local database"]);
    project.lakebase("down").ok();
}

#[test]
fn docker_info_does_not_complain() {
    let lab = Lab::new();
    let info = lab.run("docker", ["info"]);
    assert!(!info.all().contains("WARNING: Plugin"), "{info:#?}");
    assert!(info.all().contains("lakebase:"), "{info:#?}");
}

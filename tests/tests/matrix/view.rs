//! What is to be seen of a world, and what may never be seen in it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::{Lab, Seat};
use serde_json::Value;

/// A gateway that was just started gets its first login, and lets somebody in, within this time.
const ENTER_WITHIN: Duration = Duration::from_secs(30);
/// What the product keeps of this machine.
const STATE: &str = "home/.local/state/lakebase";

/// What is to be seen of a world, but for names and times that differ from run to run.
#[derive(Debug, Clone)]
pub struct View {
    /// Branch id -> state, parent, whether it has an expiry; of the project that the scenario is about.
    branches: BTreeMap<String, (String, String, bool)>,
    /// The recorded git branches.
    recorded: Vec<String>,
    /// The project's own files, and what nobody wants below the folders of the home.
    files: Vec<String>,
    /// What is in files that the product writes.
    pub texts: Texts,
    /// The project's containers that run.
    containers: usize,
    /// Whether a session gets in at the database's seat, where one is taken.
    enters: bool,
}

/// What is in files that the product writes, and that may only ever be as it was or as it is wanted.
#[derive(Debug, Clone)]
pub struct Texts {
    /// The override files.
    overrides: Vec<String>,
    /// Docker's configuration.
    docker: String,
    /// The names in `.env.lakebase`.
    variables: Vec<String>,
}

impl Texts {
    /// Reads them.
    pub fn of(lab: &Lab, project: &Path) -> Self {
        let docker = read(&lab.path("docker/config.json"));
        Self { overrides: overrides(project), docker, variables: variables(project) }
    }
}

impl View {
    /// Looks.
    pub fn of(lab: &Lab, seat: &Seat<'_>, about: &str) -> Self {
        let view = |branch: &Value| {
            let status = &branch["status"];
            let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
            let seen = (text("current_state"), text("source_branch"), status["expire_time"].is_string());
            (id_of(branch).to_owned(), seen)
        };
        let record: Value = fs::read_to_string(lab.path(STATE).join("branches.json"))
            .map(|text| serde_json::from_str(&text).expect("a record"))
            .unwrap_or(Value::Null);
        let recorded = record.as_array().into_iter().flatten();
        let mut recorded: Vec<String> =
            recorded.map(|entry| entry["identity"]["branch"].to_string()).collect();
        // What a `check` was killed over goes when its life ends, which is looked at apart.
        recorded.retain(|branch| !branch.starts_with("\"check "));
        recorded.sort();
        let project = &seat.project;
        let label = format!("label=com.docker.compose.project={}", project.compose_name);
        let running = project.run("docker", ["ps", "--quiet", "--filter", &label]).ok().stdout;
        let containers = running.lines().count();
        let mut found = files(&project.folder);
        for folder in [lab.path("home"), lab.path("docker"), lab.path("doors")] {
            found.extend(files(&folder).into_iter().filter(|name| is_temporary(Path::new(name))));
        }
        Self {
            branches: branches(lab, about)
                .iter()
                .filter(|it| !id_of(it).contains("-check-"))
                .map(view)
                .collect(),
            recorded,
            files: found,
            texts: Texts::of(lab, &project.folder),
            containers,
            enters: containers > 0 && enters(seat),
        }
    }

    /// What is seen here that is not as wanted.
    pub fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |what: &str, seen: &dyn Debug, wanted: &dyn Debug| {
            let (seen, wanted) = (format!("{seen:?}"), format!("{wanted:?}"));
            if seen != wanted {
                found.push(format!("{what} {seen}, not {wanted}"));
            }
        };
        differ("branches", &self.branches, &wanted.branches);
        differ("recorded", &self.recorded, &wanted.recorded);
        differ("files", &self.files, &wanted.files);
        differ("override files", &self.texts.overrides, &wanted.texts.overrides);
        differ("Docker's configuration", &self.texts.docker, &wanted.texts.docker);
        differ("variables", &self.texts.variables, &wanted.texts.variables);
        differ("containers", &self.containers, &wanted.containers);
        differ("getting in", &self.enters, &wanted.enters);
        found
    }
}

/// Whether a session gets in, in time.
fn enters(seat: &Seat<'_>) -> bool {
    let until = Instant::now() + ENTER_WITHIN;
    loop {
        if seat.session().code == Some(0) {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Files of which a part is written: neither what was there before, nor what was wanted.
pub fn halves(lab: &Lab, project: &Path, whole: [&Texts; 2]) -> Vec<String> {
    let mut halves = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            halves.push(what);
        }
    };
    let state = lab.path(STATE);
    if state.is_dir() {
        for name in files(&state).into_iter().filter(|name| name.ends_with(".json")) {
            let text = read(&state.join(&name));
            // The agent may take it away while it is looked at.
            must(text.is_empty() || serde_json::from_str::<Value>(&text).is_ok(), format!("{name}: {text}"));
        }
    }
    let now = Texts::of(lab, project);
    for text in now.overrides {
        must(whole.iter().any(|texts| texts.overrides.contains(&text)), format!("an override file: {text}"));
    }
    let is_whole = whole.iter().any(|texts| texts.docker == now.docker);
    must(is_whole, format!("Docker's configuration: {}", now.docker));
    let config = read(&project.join("lakebase.config"));
    let is_line =
        |line: &str| line.starts_with('#') || line.split_once('=').is_some_and(|pair| !pair.1.is_empty());
    let is_config = config.ends_with('\n')
        && config.contains("LAKEBASE_PROFILE=embedded\n")
        && config.lines().all(is_line);
    must(is_config, format!("lakebase.config: {config}"));
    // Not its text, which is a login.
    let is_whole = whole.iter().any(|texts| texts.variables == now.variables);
    must(is_whole, format!(".env.lakebase: {:?}", now.variables));
    for login in [".env.lakebase", ".lakebase/.lakebase-new"] {
        let mode =
            fs::metadata(project.join(login)).map_or(0o600, |about| about.permissions().mode() & 0o777);
        must(
            mode == 0o600 || !read(&project.join(login)).contains("DATABASE_URL"),
            format!("{login}: {mode:o}"),
        );
    }
    halves
}

/// Whether a login in this file is where the user has asked for one: in `.env.lakebase`, and where that is written.
pub fn may_hold_a_login(path: &Path) -> bool {
    path.ends_with(".env.lakebase") || path.ends_with(".lakebase/.lakebase-new")
}

/// Whether a file is only there while another one is written.
fn is_temporary(path: &Path) -> bool {
    path.ends_with(".lakebase-new")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The names that `.env.lakebase` sets to a whole value.
fn variables(project: &Path) -> Vec<String> {
    let text = read(&project.join(".env.lakebase"));
    let whole = |line: &str| {
        let (name, value) = line.split_once("='")?;
        value.ends_with('\'').then(|| name.to_owned())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(|line| whole(line).unwrap_or_default()).collect()
}

fn overrides(project: &Path) -> Vec<String> {
    let folder = project.join(".lakebase");
    if !folder.is_dir() {
        return Vec::new();
    }
    let found = files(&folder);
    // The port of the branch's server, and when the branch was made.
    let differs =
        |line: &&str| ["\"LAKEBASE_UPSTREAM\":", "\"lakebase.fork\":"].iter().any(|it| line.contains(it));
    let neutral = |text: String| text.split_inclusive('\n').filter(|line| !differs(line)).collect();
    found
        .iter()
        .filter(|name| name.ends_with(".yaml"))
        .map(|name| neutral(read(&folder.join(name))))
        .collect()
}

/// The names of a folder's files, sorted; git's own apart.
fn files(folder: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true if path.ends_with(".git") => {}
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).expect("below").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// A project's branches, as the service lists them.
pub fn branches(lab: &Lab, project: &str) -> Vec<Value> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/2.0/postgres/projects/{project}/branches?page_token={token}");
        let page = lab.ask("GET", &path, None);
        assert_eq!(page.status, 200, "{}", page.body);
        all.extend(page.body["branches"].as_array().cloned().unwrap_or_default());
        match page.body["next_page_token"].as_str().filter(|next| !next.is_empty()) {
            Some(next) => token = next.to_owned(),
            None => return all,
        }
    }
}

/// A branch's id.
pub fn id_of(branch: &Value) -> &str {
    branch["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}

//! The steps that a command takes between its calls of the API: each file that it opens for writing, makes, names, puts on the
//! disk or removes, and each program that it starts. `strace` stops whoever takes one there, so that a blow finds it exactly
//! behind that step and before its next.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use e2e::{Lab, Ran};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, mkfifo};

use super::strike;

/// The system calls of a step; the ones with a question mark are not everywhere.
const CALLS: &str = "?open,openat,?creat,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,fsync,fdatasync,\
     ftruncate,?link,linkat,?symlink,symlinkat,bind,execve";
/// The programs whose steps count; those that they start take their own.
const OURS: [&str; 2] = ["cargo-lakebase", "docker-compose-lakebase"];
/// Written by us behind what strace has written.
const END: &str = "END";

/// A command that ran while its steps were watched.
pub struct Watched {
    /// What it said; `None` where it hung.
    pub ran: Option<Ran>,
    /// What it did, in its order. Where one happens twice, the second has a number.
    pub steps: Vec<String>,
}

/// Runs a command, and sends a signal to the group of whoever takes the step, where one is given. There is no strace but on
/// Linux: elsewhere no steps are seen.
pub fn watch(command: &mut Command, lab: &Lab, blow: Option<(&str, Signal)>) -> Watched {
    if cfg!(not(target_os = "linux")) {
        return Watched { ran: strike::run(command), steps: Vec::new() };
    }
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("steps");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    // Open both ways, neither side waits for the other.
    let mut both = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe");
    // Apart from the command's group, of which it is the child: the command stays our own child.
    let mut strace = Command::new("strace");
    strace.args(["-DDD", "-f", "-qq", "-y", "-s", "200", "-e", "signal=none", "-o"]).arg(&pipe);
    strace.arg(format!("--trace={CALLS}")).arg(format!("--inject={CALLS}:signal=STOP"));
    strace.arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace.current_dir(command.get_current_dir().expect("a folder"));
    let mut watcher = Watcher::new(lab, blow);
    let (mut ran, mut steps) = (None, Vec::new());
    let child = strike::spawn(&mut strace);
    std::thread::scope(|scope| {
        let reader = both.try_clone().expect("a pipe");
        let watching = scope.spawn(move || {
            watcher.follow(reader);
            watcher
        });
        ran = strike::end("strace".to_owned(), child, || {
            // At once, or strace may write in between.
            both.write_all(format!("{END}\n").as_bytes()).expect("the pipe");
            let mut watcher = watching.join().expect("the watcher");
            watcher.end();
            steps = std::mem::take(&mut watcher.steps);
            assert!(watcher.tracer.is_some(), "strace can't watch: is it installed, and allowed to?");
        });
    });
    Watched { ran, steps }
}

/// Follows what strace writes, and lets everybody go on who was stopped.
struct Watcher {
    blow: Option<(String, Signal)>,
    /// What differs between labs -> what stands for it.
    names: [(String, &'static str); 2],
    steps: Vec<String>,
    /// How often a step was taken.
    taken: HashMap<String, usize>,
    /// What was begun, by its thread.
    begun: HashMap<i32, String>,
    /// The program that a process became, by its number.
    became: HashMap<i32, String>,
    seen: BTreeSet<i32>,
    tracer: Option<Pid>,
}

impl Watcher {
    fn new(lab: &Lab, blow: Option<(&str, Signal)>) -> Self {
        let folder = lab.path("");
        let own = folder.file_name().expect("a name").to_string_lossy().to_lowercase();
        let whole = folder.to_string_lossy().trim_end_matches('/').to_owned();
        Self {
            blow: blow.map(|(step, signal)| (step.to_owned(), signal)),
            names: [(whole, "LAB"), (own, "lab")],
            steps: Vec::new(),
            taken: HashMap::new(),
            begun: HashMap::new(),
            became: HashMap::new(),
            seen: BTreeSet::new(),
            tracer: None,
        }
    }

    fn follow(&mut self, pipe: File) {
        for line in BufReader::new(pipe).lines() {
            let line = line.expect("text");
            // Perhaps behind a call that has not come back.
            if line.ends_with(END) {
                return;
            }
            let Some((thread, call)) = self.whole(&line) else { continue };
            if self.tracer.is_none() {
                self.tracer = status(thread, "TracerPid").map(Pid::from_raw);
            }
            let process = status(thread, "Tgid").unwrap_or(thread);
            self.seen.insert(process);
            if let Some(step) = self.step(process, &call) {
                let taken = self.taken.entry(step.clone()).or_default();
                *taken += 1;
                let step = if *taken == 1 { step } else { format!("{step} #{taken}") };
                let struck = self.blow.as_ref().filter(|(place, _)| *place == step);
                if let (Some((_, signal)), Ok(group)) = (struck, getpgid(Some(Pid::from_raw(process)))) {
                    let _ = killpg(group, *signal);
                }
                self.steps.push(step);
            }
            // Whoever is behind a call that strace has told of has its stop, or is about to: this ends either.
            let _ = kill(Pid::from_raw(process), Signal::SIGCONT);
        }
    }

    /// Lets go of whoever outlives the command.
    fn end(&mut self) {
        if let Some(tracer) = self.tracer {
            let _ = kill(tracer, Signal::SIGKILL);
            e2e::wait_for("strace to end", || {
                let stat = fs::read_to_string(format!("/proc/{tracer}/stat")).unwrap_or_default();
                stat.rsplit(')')
                    .next()
                    .is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
                    .then_some(())
            });
        }
        for process in &self.seen {
            let _ = kill(Pid::from_raw(*process), Signal::SIGCONT);
        }
    }

    /// The thread of a line, and its call from the name to the result; `None` where that is still to come, and for what is no
    /// call.
    fn whole(&mut self, line: &str) -> Option<(i32, String)> {
        let (thread, rest) = line.trim_start().split_once(' ')?;
        let (thread, rest) = (thread.parse().ok()?, rest.trim_start());
        if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
            self.begun.insert(thread, begin.to_owned());
            return None;
        }
        match rest.split_once(" resumed>") {
            Some((begin, end)) if begin.starts_with("<... ") => {
                Some((thread, format!("{}{end}", self.begun.remove(&thread)?)))
            }
            _ if rest.starts_with(['-', '+']) => None,
            _ => Some((thread, rest.to_owned())),
        }
    }

    /// The step that a call is, where it is one of a program of ours.
    fn step(&mut self, process: i32, call: &str) -> Option<String> {
        let (name, rest) = call.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        if result.starts_with(['-', '?']) {
            return None;
        }
        let what = match name {
            "execve" => {
                let program = quoted(arguments).next()?;
                let actor = self.became.get(&process).cloned().or_else(|| {
                    let parent = status(process, "PPid")?;
                    self.became.get(&parent).cloned()
                });
                let words = arguments.split_once('[')?.1.rsplit_once(']')?.0;
                let words: Vec<&str> = quoted(words).skip(1).collect();
                let short = format!("{} {}", program.rsplit('/').next()?, words.join(" "));
                self.became.insert(process, short.clone());
                let actor = actor?;
                // How often it looks round is a matter of time.
                let step = self.neutral(&format!("{}start {short}", who(&actor)));
                let again = !who(&actor).is_empty() && self.taken.contains_key(&step);
                return (is_ours(&actor) && !again).then_some(step);
            }
            "fsync" | "fdatasync" | "ftruncate" => arguments.split_once('<')?.1.split_once('>')?.0,
            "bind" if !arguments.contains("sun_path=\"") => return None,
            "open" | "openat"
                if !["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| arguments.contains(flag)) =>
            {
                return None;
            }
            _ if name.starts_with("rename") || name.starts_with("link") => quoted(arguments).last()?,
            _ => quoted(arguments).next()?,
        };
        if ["/dev/", "/proc/"].iter().any(|folder| what.starts_with(folder)) {
            return None;
        }
        let actor = self.became.get(&process)?;
        is_ours(actor).then(|| self.neutral(&format!("{}{name} {what}", who(actor))))
    }

    /// The text without what differs from run to run.
    fn neutral(&self, text: &str) -> String {
        let text = self.names.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word));
        let mut neutral = String::new();
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let length = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(length.max(first.len_utf8()));
            let is_number = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_random = neutral.ends_with(".lakebase-") || is_number;
            neutral.push_str(if is_random { "*" } else { word });
            rest = after;
        }
        neutral
    }
}

fn is_ours(words: &str) -> bool {
    words.split(' ').next().is_some_and(|program| OURS.contains(&program))
}

/// Whose steps they are, where not the command's.
fn who(words: &str) -> &'static str {
    if words.ends_with(" agent") { "the agent's " } else { "" }
}

/// The texts in quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// A number of a process's status.
fn status(process: i32, name: &str) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok().filter(|number| *number > 0)
}

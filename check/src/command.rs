//! `check -- COMMAND`: the command itself.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use lakebase::commands::room::Full;
use lakebase::commands::session::{Project, Session, SettingArgs, World};
use lakebase::config::Key;
use lakebase::env_file;
use lakebase::env_vars::GITHUB_STEP_SUMMARY;
use lakebase::error::{Error, Kind, Result};
use lakebase::identity::{self, Merged};
use lakebase::ui::visible;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::facts::Facts;
use crate::fork::{self, Fork};
use crate::limits::{LimitArgs, Limits};
use crate::place::{Host, Place};
use crate::report::{Format, Report};
use crate::runs::{self, Plan};
use crate::{text, tool, verdict};

/// A run that takes longer than this many times its limit is ended.
const PATIENCE: f64 = 2.0;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    full: Full,
    #[command(flatten)]
    limits: LimitArgs,
    /// The command that undoes the migration, for the shell; found for the tools that have one
    #[arg(long, value_name = "COMMAND")]
    down: Option<String>,
    /// A file of the old application's queries, in place of production's own pg_stat_statements
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Judge the merge of HEAD with this branch or commit, so that two changes which are each fine are caught together
    #[arg(long, value_name = "REF")]
    with: Option<String>,
    /// Leave out the second fork, with readers and writers at work
    #[arg(long)]
    quick: bool,
    /// How long one run may take before it is ended; twice --max-duration, unless said otherwise
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// The form of the report, or several with a file each: `markdown=report.md,json`
    #[arg(long, value_name = "FORMAT[=FILE]", value_delimiter = ',', default_value = "text")]
    format: Vec<String>,
    /// The migration command and its arguments; found for the tools that are known
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Judges a migration that runs on this machine. Gives the exit code: 0 passes, 1 exceeds a limit, 2 fails, 3 can't be judged.
///
/// # Errors
/// As for [`judged`], and those of a merge.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<u8> {
    // Before there is anything to tidy up.
    let signals = Signals::caught();
    let merge = match args.with.as_deref() {
        Some(reference) => {
            let into =
                tempfile::tempdir().map_err(|error| Error::io("making a folder for the merge", &error))?;
            Some((merge(reference, into.path(), world)?, into))
        }
        None => None,
    };
    let folder = merge.as_ref().map_or(&world.cwd, |(merged, _)| &merged.folder).clone();
    judged(args, &Host::new(folder, world.env.get("PATH")), signals, world).await
}

impl Args {
    /// The merge that is to be judged.
    pub fn merge(&self) -> Option<&str> {
        self.with.as_deref()
    }

    /// The settings that it was called with.
    pub fn settings(&self) -> &SettingArgs {
        &self.settings
    }
}

/// The same in any place.
///
/// # Errors
/// Those of the session and of the API. The forks are deleted whatever happens.
pub async fn judged(args: Args, place: &impl Place, signals: Signals, world: &mut World<'_>) -> Result<u8> {
    let forms = forms(&args.format)?;
    let plan = plan(&args, place, world)?;
    let base = || -> Result<Session> {
        Ok(Session { full: args.full, ..Session::open(args.settings.clone(), world)? })
    };
    let first = Fork::session(base()?)?;
    let second = Fork::session(base()?)?;
    let facts = rehearse(place, first, second, &plan, signals, world).await?;
    let verdict = verdict::judge(&facts, &plan.limits, facts.tool);
    let report = Report { facts: &facts, limits: &plan.limits, verdict: &verdict };
    for (format, file) in forms {
        let text = report.in_form(format);
        if format == Format::Github
            && let Some(summary) = world.env.get(GITHUB_STEP_SUMMARY)
        {
            append(&world.cwd.join(summary), &(report.in_form(Format::Markdown) + "\n"))?;
        }
        match file {
            Some(path) => env_file::replace(&path, &(text + "\n"), 0o644)?,
            None => text.lines().for_each(|line| world.ui.data(&visible(line))),
        }
    }
    Ok(verdict.answer.exit_code())
}

/// Adds to a file that belongs to somebody else.
fn append(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Error::io(format!("adding to `{}`", path.display()), &error))
}

/// The runs on the first fork, then on the second, each of which is deleted before anything else happens.
async fn rehearse(
    place: &impl Place,
    first: Session,
    second: Session,
    plan: &Plan,
    signals: Signals,
    world: &mut World<'_>,
) -> Result<Facts> {
    // One for both forks: a word that comes between them counts as well.
    let mut ended = pin!(signals.or_abandoned(place));
    let client = tokio::select! {
        client = first.client() => client?,
        error = &mut ended => return Err(error),
    };
    let ends = first.clone();
    let ran = tokio::select! {
        ran = runs::clean(place, first, client.clone(), plan, world.ui) => ran,
        error = &mut ended => Err(error),
    };
    place.leave().await;
    let gone = delete(&ends, &client, world, ran.is_err()).await;
    let mut facts = ran?;
    gone?;
    if plan.among_clients && facts.up.is_ok() && facts.up.timeline.sessions > 0 {
        let ends = second.clone();
        let ran = tokio::select! {
            ran = runs::among_clients(place, second, client.clone(), plan, &mut facts, world.ui) => ran,
            error = &mut ended => Err(error),
        };
        place.leave().await;
        let gone = delete(&ends, &client, world, ran.is_err()).await;
        match ran {
            Err(error) if error.kind == Kind::Interrupted => return Err(error),
            Err(error) => facts.unseen.push(format!("clients at work: {error}")),
            Ok(()) => {}
        }
        gone?;
    }
    Ok(facts)
}

/// Deletes a fork. One that can't be deleted goes by itself, which is said.
async fn delete(
    session: &Session,
    client: &lakebase::api::Client,
    world: &mut World<'_>,
    failed: bool,
) -> Result<()> {
    world.ui.rest();
    match fork::delete(session, client, world.ui).await {
        Err(error) if failed => {
            world.ui.warn(&format!(
                "the fork {} was not deleted and goes when its life ends: {error}",
                session.id
            ));
            Ok(())
        }
        gone => gone,
    }
}

/// Ctrl-C and SIGTERM, which end nothing by themselves from when they are caught.
pub struct Signals(Option<[(Signal, &'static str); 2]>);

impl Signals {
    /// Catches them. Where the system refuses, they do what they always do.
    pub fn caught() -> Self {
        let of = |kind, name| signal(kind).ok().map(|signal| (signal, name));
        let both = of(SignalKind::interrupt(), "Ctrl-C").zip(of(SignalKind::terminate(), "SIGTERM"));
        Self(both.map(|(interrupt, terminate)| [interrupt, terminate]))
    }

    /// Why the check has to end, as soon as it has: by a signal since they were caught, or because nobody waits for it.
    async fn or_abandoned(mut self, place: &impl Place) -> Error {
        tokio::select! {
            error = self.ended() => error,
            error = place.abandoned() => error,
        }
    }

    /// Why it has to end, as soon as there was a signal since they were caught.
    pub async fn ended(&mut self) -> Error {
        let ended = |by: &str| Error::new(Kind::Interrupted, format!("ended by {by}"));
        let Some([(interrupt, first), (terminate, second)]) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => ended(first),
            _ = terminate.recv() => ended(second),
        }
    }
}

/// Writes the merge of HEAD and `reference` into a folder.
///
/// # Errors
/// Those of [`identity::merged`].
pub fn merge(reference: &str, into: &Path, world: &mut World<'_>) -> Result<Merged> {
    let merged = identity::merged(&world.cwd, reference, into)?;
    if merged.is_dirty {
        world.ui.warn("what is changed here and not committed is no part of the merge");
    }
    Ok(merged)
}

fn plan(args: &Args, place: &impl Place, world: &World<'_>) -> Result<Plan> {
    let settings = Project::load(args.settings.clone(), world.env, &world.cwd)?.settings;
    let words = match settings.text(Key::CheckCommand) {
        _ if !args.command.is_empty() => args.command.clone(),
        Some(line) => text::command(line),
        None => tool::command(place.folder())?,
    };
    let down = args.down.as_deref().or_else(|| settings.text(Key::CheckDown));
    let down = down.map(|line| place.job(&text::command(line)));
    let queries = match &args.queries {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(world.cwd.join(path))
                .map_err(|error| Error::io(format!("reading `{}`", path.display()), &error))?;
            Some(text::statements(&text).into_iter().map(str::to_owned).collect())
        }
    };
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let limits = Limits::of(&args.limits, &settings, today)?;
    let deadline = args
        .deadline
        .map_or(Duration::from_secs_f64(limits.duration / 1000.0 * PATIENCE), Duration::from_secs);
    Ok(Plan {
        up: place.job(&words)?,
        words,
        down: down.transpose()?,
        deadline,
        limits,
        queries,
        merged: args.with.is_some().then(|| place.folder().to_owned()),
        among_clients: !args.quick,
    })
}

/// The forms that are wanted, and where each goes; one at most to stdout.
fn forms(texts: &[String]) -> Result<Vec<(Format, Option<PathBuf>)>> {
    let form = |text: &String| {
        let (name, file) =
            text.split_once('=').map_or((text.as_str(), None), |(name, file)| (name, Some(file)));
        let format = <Format as clap::ValueEnum>::from_str(name, false).map_err(|_| {
            Error::new(Kind::Usage, format!("there is no format `{name}`"))
                .hint("use text, markdown, json, github or html")
        })?;
        Ok((format, file.map(PathBuf::from)))
    };
    let forms = texts.iter().map(form).collect::<Result<Vec<_>>>()?;
    if forms.iter().filter(|(_, file)| file.is_none()).count() > 1 {
        return Err(Error::new(Kind::Usage, "only one report can go to stdout")
            .hint("give the others a file: `json=report.json`"));
    }
    Ok(forms)
}

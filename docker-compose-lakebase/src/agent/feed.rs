//! One project's gateway: found, joined by `docker exec -i`, and given a login whenever it wants one.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lakebase::compose::overlay::seat;
use lakebase::secret::Secret;
use tokio::time::{Instant, timeout};

use super::line::{Line, command};
use super::mint::{Mint, Minted};
use super::{Project, warn};

/// How often a gateway that is not there is looked for: often while `up` is making it, then rarely.
const LOOK_SOON: Duration = Duration::from_millis(150);
const LOOK_LATER: Duration = Duration::from_secs(2);
/// The same while the engine does not answer.
const LOOK_FOR_ENGINE: Duration = Duration::from_secs(5);
/// A project whose gateway was there is forgotten when it has been missing for this long.
const FORGET: Duration = Duration::from_secs(600);
/// The same for one whose gateway never was: `up` may have to build and pull images first.
const FORGET_NEW: Duration = Duration::from_secs(3600);
/// The same where the engine itself does not answer: a night with Docker Desktop closed is no reason to forget.
const FORGET_ENGINE: Duration = Duration::from_secs(24 * 3600);
/// `docker` may take this long to say which containers run.
const LIST_WITHIN: Duration = Duration::from_secs(30);
/// Two logins of a project are at least this far apart, however often its container asks for one.
const APART: Duration = Duration::from_secs(1);

/// Who is there.
enum Found {
    /// The gateway, by its container's id.
    Gateway(String),
    /// An engine without the gateway.
    Nobody,
    /// No engine that answers.
    NoEngine,
}

/// How a feed ended.
enum Ended {
    /// The gateway was never heard.
    Unheard,
    /// The gateway, or the connection to it, is gone.
    Lost,
    /// What is in its place said a line without an end.
    Endless,
    /// There is nothing more to feed it with.
    ForGood,
}

/// How long a project has been known.
pub enum Since {
    /// It was registered this moment.
    Now,
    /// An agent before this one knew it.
    Before,
}

/// Feeds the project's gateway as long as there is one, across its replacements and restarts of the engine. Ends when
/// nobody needs it any more; one that is `leaving` is not waited for once it is gone.
pub async fn tend(project: Project, token: Option<Secret>, since: Since, leaving: Arc<AtomicBool>) {
    let (mut missing, mut engine_missing) = (Instant::now(), None);
    let mint = Mint::new(project.clone(), token);
    let (mut pace, mut endless) = (Pace::default(), None);
    let mut forget = match since {
        Since::Now => FORGET_NEW,
        Since::Before => FORGET,
    };
    loop {
        let pause = match running(&project).await {
            Found::Gateway(container) => {
                engine_missing = None;
                match feed(&project, &container, &mint, &mut pace).await {
                    Ended::ForGood => return,
                    Ended::Lost => (missing, forget) = (Instant::now(), FORGET),
                    Ended::Endless => {
                        // Once: the log must not grow with it.
                        if endless.replace(container.clone()).as_ref() != Some(&container) {
                            warn(&format!(
                                "the container {container} of `{}` said a line without an end, and is no gateway; its feed was dropped",
                                project.name
                            ));
                        }
                    }
                    Ended::Unheard => {}
                }
                pause(missing.elapsed())
            }
            Found::Nobody if leaving.load(Ordering::Relaxed) => return,
            Found::Nobody => {
                engine_missing = None;
                pause(missing.elapsed())
            }
            Found::NoEngine => {
                let since = *engine_missing.get_or_insert_with(Instant::now);
                if since.elapsed() > FORGET_ENGINE {
                    return;
                }
                // An engine that comes back brings its containers a moment later.
                missing = Instant::now();
                LOOK_FOR_ENGINE
            }
        };
        if missing.elapsed() > forget {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// The longer a gateway has been missing, the more rarely it is looked for.
fn pause(missing: Duration) -> Duration {
    (missing / 20).clamp(LOOK_SOON, LOOK_LATER)
}

/// Looks for the gateway of this project and endpoint, one that runs and is not paused.
async fn running(project: &Project) -> Found {
    let name = format!("label=com.docker.compose.project={}", project.name);
    let service = format!("label=com.docker.compose.service={}", project.service);
    let endpoint = format!("label={}={}", seat::ENDPOINT, project.endpoint);
    let filters =
        [name.as_str(), &service, &endpoint, "label=com.docker.compose.oneoff=False", "status=running"];
    let mut arguments = vec!["ps", "--quiet", "--no-trunc"];
    arguments.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    let listing = command(&project.docker, &arguments).stderr(Stdio::null()).output();
    match timeout(LIST_WITHIN, listing).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().map_or(Found::Nobody, |id| Found::Gateway(id.to_owned()))
        }
        _ => Found::NoEngine,
    }
}

/// Joins a gateway and answers it until the connection ends.
async fn feed(project: &Project, container: &str, mint: &Mint, pace: &mut Pace) -> Ended {
    let Some(mut line) = Line::open(project, container) else { return Ended::Unheard };
    let ended = answer(&mut line, mint, pace).await;
    if line.is_endless() { Ended::Endless } else { ended }
}

async fn answer(line: &mut Line, mint: &Mint, pace: &mut Pace) -> Ended {
    // It speaks first.
    if line.hear().await.is_none() {
        return Ended::Unheard;
    }
    while let Some(said) = line.hear().await {
        if !said.wants_login() {
            continue;
        }
        let minting = async {
            pace.keep().await;
            mint.login().await
        };
        tokio::pin!(minting);
        let minted = loop {
            tokio::select! {
                minted = &mut minting => break minted,
                // What it wants meanwhile is what it gets. (A freeze of this process leaves many wishes behind.)
                said = line.next() => if said.is_none() { return Ended::Lost },
            }
        };
        if !line.say(&minted.line()).await {
            return Ended::Lost;
        }
        if matches!(minted, Minted::Never(_)) {
            // It hangs up when it has heard that.
            while line.hear().await.is_some() {}
            return Ended::ForGood;
        }
    }
    Ended::Lost
}

/// When the project's last login was minted, across all of its containers.
#[derive(Default)]
struct Pace(Option<Instant>);

impl Pace {
    /// Waits until the next login may be minted, which is now then.
    async fn keep(&mut self) {
        if let Some(last) = self.0 {
            tokio::time::sleep_until(last + APART).await;
        }
        self.0 = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_is_quick_at_first_and_rare_in_the_end() {
        let after = |seconds| pause(Duration::from_secs(seconds));
        assert_eq!((after(0), after(3), after(3600)), (LOOK_SOON, LOOK_SOON, LOOK_LATER));
        assert_eq!(after(20), Duration::from_secs(1));
    }
}

//! What stands between a live branch and whoever gets a login to it: the masks, the first login, and a look at the
//! migrations.

use jiff::{SignedDuration, Timestamp};

use super::session::Session;
use crate::api::Client;
use crate::ensure::{self, Live, Observation};
use crate::error::{Error, Kind, Result};
use crate::forks::ForkId;
use crate::mask::{Mark, Masks};
use crate::plan::Step;
use crate::probe::{self, Door};
use crate::sql;
use crate::ui::{self, Ui};

/// An older fork is worth a warning.
const OLD: SignedDuration = SignedDuration::from_hours(24);

/// What a Compose command wants of its branch.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// A new fork.
    pub fresh: bool,
    /// This fork, even if it tests nothing any more.
    pub keep: bool,
    /// The command's name.
    pub command: &'a str,
}

/// A branch that may be handed out, and the session that was opened on it, if one was.
pub(super) struct Admitted {
    pub live: Live,
    pub fork: ForkId,
    pub database: Option<sql::Session>,
}

impl Session {
    /// Makes the branch live from an observation, masks it where it is new, and sees that it takes logins; `fresh` makes an
    /// existing branch anew.
    ///
    /// # Errors
    /// Those of [`ensure::live`] and [`probe::probe`]; [`Kind::NotMasked`].
    pub async fn live_from(
        &self,
        client: &Client,
        seen: Observation,
        fresh: bool,
        ui: &mut Ui,
    ) -> Result<Live> {
        self.admit(client, seen, fresh, false, ui).await.map(|admitted| admitted.live)
    }

    /// The same for a Compose command: an older branch is tried as well, and has to be one that tests something.
    ///
    /// # Errors
    /// Those of [`Session::live_from`]; [`Kind::Stale`].
    pub async fn checked_from(
        &self,
        client: &Client,
        seen: Observation,
        wish: Wish<'_>,
        ui: &mut Ui,
    ) -> Result<Live> {
        let look = self.look(client, &seen, wish.fresh);
        let admitted = self.admit(client, seen, wish.fresh, true, ui).await?;
        let age = admitted.live.branch.forked.map(|at| Timestamp::now().duration_since(at));
        if let Some(age) = age.filter(|age| *age > OLD) {
            ui.warn(&format!(
                "the fork is {} old, and {} has moved on since: `docker compose lakebase --fresh {}` makes a new one",
                ui::duration(age),
                self.target.parent.branch,
                wish.command,
            ));
        }
        self.judge(look, &admitted, wish, ui).await?;
        Ok(admitted.live)
    }

    /// Begins to wake a branch that sleeps, beside what the caller does next: a login that nothing else comes of. It takes
    /// none of the caller's time, and what is wrong with it the first login tells.
    pub fn begin_to_wake(&self, client: &Client, seen: &Observation, fresh: bool) {
        let sleeps = ensure::steps(&self.target, seen, fresh).is_ok_and(|steps| steps.contains(&Step::Wake));
        // A password that stays is asked for once.
        if !sleeps || self.target.native_role.is_some() {
            return;
        }
        let (Some(branch), Some(endpoint)) = (seen.branch.clone(), seen.endpoint.clone()) else { return };
        let (session, client, user) = (self.clone(), client.clone(), seen.user.clone());
        tokio::spawn(async move {
            if let Ok(live) = ensure::login_to(&client, &session.target, (branch, endpoint), user).await {
                let _ = sql::Session::open(&session.connection(&live), session.auth.ca.as_deref()).await;
            }
        });
    }

    /// The branch, ready to be handed out. A new one is always tried, an older one if `always` says so.
    async fn admit(
        &self,
        client: &Client,
        seen: Observation,
        fresh: bool,
        always: bool,
        ui: &mut Ui,
    ) -> Result<Admitted> {
        let masks = Masks::read(&self.project.settings, &self.folder)?;
        let project_uid = seen.project.uid.clone();
        let mut live = self.make_live(client, seen, fresh, ui).await?;
        let fork = ForkId::new(&project_uid, &live.branch.uid);
        let mut database = None;
        if always || live.created || masks.is_some() {
            match self.enter(client, &mut live, ui).await {
                Ok(session) => database = Some(session),
                Err(error) if masks.is_some() => {
                    return Err(self.withhold(client, &project_uid, &live, error, ui).await);
                }
                Err(error) if error.kind == Kind::Unreachable => {
                    ui.warn(&format!("this machine can't look into the branch: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(database) = database.as_ref().filter(|_| live.created && !always) {
            self.note_birth(database, &fork, ui).await;
        }
        let unmasked = match (&masks, &database) {
            (Some(masks), Some(database)) => {
                let done = self.mask(masks, database, &live, &fork, ui).await;
                ui.rest();
                match done {
                    Ok(mark) => mark != Mark::Same,
                    Err(error) => return Err(self.withhold(client, &project_uid, &live, error, ui).await),
                }
            }
            _ => true,
        };
        if let Some(forks) = self.forks.as_ref().filter(|_| unmasked) {
            let note = forks.change(&fork, |fork| {
                fork.branch = self.target.path.to_string();
                fork.seen_unmasked = true;
            });
            if let Err(error) = note {
                ui.warn(&format!("nothing is remembered of this fork: {error}"));
            }
        }
        ui.note(&self.summary(&live));
        Ok(Admitted { live, fork, database })
    }

    /// The first login.
    async fn enter(&self, client: &Client, live: &mut Live, ui: &mut Ui) -> Result<sql::Session> {
        let settings = &self.project.settings;
        let door = Door {
            database: settings.database(),
            role: settings.session_role(),
            ca: self.auth.ca.as_deref(),
        };
        let entered = probe::probe(client, &self.target, door, live, &mut |event| ui.event(&event)).await;
        ui.rest();
        entered
    }

    /// Masks a branch that nobody has seen yet, and looks for the mark of any other.
    async fn mask(
        &self,
        masks: &Masks,
        database: &sql::Session,
        live: &Live,
        fork: &ForkId,
        ui: &mut Ui,
    ) -> Result<Mark> {
        let uid = &live.branch.uid;
        let mark = masks.mark(database, uid).await?;
        // A command that was killed before this left a branch without a mark, which nobody has been given.
        let unseen =
            || live.created || !self.forks.as_ref().is_some_and(|forks| forks.read(fork).seen_unmasked);
        let trouble = match mark {
            Mark::Same => return Ok(mark),
            Mark::None if unseen() => {
                masks.apply(database, uid, &mut |event| ui.event(&event)).await?;
                return Ok(Mark::Same);
            }
            Mark::None => "it was made before `after-branch` named a file",
            Mark::Other => "it was masked by other files than those of today, or as another role",
        };
        if masks.required {
            return Err(
                Error::new(Kind::NotMasked, format!("branch {} is not masked", self.id)).because_of(trouble)
            );
        }
        ui.warn(&format!(
            "branch {} is not masked as `after-branch` says: {trouble}; `--fresh` makes a new one",
            self.id
        ));
        Ok(mark)
    }

    /// The end of a branch that can't be handed out: one that this call made goes again.
    async fn withhold(
        &self,
        client: &Client,
        project_uid: &str,
        live: &Live,
        error: Error,
        ui: &mut Ui,
    ) -> Error {
        let fresh = "`docker compose lakebase --fresh up` makes a new one; so does `reset`";
        if !live.created {
            let causes = std::iter::once(error.message).chain(error.causes);
            let withheld = Error::new(Kind::NotMasked, format!("branch {} is not handed out", self.id));
            let withheld = Error { causes: causes.collect(), hints: error.hints, ..withheld };
            return withheld.hint(fresh);
        }
        let gone = self.undo(client, project_uid, live, ui).await;
        let end = match &gone {
            Ok(()) => "and was deleted again",
            Err(_) => "and could not be deleted",
        };
        let message = format!("the new branch {} was not masked, {end}", self.id);
        let causes = std::iter::once(error.message).chain(error.causes);
        let failure =
            Error { causes: causes.collect(), hints: error.hints, ..Error::new(Kind::NotMasked, message) };
        match gone {
            Ok(()) => failure,
            Err(why) => failure.because_of(why.to_string()).hint("run `docker compose lakebase destroy`"),
        }
    }

    /// Deletes the branch that this call made, and no other that may have its name by now.
    async fn undo(&self, client: &Client, project_uid: &str, live: &Live, ui: &mut Ui) -> Result<()> {
        let seen = ensure::observe(client, &self.target).await?;
        if seen.branch.as_ref().is_some_and(|branch| branch.uid == live.branch.uid) {
            let gone = ensure::gone_as_seen(client, &self.target, &seen, &mut |event| ui.event(&event)).await;
            ui.rest();
            gone?;
        }
        match &self.record {
            Some(record) => record.forget(project_uid, &self.id),
            None => Ok(()),
        }
    }
}

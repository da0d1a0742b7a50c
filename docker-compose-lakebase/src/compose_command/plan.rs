//! `--plan`: what a command would do, before it does it.

use lakebase::commands::session::Session;
use lakebase::ensure::Observation;
use lakebase::mask::Masks;
use lakebase::plan::Step;
use lakebase::ui;
use serde_json::{Value, json};

use super::Said;

/// Everything that is decided.
pub struct Plan<'a> {
    pub session: &'a Session,
    pub seen: &'a Observation,
    pub steps: &'a [Step],
    pub masks: Option<&'a Masks>,
    pub said: &'a Said,
    pub by_gateway: bool,
    pub command: &'a [String],
}

impl Plan<'_> {
    /// One line a step, in the order in which they are done.
    pub fn lines(&self) -> Vec<String> {
        let Self { session, seen, said, .. } = self;
        let id = &session.id;
        let mut lines: Vec<String> = self.steps.iter().map(|step| self.words(step)).collect();
        if self.steps.is_empty() {
            lines.push(format!("reuse    branch {id} as it is"));
        }
        let database = session.project.settings.database();
        lines.push(format!("login    to database {database} as {}", seen.user));
        lines.extend(self.masks.map(|masks| self.of_masks(masks)));
        lines.push(if self.by_gateway {
            format!("replace  service `{}` by a gateway to the branch", said.database)
        } else {
            format!(
                "remove   service `{}` from the model, and give DATABASE_URL to who names it",
                said.database
            )
        });
        lines.push(format!("write    {}", said.path.display()));
        lines.push(format!("run      docker compose {}", self.command.join(" ")));
        lines
    }

    fn words(&self, step: &Step) -> String {
        let (id, target) = (&self.session.id, &self.session.target);
        match step {
            Step::Create => {
                let life = ui::duration(target.ttl);
                format!("create   branch {id} from {}, for {life}", target.parent.branch)
            }
            Step::Delete => format!("delete   branch {id}, which is {}", self.state()),
            Step::Await => format!("await    branch {id}, which is {}", self.state()),
            Step::Extend(at) => format!("extend   branch {id} until {}", ui::clock(*at)),
            Step::Wake => format!("wake     the endpoint of branch {id}"),
        }
    }

    /// A new branch is masked; of another one it is seen by a login whether it was.
    fn of_masks(&self, masks: &Masks) -> String {
        let (id, files) = (&self.session.id, masks.names().collect::<Vec<_>>().join(", "));
        if self.makes_new() {
            return format!("mask     branch {id} by {files}, before anybody gets a login; else delete it");
        }
        let end = if masks.required { "is handed out to nobody" } else { "is warned of" };
        format!("check    that branch {id} is masked by {files}; one that is not {end}")
    }

    fn makes_new(&self) -> bool {
        self.steps.contains(&Step::Create)
    }

    fn state(&self) -> &str {
        self.seen.branch.as_ref().map_or("not there", |branch| branch.state.as_str())
    }

    /// The same for a machine.
    pub fn document(&self) -> Value {
        let target = &self.session.target;
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| match step {
                Step::Create => json!({
                    "step": "create", "parent": target.parent.to_string(), "ttl_seconds": target.ttl.as_secs(),
                }),
                Step::Delete => json!({"step": "delete", "state": self.state()}),
                Step::Await => json!({"step": "await", "state": self.state()}),
                Step::Extend(at) => json!({"step": "extend", "expires": at.to_string()}),
                Step::Wake => json!({"step": "wake"}),
            })
            .collect();
        json!({
            "branch_path": target.path.to_string(),
            "steps": steps,
            "user": self.seen.user,
            "mask": self.masks.map(|masks| json!({
                "after_branch": masks.names().collect::<Vec<_>>(),
                "required": masks.required,
                "step": if self.makes_new() { "run" } else { "check" },
            })),
            "service": self.said.database,
            "connect": if self.by_gateway { "gateway" } else { "direct" },
            "override_file": self.said.path,
            "command": self.command,
        })
    }
}

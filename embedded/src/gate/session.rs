//! A session at a door: bytes both ways, and between them what the gate runs for a client in its own name.

use std::io;

use lakebase_gateway::Opened;
use lakebase_gateway::proxy::Joined;

use super::privileged::{self, QUESTION, Ran};
use super::watch::{Allowed, Stand, Watch};
use crate::app::App;

/// Joins a client with its server until one of them ends. `branch` is the uid of the branch.
pub(super) async fn join(app: &App, branch: &str, opened: Opened, allowed: Allowed) -> io::Result<()> {
    let mut watch = Watch::new(allowed);
    let mut joined = Joined::new(opened.client, opened.server);
    let result = loop {
        if let Err(error) = joined.carry(&mut watch).await {
            break Err(error);
        }
        match watch.stand() {
            Stand::Over => break Ok(()),
            Stand::PassOver => {}
            Stand::Leave(held) => joined.send_up(&watch.leave(held)),
            Stand::Ask(held) => {
                joined.send_up(&watch.ask(held, QUESTION));
                continue;
            }
            Stand::Run(held, answer) => {
                let ran = privileged::run(app, branch, &opened.database, &held.wanted, &answer);
                // Boxed: it is seldom wanted, and every session would take its room.
                match Box::pin(ran).await {
                    Ran::Done => joined.send_down(&watch.end(&held, Ok(()))),
                    Ran::Failed(error) => joined.send_down(&watch.end(&held, Err(&error))),
                    Ran::NotOurs => joined.send_up(&watch.leave(held)),
                }
            }
        }
        joined.send_up(&watch.go_on());
    };
    joined.part().await;
    result
}

//! What each side's messages mean for the watch.

use lakebase_gateway::frames::{Bytes, Clip, Reader, Strings, Verdict};

use super::super::statement;
use super::{Heard, Held, How, IDLE, MAX_STATEMENT, Phase, Said, Talk};

/// Reads what the client says.
pub(super) struct Client<'a>(pub &'a mut Talk);

impl Reader for Client<'_> {
    fn begin(&mut self, kind: u8, length: usize) -> Verdict {
        let talk = &mut *self.0;
        talk.said = Said::Other;
        if talk.skipping {
            match kind {
                b'S' => talk.skipping = false,
                b'X' => {}
                _ => return Verdict::Strip,
            }
        }
        match kind {
            b'Q' => {
                talk.outstanding += 1;
                talk.executed = false;
                // What stands before it unanswered would have to be answered first.
                if !std::mem::take(&mut talk.unsynced) && length <= MAX_STATEMENT {
                    talk.said = Said::Query(Vec::new());
                    return Verdict::Hold;
                }
            }
            b'P' => {
                talk.unsynced = true;
                // A long one is none of those, but may take the name of one.
                if length <= MAX_STATEMENT || !talk.statements.is_empty() {
                    talk.said = Said::Parse(Strings::new(2, MAX_STATEMENT));
                }
            }
            b'B' => {
                talk.unsynced = true;
                if !talk.statements.is_empty() {
                    talk.said = Said::Bind(Strings::new(2, MAX_STATEMENT));
                }
            }
            b'E' => {
                talk.unsynced = true;
                if !talk.portals.is_empty() && !talk.executed && length <= MAX_STATEMENT {
                    talk.said = Said::Execute(Vec::new());
                    return Verdict::Hold;
                }
                talk.executed = true;
            }
            b'C' => {
                talk.unsynced = true;
                if !talk.statements.is_empty() {
                    talk.said = Said::Close(Strings::new(1, MAX_STATEMENT));
                }
            }
            b'S' => {
                talk.outstanding += 1;
                talk.unsynced = false;
                talk.executed = false;
            }
            b'F' => talk.outstanding += 1,
            b'D' | b'H' => talk.unsynced = true,
            _ => {}
        }
        Verdict::Pass
    }

    fn part(&mut self, part: &[u8]) -> Verdict {
        match &mut self.0.said {
            Said::Query(body) => {
                let may = if body.is_empty() {
                    statement::may_begin(part)
                } else {
                    body.extend_from_slice(part);
                    statement::may_begin(body)
                };
                if may == Some(false) {
                    self.0.said = Said::Other;
                    return Verdict::Pass;
                }
                if body.is_empty() {
                    body.extend_from_slice(part);
                }
                return Verdict::Hold;
            }
            Said::Execute(body) => {
                body.extend_from_slice(part);
                return Verdict::Hold;
            }
            Said::Parse(strings) | Said::Bind(strings) | Said::Close(strings) => strings.push(part),
            Said::Other => {}
        }
        Verdict::Pass
    }

    fn end(&mut self) -> Verdict {
        let talk = &mut *self.0;
        match std::mem::replace(&mut talk.said, Said::Other) {
            Said::Query(body) => {
                let text = body.strip_suffix(&[0]).and_then(|text| std::str::from_utf8(text).ok());
                let wanted = text.and_then(statement::recognise);
                if let Some(wanted) = wanted.filter(|wanted| (talk.allowed)(wanted.about)) {
                    talk.outstanding -= 1;
                    talk.phase = Phase::Held(Held { wanted, how: How::Query(body) });
                    return Verdict::Strip;
                }
            }
            Said::Parse(strings) => {
                let [name, text] = strings.finish();
                let (name, cut) = (name.into_text(), text.cut);
                match statement::recognise(&text.into_text()).filter(|_| !cut) {
                    Some(wanted) => {
                        talk.statements.insert(name, wanted);
                    }
                    None => {
                        talk.statements.remove(&name);
                    }
                }
            }
            Said::Bind(strings) => {
                let [portal, statement] = strings.finish().map(Clip::into_text);
                if talk.statements.contains_key(&statement) {
                    talk.portals.insert(portal, statement);
                } else {
                    talk.portals.remove(&portal);
                }
            }
            Said::Execute(body) => {
                let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
                let portal = String::from_utf8_lossy(&body[..end]).into_owned();
                let bound = talk.portals.get(&portal).and_then(|name| talk.statements.get_key_value(name));
                if let Some((statement, wanted)) = bound.filter(|(_, wanted)| (talk.allowed)(wanted.about)) {
                    let (wanted, statement) = (wanted.clone(), statement.clone());
                    talk.phase = Phase::Held(Held { wanted, how: How::Execute { body, portal, statement } });
                    return Verdict::Strip;
                }
                talk.executed = true;
            }
            Said::Close(strings) => {
                let [name] = strings.finish();
                let name = name.into_text();
                if let Some(statement) = name.strip_prefix('S') {
                    talk.statements.remove(statement);
                    talk.portals.retain(|_, bound| bound != statement);
                } else if let Some(portal) = name.strip_prefix('P') {
                    talk.portals.remove(portal);
                }
            }
            Said::Other => {}
        }
        Verdict::Pass
    }

    fn stops(&self) -> bool {
        matches!(self.0.phase, Phase::Held(_))
    }
}

/// Reads what the server says.
pub(super) struct Server<'a>(pub &'a mut Talk);

impl Reader for Server<'_> {
    fn begin(&mut self, kind: u8, _: usize) -> Verdict {
        let talk = &mut *self.0;
        let asking = matches!(talk.phase, Phase::Asking(_));
        talk.heard = Heard::Other;
        match kind {
            b'Z' => {
                talk.heard = Heard::Ready(Bytes::default());
                if asking || (talk.inserted && talk.outstanding == 1) {
                    return Verdict::Strip;
                }
            }
            b'D' if asking => {
                talk.heard = Heard::Answer;
                return Verdict::Strip;
            }
            b'1' | b'2' | b'3' | b'C' | b'E' if asking => return Verdict::Strip,
            b'E' => talk.errored = true,
            b'G' | b'W' => talk.copying = true,
            b'2' if talk.rebound => {
                talk.rebound = false;
                return Verdict::Strip;
            }
            _ => {}
        }
        Verdict::Pass
    }

    fn part(&mut self, part: &[u8]) -> Verdict {
        match &mut self.0.heard {
            Heard::Ready(bytes) => bytes.push(part),
            Heard::Answer => self.0.answer.extend_from_slice(part),
            Heard::Other => {}
        }
        Verdict::Pass
    }

    fn end(&mut self) -> Verdict {
        let talk = &mut *self.0;
        let Heard::Ready(bytes) = std::mem::replace(&mut talk.heard, Heard::Other) else {
            return Verdict::Pass;
        };
        talk.status = bytes.get().map_or(IDLE, |[status]| status);
        talk.outstanding = talk.outstanding.saturating_sub(1);
        talk.copying = false;
        talk.rebound = false;
        if talk.inserted && talk.outstanding == 0 {
            // Whether there was an error is asked when the statement's turn comes.
            talk.inserted = false;
        } else {
            talk.errored = false;
        }
        talk.phase = match std::mem::replace(&mut talk.phase, Phase::Watching) {
            Phase::Asking(held) => Phase::Answered(held, std::mem::take(&mut talk.answer)),
            other => other,
        };
        Verdict::Pass
    }
}

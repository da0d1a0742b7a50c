//! The report for machines. Times are milliseconds, sizes bytes.

use serde_json::{Value, json};

use super::Report;
use crate::stall::Stall;

/// The document.
pub fn text(report: &Report<'_>) -> String {
    format!("{:#}", document(report))
}

fn document(report: &Report<'_>) -> Value {
    let facts = report.facts;
    let up = &facts.up;
    let stall = |stall: &Stall| {
        json!({
            "client": stall.client,
            "table": up.table(stall.table),
            "ms": stall.ms,
            "from": stall.from,
            "mode": stall.mode,
            "statement": stall.statement,
        })
    };
    let holds: Vec<Value> = up
        .timeline
        .holds
        .iter()
        .filter_map(|hold| {
            let relation = up.before.relations.get(&hold.relation)?;
            Some(json!({
                "relation": relation.short(),
                "mode": hold.mode,
                "from": hold.from,
                "to": hold.to,
                "statement": hold.statement,
                "seen": hold.seen,
            }))
        })
        .collect();
    let rewrites: Vec<Value> = up
        .timeline
        .rewrites
        .iter()
        .map(|rewrite| json!({"table": up.table(rewrite.relation), "reason": rewrite.reason, "statement": rewrite.statement}))
        .collect();
    let changes: Vec<Value> = up
        .changes
        .iter()
        .filter_map(|change| {
            let object = change.object()?;
            Some(json!({"kind": object.kind, "name": object.qualified(), "change": change.word()}))
        })
        .collect();
    json!({
        "name": facts.name,
        "answer": report.verdict.answer,
        "exit_code": report.verdict.answer.exit_code(),
        "sentence": report.verdict.sentence,
        "lines": report.verdict.lines,
        "notes": report.verdict.notes,
        "limits": report.limits,
        "pending": facts.pending,
        "heads": facts.heads,
        "edited": facts.edited,
        "run": {
            "ended": up.ended,
            "ms": up.ms,
            "failure": up.failure,
            "wal": up.wal(),
            "growth": up.growth(),
            "temporary": up.temporary(),
            "scanned": up.scanned().into_iter().map(|oid| up.table(oid)).collect::<Vec<_>>(),
            "statements": up.timeline.statements,
            "statements_left_out": up.timeline.left_out,
            "locks": holds,
            "rewrites": rewrites,
            "dropped": up.timeline.dropped,
            "changes": changes,
            "left": up.left,
        },
        "stalls": {
            "computed": up.stalls.iter().map(stall).collect::<Vec<_>>(),
            "measured": facts.measured.as_ref().map(|all| all.iter().map(stall).collect::<Vec<_>>()),
        },
        "queue": facts.queue,
        "again": facts.again,
        "down": facts.down,
        "queries": facts.queries,
        "sensors": facts.sensors,
        "unseen": facts.unseen,
    })
}

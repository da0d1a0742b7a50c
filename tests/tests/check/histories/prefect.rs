//! What `check` says of prefect's history, each read by hand.

use super::{Application, Verdict};

/// prefect's server.
pub const PREFECT: Application = Application {
    name: "prefect",
    requirements: "prefect==3.8.8\nalembic==1.20.1\nSQLAlchemy==2.1.9\nasyncpg==0.32.0\n",
    module: include_str!("prefect_history.py"),
    program: "alembic",
    apply: &["upgrade", "head"],
    files: &[("alembic.ini", INI)],
    steps: 118,
    verdicts: VERDICTS,
};

/// prefect's own environment, and the revisions of this checkout.
const INI: &str = "[alembic]
script_location = prefect:server:database:_migrations
version_locations = %(here)s/db/versions
path_separator = os
";

const VERDICTS: &[Verdict] = &[
    ("d9d98a9ebb6f", 1, "renames the table `block_data`, which the application before it reads"),
    ("4799f657a6a1", 1, "its downgrade makes the unique index `ix_block_data__name` without UNIQUE"),
    ("b68b3cad6b8a", 2, "adds `block.block_spec_id` NOT NULL without a default: every row is in the way"),
    ("d38c5e6a9115", 1, "renames the tables `block` and `block_spec`, which the application before it reads"),
    ("1c9390e2f9c6", 2, "gives two block specs with the same fields the same checksum, which must be unique"),
    ("724e6dcc6b5d", 1, "drops `block_schema.type`, which the application before it reads"),
    ("cdcb4018dd0e", 1, "renames two tables of alerts, which the application before it reads"),
    (
        "2f46fc3f3beb",
        1,
        "drops `flow_run_notification_policy.name`, and its downgrade adds it NOT NULL without a default",
    ),
    ("0f27d462bf6d", 1, "drops a column of `block_document`, which the application before it reads"),
    ("0cf7311d6ea6", 1, "adds a value to an enum, which nothing takes away: its downgrade is `pass`"),
    (
        "e085c9cbf8ce",
        1,
        "drops columns of `deployment` and `flow_run`, which the application before it reads",
    ),
    ("4ff2f2bf81f4", 1, "its downgrade makes the unique index `uq_block_type__name` without UNIQUE"),
    ("2d5e000696f1", 1, "its downgrade makes the unique index `uq_block_schema__checksum` without UNIQUE"),
    ("5e4f924ff96c", 1, "adds a value to an enum, which nothing takes away: its downgrade is `pass`"),
    ("d481d5058a19", 1, "drops the worker pools' tables and columns, which the application before it reads"),
    ("9326a6aee18b", 1, "adds a value to an enum, which nothing takes away: its downgrade is `pass`"),
    ("2882cd2df465", 2, "gives a state that has an artifact another one, then wants the one that it has"),
    (
        "2882cd2df466",
        1,
        "drops columns that the application before it reads, and its downgrade leaves two foreign keys out",
    ),
    (
        "0a1250a5aa25",
        1,
        "drops columns of `deployment` and `flow_run`, which the application before it reads",
    ),
    ("f98ae6d8e2cc", 1, "its downgrade deletes every work pool, those that were there before it too"),
    (
        "2a88656f4a23",
        1,
        "drops the table `work_pool_queue`, and its downgrade undoes a NOT NULL that was there before it",
    ),
    ("7c453555d3a5", 2, "a foreign key over rows without a partner"),
    ("8905262ec07f", 1, "its downgrade leaves the enum `worker_status`"),
    (
        "7495a5013e7e",
        2,
        "adds `automation_event_follower.scope` NOT NULL without a default: every row is in the way",
    ),
    (
        "5d03c01be85e",
        1,
        "drops columns of `deployment` and `deployment_schedule`, which the application before it reads",
    ),
    (
        "4160a4841eed",
        1,
        "drops the tables of notifications, and its downgrade makes a foreign key under another name",
    ),
];

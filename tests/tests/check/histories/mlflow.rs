//! What `check` says of mlflow's history, each read by hand.

use super::{Application, Verdict};

/// mlflow's tracking server, as its package without the machine learning has it.
pub const MLFLOW: Application = Application {
    name: "mlflow",
    requirements: "mlflow-skinny==3.17.2\nalembic==1.20.1\nSQLAlchemy==2.0.58\npsycopg2-binary==2.9.13\n",
    module: include_str!("mlflow_history.py"),
    program: "alembic",
    apply: &["upgrade", "head"],
    files: &[
        ("alembic.ini", "[alembic]\nscript_location = db\n"),
        ("db/env.py", ENV),
        ("db/script.py.mako", ""),
    ],
    steps: 67,
    verdicts: VERDICTS,
};

/// mlflow's own environment, which wants to be told its database.
const ENV: &str = "
import os
from importlib.resources import files
from alembic import context
url = os.environ['DATABASE_URL'].replace('postgresql://', 'postgresql+psycopg2://', 1)
context.config.set_main_option('sqlalchemy.url', url.replace('%', '%%'))
exec(files('mlflow.store.db_migrations').joinpath('env.py').read_text())
";

const VERDICTS: &[Verdict] = &[
    ("451aebb31d03", 1, "its downgrade is `pass`: `metrics.step` stays, and the primary key is with it"),
    ("181f10493468", 1, "its downgrade is `pass`: `metrics.is_nan` stays, and the primary key is with it"),
    ("df50e92ffc5e", 1, "its downgrade is `pass`: the table `experiment_tags` stays"),
    ("7ac759974ad8", 1, "its downgrade is `pass`: `tags.value` stays as wide"),
    (
        "2b4d017a5e9b",
        1,
        "its downgrade drops `registered_models` before `model_versions`, which refers to it, and fails",
    ),
    ("cfd24bdc0731", 1, "its downgrade is left out: `runs.status` keeps the new type and its new constraint"),
    ("728d730b5ebd", 1, "its downgrade is `pass`: the table `registered_model_tags` stays"),
    ("27a6a02d2cf1", 1, "its downgrade is `pass`: the table `model_version_tags` stays"),
    ("84291f40a231", 1, "its downgrade is `pass`: `model_versions.run_link` stays"),
    ("a8c4a736bde6", 1, "its downgrade is `pass`: `model_versions.run_id` may still be null"),
    ("bd07f7e963c5", 1, "its downgrade is `pass`: four indexes stay, and up would be refused a second time"),
    ("0c779009ac13", 1, "its downgrade is `pass`: `runs.deleted_time` stays"),
    ("cc1f77228345", 1, "its downgrade is `pass`: `params.value` stays as wide"),
    ("97727af70f4d", 1, "its downgrade is `pass`: two columns of `experiments` stay"),
    ("3500859a5d39", 1, "its downgrade is `pass`: the table `registered_model_aliases` stays"),
    ("7f2a7d5fae7d", 1, "its downgrade is `pass`: three tables stay"),
    ("2d6e25af4d3e", 1, "its downgrade is `pass`: `params.value` stays as wide"),
    ("acf3f17fdcc7", 1, "its downgrade is `pass`: `model_versions.storage_location` stays"),
    ("867495a8f9d4", 1, "its downgrade is `pass`: three tables stay"),
    ("5b0e9adcef9c", 1, "its downgrade is `pass`: two foreign keys go on deleting"),
    ("f5a4f2784254", 1, "its downgrade is `pass`: `tags.value` stays as wide"),
    ("0584bdc529eb", 1, "its downgrade is `pass`: a foreign key has another name and deletes"),
    ("400f98739977", 1, "its downgrade is `pass`: four tables stay"),
    ("6953534de441", 1, "its downgrade is `pass`: `inputs.step` stays"),
    ("bda7b8c39065", 1, "its downgrade is `pass`: `model_version_tags.value` stays as wide"),
    ("5d2d30f0abce", 1, "renames `jobs.function_fullname`, which the application before it reads"),
    ("1b5f0d9ad7c1", 1, "its downgrade makes the unique constraint of `experiments` under another name"),
    ("17e22815139b", 1, "its downgrade is `pass`: `experiment_tags.value` stays as wide"),
    ("75868b020152", 1, "drops `spans.dimension_attributes`, which the application before it reads"),
];

//! What `check` says of wagtail's history, each read by hand.

use super::{Application, Verdict};

/// wagtail with all its applications, and what it needs of Django and taggit.
pub const WAGTAIL: Application = Application {
    name: "wagtail",
    requirements: "wagtail==8.0.1\nDjango==5.2.19\npsycopg[binary]==3.3.9\n",
    module: include_str!("wagtail_history.py"),
    program: "python",
    apply: &["manage.py", "migrate", "--noinput"],
    files: &[("manage.py", ""), ("settings.py", SETTINGS)],
    steps: 187,
    verdicts: VERDICTS,
};

/// The migrations of all of them are the project's own.
const SETTINGS: &str = "
SECRET_KEY = 'x'
STATIC_URL = '/static/'
USE_TZ = True
DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'
DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql'}}
WAGTAIL = ['contrib.forms', 'contrib.redirects', 'contrib.search_promotions', 'contrib.simple_translation', 'contrib.settings',
    'embeds', 'sites', 'users', 'snippets', 'documents', 'images', 'search', 'admin']
INSTALLED_APPS = [f'wagtail.{name}' for name in WAGTAIL] + ['wagtail', 'modelcluster', 'taggit', 'django.contrib.auth',
    'django.contrib.contenttypes', 'django.contrib.sessions', 'django.contrib.messages', 'django.contrib.staticfiles']
LABELS = ['wagtailcore', 'wagtailadmin', 'wagtaildocs', 'wagtailembeds', 'wagtailforms', 'wagtailimages', 'wagtailredirects',
    'wagtailsearch', 'wagtailsearchpromotions', 'wagtailusers', 'simple_translation', 'taggit', 'auth', 'contenttypes', 'sessions']
MIGRATION_MODULES = {label: f'history.{label}.migrations' for label in LABELS}
";

const VERDICTS: &[Verdict] = &[
    (
        "contenttypes.0002_remove_content_type_name",
        1,
        "drops `django_content_type.name`, which the application before it reads",
    ),
    (
        "wagtailcore.0025_collection_initial_data",
        1,
        "its way back leaves the root collection, which up makes once more",
    ),
    ("wagtailcore.0027_fix_collection_path_collation", 1, "its way back leaves the new collation"),
    (
        "wagtailcore.0045_assign_unlock_grouppagepermission",
        1,
        "its way back leaves the permissions, which up gives once more",
    ),
    ("wagtailcore.0048_add_default_workflows", 2, "gives a page a workflow that has one"),
    ("wagtailcore.0054_initial_locale", 1, "its way back leaves the locale, which up makes once more"),
    ("wagtailcore.0059_apply_collection_ordering", 2, "reads numbers from paths that are none"),
    ("wagtailcore.0067_alter_pagerevision_content_json", 2, "makes JSON of texts that are none"),
    ("wagtailcore.0069_log_entry_jsonfield", 2, "makes JSON of texts that are none"),
    (
        "wagtailcore.0070_rename_pagerevision_revision",
        1,
        "renames the table of revisions, which the application before it reads",
    ),
    (
        "wagtailcore.0072_alter_revision_content_type_notnull",
        2,
        "wants a type of revisions whose JSON names none",
    ),
    (
        "wagtailcore.0075_populate_latest_revision_and_revision_object_str",
        2,
        "wants a title of revisions whose JSON has none",
    ),
    (
        "wagtailcore.0079_rename_taskstate_page_revision",
        1,
        "renames `wagtailcore_taskstate.page_revision_id`, which the application before it reads",
    ),
    (
        "wagtailcore.0080_generic_workflowstate",
        1,
        "renames `wagtailcore_workflowstate.page_id`, which the application before it reads",
    ),
    (
        "wagtailcore.0090_remove_grouppagepermission_permission_type",
        1,
        "drops a column that the application before it reads",
    ),
    (
        "wagtailcore.0091_remove_revision_submitted_for_moderation",
        1,
        "drops a column that the application before it reads",
    ),
    (
        "wagtaildocs.0011_add_choose_permissions",
        1,
        "its way back fails: it asks for a permission by one of another moment's class",
    ),
    ("wagtaildocs.0013_delete_uploadeddocument", 1, "drops a table that the application before it reads"),
    ("wagtailforms.0005_alter_formsubmission_form_data", 2, "makes JSON of texts that are none"),
    (
        "wagtailimages.0023_add_choose_permissions",
        1,
        "its way back fails: it asks for a permission by one of another moment's class",
    ),
    ("wagtailimages.0026_delete_uploadedimage", 1, "drops a table that the application before it reads"),
    (
        "wagtailredirects.0004_set_unique_on_path_and_site",
        1,
        "its way back makes a unique constraint under another name",
    ),
    (
        "wagtailsearch.0006_customise_indexentry",
        2,
        "adds columns NOT NULL without a default: every row is in the way",
    ),
    ("wagtailsearch.0007_delete_editorspick", 1, "drops a table that the application before it reads"),
    (
        "wagtailsearch.0008_remove_query_and_querydailyhits_models",
        1,
        "drops two tables that the application before it reads",
    ),
];

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
];

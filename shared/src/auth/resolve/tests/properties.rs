//! The decision as properties: no secret of elsewhere, no guess, no panic.

use proptest::prelude::*;

use super::*;

/// A value whose place can be told from it.
fn fields(place: &'static str) -> impl Strategy<Value = Vec<(&'static str, &'static str, String)>> {
    let all = [
        ("DATABRICKS_HOST", "host", format!("https://{place}")),
        ("DATABRICKS_TOKEN", "token", format!("tok-{place}")),
        ("DATABRICKS_CLIENT_ID", "client_id", format!("id-{place}")),
        ("DATABRICKS_CLIENT_SECRET", "client_secret", format!("sec-{place}")),
        ("DATABRICKS_AUTH_TYPE", "auth_type", "pat".to_owned()),
        ("DATABRICKS_AUTH_TYPE", "auth_type", "oauth-m2m".to_owned()),
        ("DATABRICKS_AUTH_TYPE", "auth_type", "databricks-cli".to_owned()),
        ("ARM_CLIENT_ID", "azure_client_id", format!("id-{place}")),
    ];
    let one_type = |fields: Vec<(&'static str, &'static str, String)>| {
        let mut seen = Vec::new();
        fields
            .into_iter()
            .filter(|(name, ..)| {
                !seen.contains(name) && {
                    seen.push(*name);
                    true
                }
            })
            .collect()
    };
    prop::sample::subsequence(all.to_vec(), 0..=8).prop_map(one_type)
}

fn section(name: &str, fields: &[(&str, &str, String)]) -> String {
    let lines: String = fields.iter().map(|(_, key, value)| format!("{key} = {value}\n")).collect();
    format!("[{name}]\n{lines}")
}

proptest! {
    #[test]
    fn a_secret_never_comes_from_elsewhere(
        env in fields("env"),
        default in fields("default"),
        team in fields("team"),
        explicit in prop::option::of(prop::sample::select(vec!["team", "DEFAULT", "gone", EMBEDDED])),
        by_variable in prop::option::of(prop::sample::select(vec!["team", "DEFAULT", "gone"])),
        default_profile in prop::option::of(prop::sample::select(vec!["team", "gone"])),
    ) {
        let settings = default_profile.map(|name| format!("[__settings__]\ndefault_profile = {name}\n"));
        let file = format!("{}{}{}", settings.unwrap_or_default(), section("DEFAULT", &default), section("team", &team));
        let mut variables: Vec<_> = env.iter().map(|(name, _, value)| (*name, value.as_str())).collect();
        variables.extend(by_variable.map(|name| ("DATABRICKS_CONFIG_PROFILE", name)));
        let says = |name: &str| env.iter().any(|(variable, ..)| *variable == name);
        let silent = !["DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET", "ARM_CLIENT_ID"].iter().any(|name| says(name));
        // The one section that may have a say, and whether the environment may.
        let profile = explicit.or(by_variable).or(silent.then(|| default_profile.unwrap_or("DEFAULT")));
        let places = match (explicit, profile) {
            (Some(_), Some(profile)) => vec![profile.to_lowercase()],
            (_, profile) => profile.map(str::to_lowercase).into_iter().chain(["env".to_owned()]).collect(),
        };
        match ask(explicit, &variables, Some(&file)) {
            Ok(decision) => {
                let line = told(&decision);
                for place in ["env", "default", "team"].iter().filter(|place| !places.iter().any(|it| it == *place)) {
                    prop_assert!(!line.contains(&format!("-{place}")) && !line.contains(&format!("//{place}")), "{}", line);
                }
                // A secret of a profile goes to the profile's own workspace, if it names one.
                for (name, fields) in [("team", &team), ("default", &default)] {
                    let own = fields.iter().any(|(_, key, _)| *key == "host");
                    let used = line.contains(&format!("tok-{name}")) || line.contains(&format!("sec-{name}"));
                    prop_assert!(!(used && own) || decision.host == format!("https://{name}"), "{}", line);
                }
                is_discreet(&format!("{:?} {}", decision.reasons, decision.source));
            }
            Err(error) => is_discreet(&format!("{error:?}")),
        }
    }

    #[test]
    fn two_families_without_a_choice_are_an_error(
        mut env in fields("env"),
        mut team in fields("team"),
        by_variable in any::<bool>(),
    ) {
        for fields in [&mut env, &mut team] {
            fields.retain(|(_, key, _)| *key != "auth_type");
        }
        let mut variables: Vec<_> = env.iter().map(|(name, _, value)| (*name, value.as_str())).collect();
        let mut counted: Vec<&str> = env.iter().map(|(_, key, _)| *key).collect();
        if by_variable {
            variables.push(named("team"));
            counted.extend(team.iter().map(|(_, key, _)| *key));
        }
        let pat = counted.contains(&"token");
        let oauth = counted.contains(&"client_id") || counted.contains(&"client_secret");
        let azure = counted.contains(&"azure_client_id");
        let several = [pat, oauth, azure].iter().filter(|is| **is).count() > 1;
        let said = ask(None, &variables, Some(&section("team", &team)));
        let clash = said.as_ref().is_err_and(|error| error.message.contains("credentials are set"));
        prop_assert_eq!(clash, several, "{:?}", said);
        prop_assert!(!clash || said.is_err_and(|error| error.kind == Kind::BadConfig));
    }

    #[test]
    fn no_input_makes_it_panic(
        env in prop::collection::vec((prop::sample::select(vec![
            "DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET",
            "DATABRICKS_AUTH_TYPE", "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE", "HOME", "DATABRICKS_CLI_PATH",
        ]), ".{0,12}"), 0..6),
        profile in prop::option::of(".{0,8}"),
        text in "[\\[\\]a-z_=:#; \n\u{e4}]{0,60}",
    ) {
        let origin = Origin::Flag;
        let setting = profile.map(|value| Setting { value, origin });
        let env: Env = env.into_iter().collect();
        let file = Profiles::parse(Path::new(FILE), &text).ok();
        let asked = Asked { profile: setting.as_ref(), variables: &env, file: file.as_ref() };
        let (once, again) = (decide(&asked).map_err(|error| error.to_string()), decide(&asked));
        prop_assert_eq!(once, again.map_err(|error| error.to_string()));
    }
}

//! What the Compose face adds to `doctor`: Docker, Compose and its model, the front doors, the gateway and the agent.

mod doors;

use std::path::Path;
use std::time::Duration;

use lakebase::commands::doctor::check::{Check, skipped};
use lakebase::commands::doctor::{Known, programs};
use lakebase::compose::overlay::seat;
use lakebase::config::Connect;
use lakebase::error::Result;
use tokio::time::timeout;

use crate::agent;
use crate::call::Call;
use crate::compose_command::examine::{self, Examined};
use crate::gateway;
use crate::real::Real;

/// Compose and the engine are asked for this long.
const WITHIN: Duration = Duration::from_secs(12);

/// The findings of this face.
pub async fn checks(call: &Call, known: Known<'_>) -> Vec<Check> {
    let docker = which::which("docker").ok();
    let (of_docker, of_compose, of_doors) = tokio::join!(
        programs::engine(docker.as_deref(), &call.docker),
        of_compose(call, known, docker.as_deref()),
        doors::checks(call, known.env),
    );
    let mut checks = of_docker;
    let [of_compose, of_gateway] = of_compose;
    checks.extend(of_compose);
    checks.extend(of_doors);
    checks.extend(of_gateway);
    checks
}

/// The findings about Compose and the project's model; and those about the gateway, which need the first.
async fn of_compose(call: &Call, known: Known<'_>, docker: Option<&Path>) -> [Vec<Check>; 2] {
    let of_gateway = [("gateway.image", "the gateway's image"), ("agent", "the agent that renews logins")];
    let of_model = [("compose.model", "the Compose project")];
    let real = match Real::find(call, known.env) {
        Ok(real) => real,
        Err(error) => {
            let why = "Docker or Compose is missing";
            let version = match docker {
                Some(_) => Check::failed("compose.version", &error),
                None => Check::skip("compose.version", "Docker Compose", "Docker is not installed"),
            };
            let mut checks = vec![version];
            checks.extend(skipped(&of_model, why));
            return [checks, skipped(&of_gateway, why)];
        }
    };
    let (program, arguments) = real.call(["version", "--short"]);
    let examined = async {
        let settings = known.settings?;
        let examined = examine::examine(&real, call, settings, known.env, known.cwd);
        timeout(WITHIN, examined).await.ok()
    };
    let (version, examined) = tokio::join!(programs::compose(program, arguments), examined);
    let mut checks = vec![version];
    let Some(settings) = known.settings else {
        let why = "the configuration can't be read";
        checks.extend(skipped(&of_model, why));
        return [checks, skipped(&of_gateway, why)];
    };
    checks.push(match &examined {
        Some(examined) => model(examined),
        None => Check::skip("compose.model", of_model[0].1, "Compose does not answer"),
    });
    let project = examined.and_then(Result::ok).flatten();
    if !matches!(settings.connect(), Ok(Connect::Gateway)) {
        return [checks, skipped(&of_gateway, "`connect` is not `gateway`")];
    }
    let (image, agent) = tokio::join!(image(&real, known), agent(&real, known, project.as_ref()));
    [checks, vec![image, agent]]
}

fn model(examined: &Result<Option<Examined>>) -> Check {
    let id = "compose.model";
    match examined {
        Err(error) => Check::failed(id, error),
        Ok(None) => Check::warn(id, "there is no Compose file in this folder or above, and `up` needs one")
            .cure("change to the project's folder; `env`, `psql` and `status` do without"),
        Ok(Some(examined)) => {
            let what = format!(
                "Compose project {}: the branch takes the place of the service {}",
                examined.project, examined.database
            );
            let check = if let Some(trouble) = &examined.trouble {
                Check::failed(id, trouble)
            } else if examined.is_published {
                Check::warn(id, format!("{what}, which is published to the network"))
                    .cure("write `127.0.0.1:` before the port, or the local password opens the branch to whoever has it")
            } else if let Some(why) = &examined.broken_profile {
                Check::warn(id, format!("{what}; an inactive profile is broken: {why}"))
                    .cure("correct the Compose file")
            } else {
                Check::ok(id, what)
            };
            check.with("project", examined.project.as_str()).with("service", examined.database.as_str())
        }
    }
}

/// Whether the gateway's image was prepared, and where it is.
async fn image(real: &Real, known: Known<'_>) -> Check {
    let id = "gateway.image";
    let name = match gateway::image(known.env) {
        Ok(name) => name,
        Err(error) => return Check::failed(id, &error),
    };
    let inspect = ["image", "inspect", "--format", "{{.Id}}", &name];
    match timeout(WITHIN, real.docker(&inspect)).await {
        Ok(Ok(_)) => Check::ok(id, format!("the gateway's image {name} is in the engine")),
        _ => Check::ok(id, format!("the gateway's image {name} is prepared; `up` brings it to the engine")),
    }
}

/// Whether the agent runs; where this project has a gateway, it must.
async fn agent(real: &Real, known: Known<'_>, project: Option<&Examined>) -> Check {
    let id = "agent";
    if let Some(pid) = agent::process(known.env) {
        return Check::ok(id, format!("the agent that renews logins runs (process {pid})"));
    }
    let running = match project {
        Some(project) => {
            let name = format!("label=com.docker.compose.project={}", project.project);
            let gateway = format!("label={}", seat::ENDPOINT);
            let list = ["ps", "--quiet", "--filter", &name, "--filter", &gateway];
            let listed = timeout(WITHIN, real.docker(&list)).await;
            listed.is_ok_and(|listed| listed.is_ok_and(|ids| !ids.trim().is_empty()))
        }
        None => false,
    };
    if running {
        return Check::fail(id, "the gateway runs, but not the agent that brings it logins")
            .cure("run `docker compose lakebase up`, `start` or `restart`");
    }
    Check::ok(id, "the agent that renews logins is not needed now; `up` starts it")
}

#[cfg(test)]
mod tests {
    use lakebase::commands::doctor::check::Status;
    use lakebase::error::{Error, Kind};

    use super::*;

    #[test]
    fn a_model_says_who_gives_up_the_seat_and_what_is_wrong_with_that() {
        let examined = || Examined {
            project: "shop".into(),
            database: "db".into(),
            is_published: false,
            trouble: None,
            broken_profile: None,
        };
        let status = |examined| model(&Ok(examined)).status;
        assert_eq!(status(Some(examined())), Status::Ok);
        assert_eq!(status(None), Status::Warn);
        assert_eq!(status(Some(Examined { is_published: true, ..examined() })), Status::Warn);
        assert_eq!(status(Some(Examined { broken_profile: Some("x".into()), ..examined() })), Status::Warn);
        let trouble = Some(Error::new(Kind::Unsupported, "no"));
        assert_eq!(status(Some(Examined { trouble, ..examined() })), Status::Fail);
        assert_eq!(model(&Err(Error::new(Kind::NoModel, "no"))).status, Status::Fail);
    }
}

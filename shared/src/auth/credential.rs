//! A credential of unified auth, as it was chosen and before it is used.

use super::fields;
use crate::secret::Secret;

/// The ways to a token that are known here, by their names in unified auth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// A personal access token.
    Pat,
    /// A service principal with an OAuth secret.
    OauthM2m,
    /// A service principal that trusts a repository of GitHub.
    GithubOidc,
    /// The Databricks CLI, which somebody logged in with.
    DatabricksCli,
    /// The Azure CLI, the same.
    AzureCli,
}

impl AuthType {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::Pat, Self::OauthM2m, Self::GithubOidc, Self::DatabricksCli, Self::AzureCli];

    /// The value of `auth_type` and `DATABRICKS_AUTH_TYPE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pat => "pat",
            Self::OauthM2m => "oauth-m2m",
            Self::GithubOidc => "github-oidc",
            Self::DatabricksCli => "databricks-cli",
            Self::AzureCli => "azure-cli",
        }
    }

    /// The family of fields that it needs.
    pub(super) fn family(self) -> Option<&'static str> {
        match self {
            Self::Pat => Some(fields::PAT),
            Self::OauthM2m | Self::GithubOidc => Some(fields::OAUTH),
            Self::DatabricksCli | Self::AzureCli => None,
        }
    }
}

/// A credential, or what one is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The embedded Lakebase's own token.
    Embedded,
    /// The token itself.
    Token(Secret),
    /// A service principal.
    Client {
        /// Its application id.
        id: String,
        /// Its OAuth secret.
        secret: Secret,
        /// What its tokens are for.
        scopes: String,
    },
    /// A service principal that trusts the job that we run in.
    Github {
        /// Its application id.
        id: String,
        /// Whom the job's own token is made out to, where that is said.
        audience: Option<String>,
        /// Where the job asks for it.
        url: String,
        /// What it asks with.
        token: Secret,
        /// What its tokens are for.
        scopes: String,
    },
    /// The Databricks CLI.
    DatabricksCli {
        /// The program as it is named: a path, or a name on PATH.
        program: String,
        /// The profile that it shall use, else the workspace's host.
        profile: Option<String>,
    },
    /// The Azure CLI.
    AzureCli,
}

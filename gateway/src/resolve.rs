//! Host names to addresses, without libc: a static glibc binary has no `getaddrinfo`.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use thiserror::Error;

/// Why a name has no address.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ResolveError(#[from] NetError);

/// Resolves names by the hosts file first and the system's name servers after. Clones share a cache.
#[derive(Clone)]
pub struct Resolver(Arc<TokioResolver>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`, now and not again. Without a readable `resolv.conf` only names in the
    /// hosts file have an address.
    pub fn system() -> Result<Self, ResolveError> {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
            TokioResolver::builder_with_config(
                ResolverConfig::from_parts(None, vec![], vec![]),
                TokioRuntimeProvider::default(),
            )
        });
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Always;
        // Most containers have no route for IPv6: it is asked for where a name has nothing else.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        Ok(Self(Arc::new(builder.build()?)))
    }

    /// Every address of `host`, in the order of the answer; an address gives itself.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        Ok(self.0.lookup_ip(host).await?.iter().collect())
    }

    /// Forgets what was answered before, for a server that moved.
    pub fn forget(&self) {
        self.0.clear_cache();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_hosts_file_is_read_and_an_address_is_its_own() {
        let resolver = Resolver::system().unwrap();
        // every hosts file has localhost
        assert!(resolver.addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert_eq!(resolver.addresses("192.0.2.7").await.unwrap(), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    }
}

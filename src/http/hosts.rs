//! Hosts that runs may point at. Whoever may create a deployment can name an address: without a rule, the functions would ask
//! for them what only they can reach, such as what lies in their VPC or on their own machine.

use super::{Http, Options};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

/// What AWS's own endpoints of the services that runs are launched by are called, before the region.
const AWS_SERVICES: [&str; 6] = ["ecs", "ecs-fips", "ec2", "ec2-fips", "sts", "sts-fips"];

/// Ends of the names of AWS's own endpoints.
const AWS_ENDS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

/// Why a host is not asked, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostRefusal(String);

/// The hosts that a configuration names for runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedHosts(Option<Vec<String>>);

impl AllowedHosts {
    /// These: names, `*.` and the end of names, or addresses; `None` = whatever is public.
    pub fn new(hosts: Option<Vec<String>>) -> Self {
        Self(hosts.map(|hosts| hosts.iter().map(|host| host.to_ascii_lowercase()).collect()))
    }

    /// Whether the configuration names this host: then it may lie anywhere.
    fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').trim_matches(['[', ']']).to_ascii_lowercase();
        self.0.iter().flatten().any(|allowed| match allowed.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => *allowed == host,
        })
    }

    /// Whether a document may be asked for at this address, as far as the address tells. What its host's name leads to is looked
    /// at when it is asked ([`RunHttp`]).
    fn check(&self, url: &str) -> Result<(), HostRefusal> {
        let host = host_of(url)?;
        if self.names(&host) {
            return Ok(());
        }
        match (&self.0, address_of(&host)) {
            (Some(_), _) => Err(HostRefusal(format!("the host {host} is not among the agent's `allowed_hosts`"))),
            (None, Some(address)) if !is_public(address) => Err(not_public(&host)),
            (None, _) => Ok(()),
        }
    }

    /// The same for an endpoint of AWS: where nothing is configured, only AWS's own.
    pub fn check_endpoint(&self, url: &str) -> Result<(), HostRefusal> {
        let host = host_of(url)?;
        let service = host.split('.').next().unwrap_or_default();
        let is_aws = AWS_SERVICES.contains(&service) && AWS_ENDS.iter().any(|end| host.ends_with(end));
        if is_aws || self.names(&host) {
            return Ok(());
        }
        Err(HostRefusal(format!("the host {host} is neither AWS's own nor among the agent's `allowed_hosts`")))
    }

    /// Resolves names to addresses that may be asked, each time anew: what a name meant when it was looked at counts for nothing.
    /// `proxies`: hosts of proxies, which may lie anywhere, and resolve themselves what they are asked for.
    fn resolver(&self, proxies: Vec<String>) -> Arc<dyn Resolve> {
        Arc::new(Resolver { hosts: self.clone(), proxies: Self(Some(proxies)) })
    }
}

fn not_public(host: &str) -> HostRefusal {
    HostRefusal(format!(
        "the host {host} is no public one: where runs may point at it, name it in the agent's `allowed_hosts`"
    ))
}

fn host_of(url: &str) -> Result<String, HostRefusal> {
    let url = Url::parse(url).map_err(|error| HostRefusal(format!("it is no address: {error}")))?;
    url.host_str().map(str::to_owned).ok_or_else(|| HostRefusal("the address names no host".to_owned()))
}

/// The address that a host of a parsed URL is; `None` = it is a name.
fn address_of(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// Hosts of the proxies that the client takes from the environment of the process.
fn proxies() -> Vec<String> {
    const VARIABLES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let set = VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
    set.filter_map(|url| host_of(&url).or_else(|_| host_of(&format!("http://{url}"))).ok()).collect()
}

struct Resolver {
    hosts: AllowedHosts,
    proxies: AllowedHosts,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let may_be_anywhere = self.hosts.names(&name) || self.proxies.names(&name);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| may_be_anywhere || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(not_public(&name).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether everybody reaches the same there: neither this machine, nor a network of somebody's own, nor what is reserved. What
/// carries an IPv4 address in it is where that is.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_reserved = a == 0 || a >= 240 || matches!((a, b, c), (192, 0, 0) | (192, 88, 99));
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_for_benchmarks = a == 198 && (b == 18 || b == 19);
    !(is_reserved
        || is_shared
        || is_for_benchmarks
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4() {
        return is_public_v4(inner);
    }
    let [first, second, third, .., seventh, eighth] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (first, second) {
        // NAT64, and 6to4.
        (0x64, 0xff9b) => v4(seventh, eighth),
        (0x2002, _) => v4(second, third),
        // Documentation, Teredo and other protocols.
        (0x2001, 0xdb8 | 0..=0x1ff) | (0x3fff, 0..=0xfff) => false,
        _ => (0x2000..=0x3fff).contains(&first),
    }
}

/// A pattern of hosts as a configuration has it, or what may be written instead.
pub fn host_pattern(text: &str) -> Result<String, &'static str> {
    const ALLOWED: &str = "the name of a host, *. and the end of names, or an address, without scheme, port and path";
    if let Ok(address) = text.parse::<IpAddr>() {
        // As parsed addresses are written.
        return Ok(address.to_string());
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.split('.').all(is_part) { Ok(text.to_ascii_lowercase()) } else { Err(ALLOWED) }
}

/// The way to addresses that runs name: of those, only what is allowed is asked. The client is made for the first run that names
/// one; most agents never need it.
#[derive(Debug)]
pub struct RunHttp {
    hosts: AllowedHosts,
    ca_pem: Option<String>,
    made: OnceLock<Http>,
}

impl RunHttp {
    /// Over the network. `ca_pem`: as of [`Http::network`].
    pub fn network(hosts: AllowedHosts, ca_pem: Option<String>) -> Self {
        Self { hosts, ca_pem, made: OnceLock::new() }
    }

    /// By this way, which leads nowhere that matters.
    pub fn over(hosts: AllowedHosts, way: Http) -> Self {
        Self { hosts, ca_pem: None, made: OnceLock::from(way) }
    }

    /// What asks this address, or why nobody may.
    pub fn way_to(&self, url: &str) -> Result<&Http, HostRefusal> {
        self.hosts.check(url)?;
        if let Some(http) = self.made.get() {
            return Ok(http);
        }
        let resolver = self.hosts.resolver(proxies());
        let made = Http::by(Options::PREFECT1, self.ca_pem.as_deref(), |client| client.dns_resolver(resolver));
        let http = made.map_err(|error| HostRefusal(error.to_string()))?;
        Ok(self.made.get_or_init(|| http))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Request, SendError};
    use super::*;
    use http::{HeaderMap, Method};
    use std::time::Duration;

    fn hosts(all: &[&str]) -> AllowedHosts {
        AllowedHosts::new(Some(all.iter().map(|host| host_pattern(host).unwrap()).collect()))
    }

    #[test]
    fn addresses_of_this_machine_of_private_networks_and_reserved_ones_are_not_public() {
        for public in ["8.8.8.8", "52.94.1.1", "2600:1f00::1", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "169.254.170.2",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "192.88.99.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "100::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn without_a_rule_whatever_is_public_may_be_asked() {
        let any = AllowedHosts::default();
        for url in ["https://templates.example.com/x.yaml", "https://8.8.8.8/x", "http://example.com:8080/"] {
            assert_eq!(any.check(url), Ok(()), "{url}");
        }
        for url in [
            "http://127.0.0.1/x",
            "http://2130706433/x",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/latest",
            "http://169.254.169.254/latest/meta-data",
            "http://10.1.2.3:9001/",
            "http://169.254.100.1:9001/2018-06-01/runtime/invocation/next",
            "no address",
            "http://",
            "http://user:password@127.0.0.1/",
            "http://８.８.８.８@10.0.0.1/",
            "http://１２７.0.0.1/",
        ] {
            assert!(any.check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn with_a_rule_only_what_it_names_may_be_asked_wherever_it_lies() {
        let some = hosts(&["templates.internal", "*.example.com", "10.0.0.5", "::1"]);
        for url in [
            "http://templates.internal/x",
            "https://a.b.example.com/",
            "http://TEMPLATES.internal./",
            "http://10.0.0.5/",
            "http://[::1]:80/",
        ] {
            assert_eq!(some.check(url), Ok(()), "{url}");
        }
        for url in [
            "https://example.com/",
            "https://evil.com/?templates.internal",
            "https://templates.internal.evil.com/",
            "http://10.0.0.6/",
            "https://evilexample.com/",
            "https://templates.internal@evil.com/",
            "http://8.8.8.8/",
        ] {
            assert!(some.check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn endpoints_are_aws_own_or_named() {
        let any = AllowedHosts::default();
        for url in [
            "https://ecs.eu-west-1.amazonaws.com",
            "https://ecs-fips.us-gov-west-1.amazonaws.com/",
            "https://ecs.cn-north-1.amazonaws.com.cn",
        ] {
            assert_eq!(any.check_endpoint(url), Ok(()), "{url}");
        }
        for url in [
            "https://ecs.eu-west-1.amazonaws.com.evil.com",
            "http://localhost:4566",
            "https://evil.com",
            "https://ec2-1-2-3-4.compute.amazonaws.com",
            "http://169.254.169.254",
            "https://ecs.amazonaws.com@evil.com/",
            "https://vpce-1.ecs.eu-west-1.vpce.amazonaws.com",
        ] {
            assert!(any.check_endpoint(url).is_err(), "{url}");
        }
        assert_eq!(hosts(&["localhost"]).check_endpoint("http://localhost:4566"), Ok(()));
        assert_eq!(hosts(&["x"]).check_endpoint("https://ecs.eu-west-1.amazonaws.com"), Ok(()));
    }

    #[test]
    fn a_pattern_is_a_host_and_nothing_else() {
        for text in ["a", "a.b-c.d", "*.example.com", "10.0.0.1", "::1", "EXAMPLE.com"] {
            assert!(host_pattern(text).is_ok(), "{text}");
        }
        assert_eq!(host_pattern("FD00:0:0::1").as_deref(), Ok("fd00::1"));
        for text in ["", "*", "*.", "https://a", "a:80", "a/b", "a b", "a..b", "*a.b", "é.com", "a.*.b"] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
    }

    /// Answers one request at a name of this machine; the address, by that name.
    async fn served() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://localhost:{}/x", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        });
        address
    }

    async fn asked(hosts: AllowedHosts, url: &str) -> Result<u16, SendError> {
        let http = RunHttp::network(hosts, None);
        let (headers, timeout) = (HeaderMap::new(), Duration::from_secs(10));
        let request = Request { method: Method::GET, url: url.to_owned(), headers, body: None, timeout };
        http.way_to(url).unwrap().send(request).await.map(|answer| answer.status)
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_asked_by_the_client_itself_unless_it_is_allowed() {
        let url = served().await;
        let refused = asked(AllowedHosts::default(), &url).await;
        assert!(
            matches!(&refused, Err(SendError::Impossible(text)) if text.contains("`allowed_hosts`")),
            "{refused:?}"
        );
        assert_eq!(asked(hosts(&["localhost"]), &url).await, Ok(200));
        let nowhere = asked(AllowedHosts::default(), "http://nowhere.invalid/x").await;
        assert!(
            matches!(nowhere, Err(SendError::NotSent(_))),
            "a name that leads nowhere now is no verdict: {nowhere:?}"
        );
    }

    #[tokio::test]
    async fn a_proxy_is_asked_wherever_it_lies() {
        let resolved = async |proxies: &[&str]| {
            let proxies = proxies.iter().map(|host| (*host).to_owned()).collect();
            let resolver = AllowedHosts::default().resolver(proxies);
            resolver.resolve("localhost".parse().unwrap()).await.map(|all| all.count() > 0)
        };
        assert!(matches!(resolved(&["localhost"]).await, Ok(true)));
        assert!(resolved(&["other"]).await.is_err());
    }
}

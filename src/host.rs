//! What a program gives as a host: a name, or an address in one of its forms.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr;

/// The address that `host` is, if it is one.
///
/// One of IPv6 may stand in brackets, as it does in a URL (RFC 3986, 3.2.2), and may have the number of a zone
/// (RFC 4007, 11.2). The name of a zone is for the system to look up.
pub(crate) fn address(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    // No name has a colon in it.
    if !host.contains(':') {
        return None;
    }
    let bare = without_brackets(host).unwrap_or(host);
    let addr: SocketAddrV6 = format!("[{bare}]:{port}").parse().ok()?;
    Some(addr.into())
}

/// What the system is asked for: `host`, without the brackets of an address that has the name of a zone.
pub(crate) fn to_look_up(host: &str) -> &str {
    let is_address = |bare: &&str| {
        let zoned = bare.split_once('%');
        zoned.is_some_and(|(addr, _)| addr.parse::<Ipv6Addr>().is_ok())
    };
    without_brackets(host).filter(is_address).unwrap_or(host)
}

fn without_brackets(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// Whether there is a port behind a host that is no address: what belongs into another argument.
pub(crate) fn has_port(host: &str) -> bool {
    let Some((before, port)) = host.rsplit_once(':') else {
        return false;
    };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (!before.contains(':') || without_brackets(before).is_some())
}

/// The host in the address that a program has given, and the text that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given<'a> {
    pub(crate) text: &'a str,
    pub(crate) host: &'a str,
    /// If there is a valid one.
    pub(crate) port: Option<u16>,
}

impl<'a> Given<'a> {
    /// What is in `addr`, if that is of a type for which the standard library asks the system:
    /// [`ToSocketAddrs`](std::net::ToSocketAddrs) keeps it to itself.
    pub(crate) fn of<A>(addr: &'a A) -> Option<Given<'a>> {
        /// `addr` as a `$type`, if it is one.
        macro_rules! as_type {
            ($type:ty) => {
                (typeid::of::<A>() == typeid::of::<$type>()).then(|| {
                    // SAFETY: `A` is this type, but for lifetimes, by `typeid`. The only one in it is 'a, and what is
                    // behind a reference to `A` lives for no less than 'a.
                    unsafe { &*ptr::from_ref(addr).cast::<$type>() }
                })
            };
        }
        let text = as_type!(&'a str).copied();
        let text = text.or(as_type!(String).map(String::as_str));
        let text = text.or(as_type!(&'a String).map(|text| text.as_str()));
        let text = text.or(as_type!(&'a &'a str).map(|text| **text));
        if let Some(text) = text {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            let port = port.parse().ok();
            return Some(Given { text, host, port });
        }
        let pair = as_type!((&'a str, u16)).or(as_type!(&'a (&'a str, u16)).copied());
        let pair = pair.map(|(host, port)| (*host, *port));
        let owned = as_type!((String, u16)).or(as_type!(&'a (String, u16)).copied());
        let (host, port) = pair.or(owned.map(|(host, port)| (host.as_str(), *port)))?;
        Some(Given {
            text: host,
            host,
            port: Some(port),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_several_forms() {
        let seen = |host: &str| address(host, 80).map(|addr| addr.to_string()).unwrap_or_default();
        assert_eq!(seen("127.0.0.1"), "127.0.0.1:80");
        for host in ["::1", "[::1]", "[0:0::1]"] {
            assert_eq!(seen(host), "[::1]:80", "{host}");
        }
        for host in ["fe80::1%3", "[fe80::1%3]"] {
            assert_eq!(seen(host), "[fe80::1%3]:80", "{host}");
        }
        for host in [
            "",
            "[",
            "]",
            "[]",
            "::1]",
            "[::1",
            "[[::1]]",
            "[::1]:80",
            "[127.0.0.1]",
            "[localhost]",
            "localhost",
            "127.0.0.1:80",
            "fe80::1%lo",
            "fe80::1%",
            "::1]:80[",
            "[::1]:80]",
            "%1",
            "::1 ",
            "[::1%-1]",
        ] {
            assert_eq!(seen(host), "", "{host}");
        }
    }

    #[test]
    fn an_address_with_the_name_of_a_zone_is_looked_up_without_brackets() {
        assert_eq!(to_look_up("[fe80::1%lo]"), "fe80::1%lo");
        for host in [
            "fe80::1%lo",
            "localhost",
            "[localhost]",
            "[a%b]",
            "[]",
            "",
            "[127.0.0.1%lo]",
        ] {
            assert_eq!(to_look_up(host), host);
        }
    }

    #[test]
    fn a_port_behind_a_host_is_noticed() {
        for host in ["127.0.0.1:80", "localhost:80", "[::1]:80", "[::1]:123456", ":80"] {
            assert!(has_port(host), "{host}");
        }
        for host in [
            "localhost",
            "localhost:",
            "localhost:http",
            "::x:80",
            "::1:80",
            "",
            ":",
            "http://localhost",
        ] {
            assert!(!has_port(host), "{host}");
        }
    }

    #[test]
    fn the_host_is_found_in_whatever_is_given() {
        let owned = "a.b:1".to_owned();
        let found = Some(Given {
            text: "a.b:1",
            host: "a.b",
            port: Some(1),
        });
        assert_eq!(Given::of(&"a.b:1"), found);
        assert_eq!(Given::of(&owned.as_str()), found);
        assert_eq!(Given::of(&owned), found);
        assert_eq!(Given::of(&&owned), found);
        assert_eq!(Given::of(&&owned.as_str()), found);
        let host = owned.replace(":1", "");
        let found = Some(Given {
            text: "a.b",
            host: "a.b",
            port: Some(1),
        });
        assert_eq!(Given::of(&(host.as_str(), 1_u16)), found);
        assert_eq!(Given::of(&(host.clone(), 1_u16)), found);
        assert_eq!(Given::of(&&(host.as_str(), 1_u16)), found);
        assert_eq!(Given::of(&&(host.clone(), 1_u16)), found);
        assert_eq!(
            Given::of(&""),
            Some(Given {
                text: "",
                host: "",
                port: None
            })
        );
        assert_eq!(
            Given::of(&("", 1_u16)),
            Some(Given {
                text: "",
                host: "",
                port: Some(1)
            })
        );
        assert_eq!(Given::of(&"a:66000").and_then(|given| given.port), None);
        assert_eq!(Given::of(&(host.as_str(), 1_u32)), None);
        assert_eq!(Given::of(&owned.as_bytes()), None);
        assert_eq!(Given::of(&SocketAddr::from(([127, 0, 0, 1], 1))), None);
    }
}

//! Which IP addresses are on the public internet. Guarded connections go to no others.
//!
//! A function runs inside a cloud account, and a name can resolve to any address: the function's
//! own runtime API, the metadata service of the machine, or a private network. Every address that
//! IANA's registries list for a special purpose is refused
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>, `iana-ipv6-special-registry`,
//! read 2026-11).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not public: an address and the length of its prefix in bits.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8), // this network, and the unspecified address
    (Ipv4Addr::new(10, 0, 0, 0), 8), // private
    (Ipv4Addr::new(100, 64, 0, 0), 10), // shared by a carrier's customers
    (Ipv4Addr::new(127, 0, 0, 0), 8), // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local, with the metadata services of clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved, and broadcast
];

/// Global unicast. Outside of it are loopback, link-local, unique local and multicast addresses,
/// and all forms that contain an IPv4 address in their last bits (compatible, mapped, translated,
/// NAT64).
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// IPv6 networks within global unicast that are not public.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, and Teredo, which contains an IPv4 address
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which contains an IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether an address is on the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.into_iter().any(|(network, bits)| {
            (address.to_bits() ^ network.to_bits()) >> (Ipv4Addr::BITS - bits) == 0
        }),
        IpAddr::V6(address) => {
            let within = |(network, bits): (Ipv6Addr, u32)| {
                (address.to_bits() ^ network.to_bits()) >> (Ipv6Addr::BITS - bits) == 0
            };
            within(GLOBAL_V6) && !NOT_PUBLIC_V6.into_iter().any(within)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_public_text(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn accepts_public_addresses() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "3ffe::1",
        ] {
            assert!(is_public_text(text), "{text}");
        }
    }

    #[test]
    fn rejects_all_other_addresses() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.100.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::8.8.8.8",
            "::ffff:8.8.8.8",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public_text(text), "{text}");
        }
    }

    proptest! {
        /// An IPv6 form of an IPv4 address reaches the same host, so it must be refused as well.
        #[test]
        fn a_refused_ipv4_address_is_refused_in_each_of_its_ipv6_forms(
            network in prop::sample::select(&NOT_PUBLIC_V4[..]),
            host: u32,
            low: u64,
        ) {
            let bits = network.0.to_bits() | host & (u32::MAX >> network.1);
            let address = Ipv4Addr::from_bits(bits);
            prop_assert!(!is_public(address.into()), "{}", address);
            let (v4, low) = (u128::from(bits), u128::from(low));
            let forms = [
                address.to_ipv6_compatible(),
                address.to_ipv6_mapped(),
                Ipv6Addr::from_bits((0xffff_u128 << 48) | v4),                            // translated, ::ffff:0:0/96
                Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | v4),                       // NAT64
                Ipv6Addr::from_bits((0x0064_ff9b_0001_u128 << 80) | v4),                  // NAT64 of a network's own
                Ipv6Addr::from_bits((0x2002_u128 << 112) | (v4 << 80) | low),             // 6to4
                Ipv6Addr::from_bits((0x2001_0000_u128 << 96) | (v4 << 64) | low),         // Teredo, its server
                Ipv6Addr::from_bits((0x2001_0000_u128 << 96) | u128::from(!bits)),        // Teredo, its client
            ];
            for form in forms {
                prop_assert!(!is_public(form.into()), "{} as {}", address, form);
            }
        }
    }
}

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_address_gets_its_share_and_gets_it_back() {
    let peers = Peers::new(2);
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    let first = peers.admit(one).unwrap();
    let _second = peers.admit(one).unwrap();
    assert!(peers.admit(one).is_none());
    assert!(peers.admit(other).is_some());
    drop(first);
    assert!(peers.admit(one).is_some());
}

#[test]
fn nothing_is_kept_of_an_address_without_connections() {
    let peers = Peers::new(1);
    drop(peers.admit(address("192.0.2.1")));
    assert!(peers.lock().is_empty());
}

#[test]
fn a_network_of_ipv6_and_a_mapped_address_count_as_one() {
    let same = |a: &str, b: &str| counted_as(address(a)) == counted_as(address(b));
    assert!(same("2001:db8::1", "2001:db8::ffff:1"));
    assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
    assert!(!same("192.0.2.1", "192.0.2.2"));
}

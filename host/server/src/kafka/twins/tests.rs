use super::*;

#[test]
fn who_comes_back_again_and_again_is_another_host_and_what_comes_now_and_then_is_not() {
    let twins = Twins::default();
    let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(!twins.put_out(&one, at(0)));
    assert!(!twins.put_out(&one, at(5)));
    assert!(!twins.put_out(&other, at(6)));
    assert!(twins.put_out(&one, at(10)));
    for minutes in (10..60).step_by(3) {
        assert!(!twins.put_out(&one, at(minutes * 60)), "{minutes}");
    }
}

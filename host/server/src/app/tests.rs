use std::sync::Mutex;

use super::*;

#[tokio::test]
async fn a_panic_in_a_pipeline_stops_its_subscription_by_name() {
    let stopped = Mutex::new(None);
    let pipeline = async { panic!("position {} is gone", 7) };
    supervise(pipeline, |why| *stopped.lock().unwrap() = Some(why)).await;
    let why = stopped.into_inner().unwrap().unwrap();
    assert!(why.contains("position 7 is gone"), "{why}");
}

#[tokio::test]
async fn a_pipeline_that_ends_stops_nothing() {
    supervise(async {}, |why| panic!("{why}")).await;
}

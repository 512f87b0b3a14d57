//! Endpoints outlive reloads: what is known of them stays, and only the settings of now say more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use std::rc::Rc;
use std::time::Duration;

use kit::*;
use tokio::sync::Notify;

/// The value of an endpoint's `portcullis_endpoint_healthy`.
fn shows_healthy(world: &World, endpoint: &Scripted, value: u8) -> bool {
    let labels = format!(r#"{{upstream="orders",endpoint="{}"}}"#, endpoint.address);
    world.metric(&format!("portcullis_endpoint_healthy{labels} {value}"))
}

const PROBED: &str = "health: { path: /healthz, every: 1h, timeout: 1h, unhealthy_after: 1 }";

#[test]
fn a_probe_that_was_on_its_way_during_a_reload_says_nothing_any_more() {
    for after in ["", "health: { path: /other, every: 1h, timeout: 1h }"] {
        run(async {
            let gate = Rc::new(Notify::new());
            let asked_before = vec![Read, Wait(gate.clone()), Say(FAILED), Hang];
            let late = Scripted::start(vec![asked_before, vec![Read, Say(OK), Hang]]).await;
            let well = Scripted::always(OK).await;
            let endpoints = format!("endpoints: [\"{}\", \"{}\"]", late.url(), well.url());
            let mut world = World::new(&format!("{endpoints}\n{PROBED}"));
            late.saw(1).await;
            well.ended(0).await;
            let _before = world.reload(&format!("{endpoints}\n{after}"));
            gate.notify_one();
            late.ended(0).await; // its answer was taken
            tokio::task::yield_now().await;
            assert_eq!(world.health(0), "in use", "{after}");
            assert!(shows_healthy(&world, &late, 1));
        });
    }
}

#[test]
fn without_probes_an_endpoint_is_what_requests_see_of_it() {
    run(async {
        let sick = Scripted::always(FAILED).await;
        let well = Scripted::always(OK).await;
        let endpoints =
            format!("endpoints: [\"{}\", \"{}\"]\nbreaker: off", sick.url(), well.url());
        let mut world = World::new(&endpoints);
        for (requests, health) in [(0, "in use"), (20, "aside")] {
            for _ in 0..requests {
                world.get().await.unwrap();
            }
            world.reload(&format!("{endpoints}\n{PROBED}"));
            while world.health(0) != "unhealthy" {
                pass(Duration::from_secs(1)).await;
            }
            world.reload(&endpoints);
            assert_eq!(world.health(0), health);
            assert!(shows_healthy(&world, &sick, u8::from(health == "in use")), "{health}");
        }
    });
}

#[test]
fn health_off_uses_an_endpoint_that_was_aside() {
    run(async {
        let sick = Scripted::always(FAILED).await;
        let well = Scripted::always(OK).await;
        let (sick_url, well_url) = (sick.url(), well.url());
        let settings = format!(
            "endpoints: [\"{sick_url}\", \"{well_url}\"]\nbreaker: off\nbalance: round_robin"
        );
        let mut world = World::new(&settings);
        while world.health(0) != "aside" {
            world.get().await.unwrap();
        }
        world.reload(&format!("{settings}\nhealth: off"));
        let before = sick.seen().len();
        for _ in 0..10 {
            world.get().await.unwrap();
        }
        assert_eq!(sick.seen().len(), before + 5, "it has its turns");
        assert_eq!(world.health(0), "in use");
        assert!(shows_healthy(&world, &sick, 1));
    });
}

//! A second attempt beside a first that takes long: when it goes out, and what it costs when it may not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod kit;

use kit::*;
use tokio::time::Instant;

#[test]
fn a_connection_that_takes_long_is_hedged_as_well() {
    // Over HTTP/2 that one's answer is none, but it was asked.
    for (protocol, status) in [("h1", Some(200)), ("h2", None)] {
        run(async {
            let (full, quick) = (Full::start().await, Scripted::always(OK).await);
            let world = World::new(&format!(
                "endpoints: [\"http://{}\", \"{}\"]\nprotocol: {protocol}\nbalance: round_robin\n\
                 timeouts: {{ connect: 5s }}\nhedge: {{ after: 20ms }}",
                full.address,
                quick.url()
            ));
            let begun = Instant::now();
            assert_eq!(world.get().await.ok().map(|got| got.status), status);
            let hedged = r#"portcullis_retries_total{upstream="orders",kind="hedge"} 1"#;
            assert!(world.metric(hedged) && quick.connections() == 1, "{protocol}");
            assert!(status.is_none() || begun.elapsed().as_secs() == 0);
        });
    }
}

#[test]
fn a_hedge_beyond_the_budget_leaves_no_trace() {
    run(async {
        let silent = Scripted::start(vec![vec![Read, Hang]]).await;
        let quick = Scripted::always(OK).await;
        let world = World::new(&format!(
            "endpoints: [\"{}\", \"{}\"]\nbalance: round_robin\nhedge: {{ after: 20ms }}\n\
             retries: {{ budget: 0% }}\nbreaker: off\nhealth: off",
            silent.url(),
            quick.url()
        ));
        let mut late = 0;
        while late == 0 {
            late += usize::from(world.get().await.is_err());
        }
        let metric = |kind, count| {
            let name = match kind {
                "client" | "timeout" => "portcullis_attempts_total{upstream=\"orders\",outcome=",
                _ => "portcullis_retries_total{upstream=\"orders\",kind=",
            };
            world.metric(&format!("{name}\"{kind}\"}} {count}"))
        };
        let shown = world.metrics.render();
        assert!(metric("hedge", 30) && metric("refused", 1) && metric("timeout", 1), "{shown}");
        assert!(metric("client", 30), "one for each that was slower: {shown}");
    });
}

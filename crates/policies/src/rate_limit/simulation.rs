//! Gateways and a store under a simulated clock: the code that runs, without a network, held against
//! a plain log of timestamps.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use portcullis_core::metrics::Counter;
use portcullis_core::{Clock, Live, LocalBoxFuture, Worker};
use proptest::prelude::*;

use super::decision::{Asked, is_admitted};
use super::limit::{Limit, Place};
use super::memory::{self, Memory};
use super::shared::{OnStoreFailure, Shared, decide};
use super::window::{Line, Micros};
use crate::stores::{Ask, Failure, Gateways, Server, Store, Told};

/// What stands for Redis: it decides as the script does, can be down, and can lose its data.
struct Simulated {
    clock: Clock,
    memory: Mutex<Memory>,
    up: AtomicBool,
    epoch: AtomicU64,
}

impl Simulated {
    fn lose_data(&self) {
        *self.memory.lock().unwrap() = Memory::new(self.clock.now(), 1000, Counter::default());
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }
}

struct Reached(Arc<Simulated>);

impl Server for Reached {
    fn decide<'a>(
        &'a self,
        _: &'a Worker,
        asks: &'a [Ask<'a>],
    ) -> LocalBoxFuture<'a, Result<(u64, Vec<Told>), Failure>> {
        let server = &self.0;
        if !server.up.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Failure::Timeout) });
        }
        let memory = server.memory.lock().unwrap();
        let asked: Vec<_> = asks
            .iter()
            .map(|ask| Asked {
                key: ask.key,
                lines: ask.lines,
                cost: ask.cost,
                enforced: true,
                share: None,
            })
            .collect();
        let limits: Vec<_> = asked.iter().map(|asked| (&*memory, *asked)).collect();
        let decisions = memory::decide(&limits, server.clock.now());
        let admitted = is_admitted(&asked, &decisions);
        let told = asks.iter().zip(&decisions).map(|(ask, it)| Told {
            fits: it.fits,
            line: it.line,
            remaining: it.remaining,
            wait: it.wait,
            reset: it.reset,
            granted: if admitted { ask.cost } else { 0 },
            began: 0,
        });
        let told = told.collect();
        let epoch = server.epoch.load(Ordering::Relaxed);
        Box::pin(async move { Ok((epoch, told)) })
    }

    fn refund<'a>(&'a self, _: &'a Worker, _: &'a Ask<'a>, _: &'a Told) -> LocalBoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn forget<'a>(
        &'a self,
        _: &'a Worker,
        _: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async { Ok(false) })
    }

    fn is_sharded(&self) -> bool {
        false
    }
}

struct Gateway {
    limit: Limit,
    store: Arc<Store>,
    worker: Rc<Worker>,
}

/// Several gateways before one store.
struct House {
    clock: Clock,
    server: Arc<Simulated>,
    gateways: Vec<Gateway>,
    lines: Vec<Line>,
    now: Micros,
    /// What was admitted: when, and at which cost.
    log: Vec<(Micros, u64)>,
}

impl House {
    fn new(count: u64, lines: &[Line]) -> Self {
        let clock = Clock::manual(UNIX_EPOCH);
        let start = clock.now();
        let server = Arc::new(Simulated {
            clock: clock.clone(),
            memory: Mutex::new(Memory::new(start, 1000, Counter::default())),
            up: AtomicBool::new(true),
            epoch: AtomicU64::new(1),
        });
        let gateway = |own| {
            let store = Arc::new(Store::before(Box::new(Reached(Arc::clone(&server))), start));
            store.learn_gateways(Gateways { count, own });
            let shared = Shared {
                store: Arc::clone(&store),
                own: Arc::new(Memory::new(start, 1000, Counter::default())),
                on_failure: OnStoreFailure::Local,
                lease: 1,
                live: Live::new(),
                prefix: Box::default(),
            };
            let limit = Limit::simple(Place::Store(shared), lines);
            Gateway { limit, store, worker: Worker::new(0, clock.clone()) }
        };
        let gateways = (0..count).map(gateway).collect();
        Self {
            clock: clock.clone(),
            server,
            gateways,
            lines: lines.to_vec(),
            now: 0,
            log: Vec::new(),
        }
    }

    fn pass(&mut self, time: Micros) {
        self.now += time;
        self.clock.advance(Duration::from_micros(time));
    }

    /// What the gateways' announcements tell them.
    fn announce(&self) {
        let (now, up) = (self.clock.now(), self.server.up.load(Ordering::Relaxed));
        for gateway in &self.gateways {
            let Some(permit) = gateway.store.attempt(now) else { continue };
            gateway.store.tried(permit, up, now);
            if up {
                gateway.store.learn_epoch(self.server.epoch.load(Ordering::Relaxed), now);
            }
        }
    }

    fn ask(&mut self, gateway: usize, cost: u64) -> bool {
        let gateway = &self.gateways[gateway % self.gateways.len()];
        let question = gateway.limit.ask("client", cost).unwrap();
        let questions = [question];
        let decisions = futures_util::FutureExt::now_or_never(decide(&questions, &gateway.worker));
        let admitted = decisions.unwrap().unwrap().iter().all(|decision| decision.fits);
        if admitted {
            self.log.push((self.now, cost));
        }
        admitted
    }

    /// The most that was admitted in any window of a line, over what the line allows.
    fn most(&self, line: Line) -> f64 {
        let mut most = 0;
        let (mut from, mut inside) = (0, 0);
        for (time, cost) in &self.log {
            inside += cost;
            while time - self.log[from].0 >= line.per {
                inside -= self.log[from].1;
                from += 1;
            }
            most = most.max(inside);
        }
        most as f64 / line.requests as f64
    }
}

/// Requests: after how long, at which gateway, at which cost.
fn requests(most: usize) -> impl Strategy<Value = Vec<(Micros, usize, u64)>> {
    prop::collection::vec((0_u64..60_000, 0_usize..60, 1_u64..4), 50..most)
}

/// Every gateway once in each round, beginning with another one.
fn spread(number: usize, turn: usize, count: u64) -> usize {
    let round = number / usize::try_from(count).unwrap();
    number + round * (1 + turn / 60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn while_the_store_answers_the_limit_holds_over_all_gateways(
        count in 1_u64..=5, first in 5_u64..120, second in 2_u64..40, asked in requests(600),
    ) {
        let lines = [Line { requests: first, per: 1_000_000 }, Line { requests: second, per: 200_000 }];
        let mut house = House::new(count, &lines);
        for (gap, gateway, cost) in asked {
            house.pass(gap);
            house.ask(gateway, cost);
        }
        for line in house.lines.clone() {
            prop_assert!(house.most(line) <= 1.0);
        }
    }

    #[test]
    fn an_outage_admits_at_most_a_tenth_more_to_clients_that_are_spread(
        count in 1_u64..=5, tens in 1_u64..6, asked in requests(900),
        down in 100_000_u64..4_000_000, long in 1_000_u64..3_000_000,
    ) {
        let line = Line { requests: count * 10 * tens, per: 1_000_000 };
        let mut house = House::new(count, &[line]);
        let mut any = House::new(count, &[line]);
        for (number, (gap, gateway, _)) in asked.into_iter().enumerate() {
            for (house, gateway) in [(&mut house, spread(number, gateway, count)), (&mut any, gateway)] {
                house.pass(gap / 8);
                let is_down = (down..down + long).contains(&house.now);
                house.server.up.store(!is_down, Ordering::Relaxed);
                house.announce();
                house.ask(gateway, 1);
            }
        }
        prop_assert!(house.most(line) <= 1.1, "{}", house.most(line));
        prop_assert!(any.most(line) <= 2.0, "the worst case: {}", any.most(line));
    }

    #[test]
    fn lost_data_admits_at_most_a_tenth_more(
        count in 1_u64..=5, tens in 1_u64..6, asked in requests(900), lost in 100_000_u64..4_000_000,
    ) {
        let line = Line { requests: count * 10 * tens, per: 1_000_000 };
        let mut house = House::new(count, &[line]);
        let mut is_lost = false;
        for (number, (gap, gateway, _)) in asked.into_iter().enumerate() {
            let gateway = spread(number, gateway, count);
            house.pass(gap / 8);
            if !is_lost && house.now > lost {
                house.server.lose_data();
                is_lost = true;
            }
            house.ask(gateway, 1);
        }
        prop_assert!(house.most(line) <= 1.1, "{}", house.most(line));
    }
}

#[test]
fn a_client_of_one_gateway_gets_its_share_during_an_outage_and_all_of_it_afterwards() {
    let line = Line { requests: 90, per: 1_000_000 };
    let mut house = House::new(3, &[line]);
    house.server.up.store(false, Ordering::Relaxed);
    house.announce();
    let admitted = (0..200).filter(|_| house.ask(0, 1)).count();
    assert_eq!(admitted, 30);
    house.server.up.store(true, Ordering::Relaxed);
    house.pass(1_000_000); // until its breaker lets a request through again
    let admitted = (0..200).filter(|_| house.ask(0, 1)).count();
    assert_eq!(admitted, 30, "one `per` has to pass after the first answer");
    house.pass(1_000_000);
    let admitted = (0..200).filter(|_| house.ask(0, 1)).count();
    assert_eq!(admitted, 90);
}

#[test]
fn an_outage_that_nobody_waits_for() {
    // While its breaker is open the store is not asked, and within 1 s of its return it is again.
    let line = Line { requests: 1000, per: 60_000_000 };
    let mut house = House::new(1, &[line]);
    house.server.up.store(false, Ordering::Relaxed);
    for _ in 0..10 {
        assert!(house.ask(0, 1));
    }
    house.server.up.store(true, Ordering::Relaxed);
    house.pass(1_000_000);
    assert!(house.ask(0, 1));
    assert_eq!(house.server.memory.lock().unwrap().known(), 1);
}

/// Found by the properties above: a store that had announced itself again, while its breaker was
/// still open, was taken to know what was admitted meanwhile.
#[test]
fn what_passes_an_open_breaker_is_not_known_to_the_store() {
    let line = Line { requests: 40, per: 1_000_000 };
    let mut house = House::new(2, &[line]);
    for number in 0..900 {
        house.pass(2444);
        let is_down = (550_000..1_050_000).contains(&house.now);
        house.server.up.store(!is_down, Ordering::Relaxed);
        house.announce();
        house.ask(spread(number, 0, 2), 1);
    }
    assert!(house.most(line) <= 1.1, "{}", house.most(line));
}

//! The router against the plainest matcher there can be: it sorts all routes by the written rule
//! and asks one after the other. It shares no code with the tree.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::{collection, option, sample};

use super::explain::nearness;
use super::tree::Nearness;
use super::*;

const METHODS: [Method; 6] =
    [Method::GET, Method::POST, Method::HEAD, Method::DELETE, Method::OPTIONS, Method::PATCH];

/// A request that owns its parts.
#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    path: String,
    method: Method,
    headers: HeaderMap,
    query: Option<String>,
}

impl Request {
    fn as_query(&self) -> Query<'_> {
        Query {
            host: self.host,
            path: &self.path,
            method: &self.method,
            headers: &self.headers,
            query: self.query.as_deref(),
            announced: None,
        }
    }
}

fn takes_host(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => host == &**name,
        HostPattern::Suffix(suffix) => {
            let labels: Vec<_> = host.split('.').collect();
            (1..labels.len()).any(|skipped| labels[skipped..].join(".") == **suffix)
        }
    }
}

/// The values of the names, when the pattern takes the path.
fn takes_path(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    let tail = pattern.last() == Some(&"*");
    let fixed = if tail { &pattern[..pattern.len() - 1] } else { &pattern[..] };
    if path.len() < fixed.len() || !tail && path.len() > fixed.len() {
        return None;
    }
    let mut values = Vec::new();
    for (wanted, part) in fixed.iter().zip(&path) {
        if wanted.starts_with('{') && !part.is_empty() {
            values.push((*part).to_owned());
        } else if wanted != part {
            return None;
        }
    }
    Some(values)
}

fn holds(wanted: &Wanted, value: Option<&str>) -> bool {
    match wanted {
        Wanted::Present => value.is_some(),
        Wanted::Exactly(text) => value == Some(&**text),
    }
}

fn conditions_hold(wanted: &Match, request: &Request) -> bool {
    let header = |name: &HeaderName| request.headers.get(name).map(|value| value.to_str().unwrap());
    let pairs =
        portcullis_core::exchange::query_pairs(request.query.as_deref().unwrap_or_default());
    let pairs: Vec<_> = pairs.collect();
    let query =
        |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let method = wanted.methods.is_empty()
        || wanted.methods.contains(&request.method)
        || request.method == Method::HEAD && wanted.methods.contains(&Method::GET);
    method
        && wanted.headers.iter().all(|condition| holds(&condition.wanted, header(&condition.name)))
        && wanted.query.iter().all(|condition| holds(&condition.wanted, query(&condition.name)))
}

/// The place of a route in the written rule.
fn place(wanted: &Match, number: usize, method: &Method) -> impl Ord + use<> {
    let host = match &wanted.host {
        HostPattern::Exact(_) => (0, Reverse(0)),
        HostPattern::Suffix(suffix) => (1, Reverse(suffix.split('.').count())),
        HostPattern::Any => (2, Reverse(0)),
    };
    let mut path: Vec<u8> = Vec::new();
    for segment in wanted.path.as_str().split('/').skip(1) {
        path.push(match segment {
            "*" => 2,
            segment if segment.starts_with('{') => 1,
            _ => 0,
        });
    }
    let exact = |wanted: &Wanted| usize::from(matches!(wanted, Wanted::Exactly(_)));
    let conditions = (
        *method == Method::HEAD && !wanted.methods.contains(&Method::HEAD),
        wanted.methods.is_empty(),
        Reverse(wanted.headers.len()),
        Reverse(wanted.headers.iter().map(|header| exact(&header.wanted)).sum::<usize>()),
        Reverse(wanted.query.len()),
        Reverse(wanted.query.iter().map(|query| exact(&query.wanted)).sum::<usize>()),
        wanted.methods.len(),
    );
    (host, path, conditions, number)
}

/// All routes that have the request's host and path, in the order of the rule.
fn in_order(routes: &[Match], request: &Request) -> Vec<usize> {
    let right = |wanted: &Match| {
        takes_host(&wanted.host, request.host)
            && takes_path(wanted.path.as_str(), &request.path).is_some()
    };
    let mut order: Vec<_> = (0..routes.len()).filter(|&number| right(&routes[number])).collect();
    order.sort_by_key(|&number| place(&routes[number], number, &request.method));
    order
}

fn serves(routes: &[Match], request: &Request) -> Option<usize> {
    in_order(routes, request).into_iter().find(|&number| conditions_hold(&routes[number], request))
}

/// Every method that would be served if all else stayed the same.
fn allowed(routes: &[Match], request: &Request) -> Vec<Method> {
    let with = |method: &Method| Request { method: method.clone(), ..request.clone() };
    METHODS.into_iter().filter(|method| serves(routes, &with(method)).is_some()).collect()
}

fn router(routes: &[Match]) -> Router<usize> {
    let mut builder = Router::builder();
    for (number, wanted) in routes.iter().enumerate() {
        builder.add(wanted.clone(), number);
    }
    builder.build()
}

fn conditions() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    sample::subsequence(vec!["p", "q"], 0..=2)
        .prop_flat_map(|names| {
            let values = collection::vec(sample::select(vec!["*", "1", "2"]), names.len());
            (Just(names), values)
        })
        .prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

prop_compose! {
    fn any_path()(
        segments in collection::vec(sample::select(vec!["a", "b", "ab", "{}"]), 0..4),
        end in sample::select(vec!["", "/", "/*", "/a"]),
    ) -> String {
        let named = segments.iter().enumerate().map(|(at, segment)| match *segment {
            "{}" => format!("/{{n{at}}}"),
            segment => format!("/{segment}"),
        });
        let path: String = named.chain([end.to_owned()]).collect();
        if path.is_empty() { "/".to_owned() } else { path }
    }
}

fn any_match(
    host: impl Strategy<Value = &'static str>,
    path: impl Strategy<Value = String>,
) -> impl Strategy<Value = Match> {
    let methods = sample::subsequence(METHODS[..5].to_vec(), 0..3).prop_shuffle();
    (host, path, methods, conditions(), conditions()).prop_map(
        |(host, path, methods, headers, query)| {
            let mut wanted = Match::path(Pattern::parse(&path).unwrap());
            if !host.is_empty() {
                wanted.host = HostPattern::parse(host).unwrap();
            }
            wanted.methods = methods;
            let header = |(name, value): (_, _)| HeaderCondition::parse(name, value).unwrap();
            wanted.headers = headers.into_iter().map(header).collect();
            wanted.query =
                query.into_iter().map(|(name, value)| QueryCondition::parse(name, value)).collect();
            wanted
        },
    )
}

fn routes() -> impl Strategy<Value = Vec<Match>> {
    let host = sample::select(vec!["", "", "", "a.b", "x.a.b", "*.b", "*.a.b"]);
    collection::vec(any_match(host, any_path()), 0..24)
}

prop_compose! {
    fn request()(
        host in sample::select(vec!["a.b", "x.a.b", "y.x.a.b", "b", "c"]),
        segments in collection::vec(sample::select(vec!["a", "b", "ab", "abc"]), 0..5),
        slash in any::<bool>(),
        method in sample::select(METHODS.to_vec()),
        p in option::of(sample::select(vec!["1", "2", "3"])),
        q in option::of(sample::select(vec!["1", "2", "3"])),
        query in option::of("([pq]=(1|2|%31|)&?|%70=[12]&|&){0,3}"),
    ) -> Request {
        let mut path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        if slash || path.is_empty() {
            path.push('/');
        }
        let mut headers = HeaderMap::new();
        for (name, value) in [("p", p), ("q", q)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        Request { host, path, method, headers, query }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_router_is_the_naive_matcher(
        routes in routes(),
        requests in collection::vec(request(), 1..8),
    ) {
        let router = router(&routes);
        for request in &requests {
            match (router.find(&request.as_query()), serves(&routes, request)) {
                (Ok(found), Some(number)) => {
                    prop_assert_eq!(*found.value, number);
                    let pattern = &routes[number].path;
                    let values: Vec<_> = found.params().map(|(_, value)| value.to_owned()).collect();
                    prop_assert_eq!(Some(values), takes_path(pattern.as_str(), &request.path));
                    let fixed = pattern.segments().len() + 1;
                    let tail = request.path.split('/').skip(fixed).map(|part| format!("/{part}"));
                    let tail = pattern.has_tail().then(|| tail.collect::<String>());
                    prop_assert_eq!(found.tail().map(str::to_owned), tail);
                }
                (Err(Missed::NotFound), None) => {
                    prop_assert_eq!(allowed(&routes, request), [] as [Method; 0]);
                }
                (Err(Missed::MethodNotAllowed { allow }), None) => {
                    let mut want = allowed(&routes, request);
                    prop_assert!(!want.is_empty());
                    want.push(Method::OPTIONS);
                    let mut want: Vec<_> = want.iter().map(Method::as_str).collect();
                    want.sort_unstable();
                    want.dedup();
                    prop_assert_eq!(allow, want.join(", "));
                }
                (got, want) => prop_assert!(false, "{:?}, not {:?}, for {:?}", got, want, request),
            }
        }
    }

    #[test]
    fn explain_tells_of_the_routes_that_the_naive_matcher_asks(routes in routes(), request in request()) {
        let router = router(&routes);
        let told = router.explain(&request.as_query());
        let asked: Vec<_> = told.considered.iter().map(|considered| *considered.value).collect();
        prop_assert_eq!(asked, in_order(&routes, &request));
        let served = told.considered.iter().find(|considered| considered.why == Why::Serves);
        prop_assert_eq!(served.map(|served| *served.value), serves(&routes, &request));
        for near in &told.near {
            let wanted = &routes[*near.value];
            let apart = takes_path(wanted.path.as_str(), &request.path).map_or(Apart::Path, |_| Apart::Host);
            prop_assert_eq!(near.apart, apart);
        }
        let trees = 4; // one exact host, two suffixes, any
        prop_assert!(told.visited <= trees * ((1 << (request.path.split('/').count())) - 1));
    }

    #[test]
    fn the_nearest_route_is_as_near_as_any(routes in routes(), request in request()) {
        let router = router(&routes);
        let taken = in_order(&routes, &request);
        let nearest = router.nearest(&request.as_query()).copied();
        if let Some(first) = taken.first() {
            prop_assert_eq!(nearest, Some(*first));
        } else {
            let near = |wanted: &Match| nearness(wanted, &request.path).unwrap();
            let right = routes.iter().filter(|wanted| takes_host(&wanted.host, request.host));
            let best = right.map(near).max().filter(|near| *near > Nearness::default());
            prop_assert_eq!(nearest.map(|number| near(&routes[number])), best);
        }
    }

}

proptest! {
    // Few, because each case asks every request there is.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_route_is_shadowed_exactly_when_no_request_of_its_path_reaches_it(
        routes in collection::vec(any_match(Just(""), Just("/a".to_owned())), 0..10),
    ) {
        let router = router(&routes);
        let mut reached = vec![false; routes.len()];
        for request in every_request() {
            if let Ok(found) = router.find(&request.as_query()) {
                reached[*found.value] = true;
            }
        }
        let shadows = router.shadowed();
        let hidden: Vec<_> = shadows.iter().map(|shadow| *shadow.value).collect();
        let unreached: Vec<_> = (0..routes.len()).filter(|&number| !reached[number]).collect();
        prop_assert_eq!(hidden, unreached);
        for shadow in &shadows {
            prop_assert!(!shadow.by.is_empty());
            prop_assert!(shadow.by.iter().all(|by| reached[**by]));
        }
    }
}

/// Every combination of methods and condition values that routes of `any_match` can tell apart.
fn every_request() -> Vec<Request> {
    let values = [None, Some("1"), Some("2"), Some("3")];
    let mut all = Vec::new();
    for number in 0..METHODS.len() * 4 * 4 * 4 * 4 {
        let digit = |at: u32| values[number / 4_usize.pow(at) % 4];
        let mut headers = HeaderMap::new();
        for (name, value) in [("p", digit(0)), ("q", digit(1))] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        let pairs = [("p", digit(2)), ("q", digit(3))];
        let pairs = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
        let query = Some(pairs.collect::<Vec<_>>().join("&"));
        let method = METHODS[number / 256].clone();
        all.push(Request { host: "h", path: "/a".to_owned(), method, headers, query });
    }
    all
}

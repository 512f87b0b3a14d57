//! The rule of precedence, sentence by sentence, and what a lookup costs.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;

/// A match in one line: `GET,POST shop.example.com /a/{id}?q=1 x-a:1`, where everything but the
/// path may be left out.
fn wanted(line: &str) -> Match {
    let mut wanted = Match::path(Pattern::parse("/").unwrap());
    for word in line.split(' ') {
        if let Some((name, value)) = word.split_once(':') {
            wanted.headers.push(HeaderCondition::parse(name, value).unwrap());
        } else if word.starts_with('/') {
            let (path, query) = word.split_once('?').unwrap_or((word, ""));
            wanted.path = Pattern::parse(path).unwrap();
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            wanted.query = pairs.map(|(name, value)| QueryCondition::parse(name, value)).collect();
        } else if word.contains('.') {
            wanted.host = HostPattern::parse(word).unwrap();
        } else {
            wanted.methods = word.split(',').map(|method| parse_method(method).unwrap()).collect();
        }
    }
    wanted
}

fn router(lines: &[&'static str]) -> Router<&'static str> {
    let mut builder = Router::builder();
    for line in lines {
        builder.add(wanted(line), *line);
    }
    builder.build()
}

/// A request in one line: `GET example.com /path?query x-a:1`.
struct Asked {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Asked {
    fn new(line: &str) -> Self {
        let mut words = line.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let host = words.next().unwrap().to_owned();
        let uri = words.next().unwrap();
        let (path, query) = match uri.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (uri, None),
        };
        let headers = words.map(|word| {
            let (name, value) = word.split_once(':').unwrap();
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        Self { method, host, path: path.to_owned(), query, headers: map }
    }

    fn query(&self) -> Query<'_> {
        Query {
            host: &self.host,
            path: &self.path,
            method: &self.method,
            headers: &self.headers,
            query: self.query.as_deref(),
            announced: None,
        }
    }
}

/// The line of the route that serves, or `404`, or what is allowed.
fn serves(router: &Router<&'static str>, line: &str) -> String {
    match router.find(&Asked::new(line).query()) {
        Ok(found) => (*found.value).to_owned(),
        Err(Missed::NotFound) => "404".to_owned(),
        Err(Missed::MethodNotAllowed { allow }) => allow,
    }
}

fn check(routes: &[&'static str], requests: &[(&str, &str)]) {
    let mut reversed = routes.to_vec();
    reversed.reverse();
    for (order, routes) in [("as written", routes), ("reversed", &reversed)] {
        let router = router(routes);
        for (request, want) in requests {
            assert_eq!(serves(&router, request), *want, "{request}, routes {order}");
        }
    }
}

#[test]
fn an_exact_host_beats_a_longer_suffix_beats_a_shorter_beats_any() {
    check(
        &["a.shop.com /x", "*.shop.com /x", "*.com /x", "/x"],
        &[
            ("GET a.shop.com /x", "a.shop.com /x"),
            ("GET b.shop.com /x", "*.shop.com /x"),
            ("GET c.b.shop.com /x", "*.shop.com /x"),
            ("GET shop.com /x", "*.com /x"),
            ("GET com /x", "/x"),
            ("GET .com /x", "/x"),
            ("GET localhost /x", "/x"),
        ],
    );
}

#[test]
fn the_host_comes_before_the_path() {
    check(&["*.com /*", "/a/b"], &[("GET x.com /a/b", "*.com /*"), ("GET x.org /a/b", "/a/b")]);
}

#[test]
fn a_host_without_the_path_falls_back_to_wider_hosts() {
    check(
        &["a.com /x", "*.com /y", "/z"],
        &[
            ("GET a.com /x", "a.com /x"),
            ("GET a.com /y", "*.com /y"),
            ("GET a.com /z", "/z"),
            ("GET a.com /w", "404"),
        ],
    );
}

#[test]
fn a_literal_beats_a_name_beats_a_tail_segment_by_segment_from_the_left() {
    check(
        &["/a/b", "/a/{y}", "/{x}/b", "/{x}/{y}", "/a/*", "/{x}/*", "/*"],
        &[
            ("GET h /a/b", "/a/b"),
            ("GET h /a/c", "/a/{y}"),
            ("GET h /c/b", "/{x}/b"),
            ("GET h /c/d", "/{x}/{y}"),
            ("GET h /a/c/d", "/a/*"),
            ("GET h /c/d/e", "/{x}/*"),
            ("GET h /c", "/{x}/*"),
            ("GET h /", "/*"),
        ],
    );
}

#[test]
fn a_dead_end_below_a_literal_falls_back_to_the_name() {
    check(
        &["/a/{y}/c", "/{x}/b/d", "/a/b/e"],
        &[
            ("GET h /a/b/c", "/a/{y}/c"),
            ("GET h /a/b/d", "/{x}/b/d"),
            ("GET h /a/b/e", "/a/b/e"),
            ("GET h /a/b/f", "404"),
        ],
    );
}

#[test]
fn an_exact_end_beats_a_tail() {
    check(
        &["/a", "/a/", "/a/*"],
        &[("GET h /a", "/a"), ("GET h /a/", "/a/"), ("GET h /a/b", "/a/*"), ("GET h /ab", "404")],
    );
    check(&["/a/*"], &[("GET h /a", "/a/*"), ("GET h /a/", "/a/*"), ("GET h /a/b/c", "/a/*")]);
}

#[test]
fn a_trailing_slash_is_significant_and_no_name_is_empty() {
    check(
        &["/a", "/b/", "/c/{x}"],
        &[
            ("GET h /a/", "404"),
            ("GET h /b", "404"),
            ("GET h /b/", "/b/"),
            ("GET h /c/", "404"),
            ("GET h /c/d/", "404"),
        ],
    );
}

#[test]
fn listed_methods_beat_any_method_even_with_headers() {
    check(
        &["GET /a", "/a x-a:1 x-b:1"],
        &[
            ("GET h /a x-a:1 x-b:1", "GET /a"),
            ("PUT h /a x-a:1 x-b:1", "/a x-a:1 x-b:1"),
            ("PUT h /a", "GET, HEAD, OPTIONS"),
        ],
    );
}

#[test]
fn more_headers_beat_fewer_and_exact_values_beat_any_value() {
    check(
        &["/a x-a:1 x-b:1", "/a x-a:1", "/a x-a:*", "/a"],
        &[
            ("GET h /a x-a:1 x-b:1", "/a x-a:1 x-b:1"),
            ("GET h /a x-a:1", "/a x-a:1"),
            ("GET h /a x-a:2", "/a x-a:*"),
            ("GET h /a x-b:1", "/a"),
        ],
    );
}

#[test]
fn headers_come_before_query_and_more_query_conditions_beat_fewer() {
    check(
        &["/a x-a:*", "/a?p=1&q=1", "/a?p=1", "/a?p=*", "/a"],
        &[
            ("GET h /a?p=1&q=1 x-a:1", "/a x-a:*"),
            ("GET h /a?q=1&p=1", "/a?p=1&q=1"),
            ("GET h /a?p=1", "/a?p=1"),
            ("GET h /a?p", "/a?p=*"),
            ("GET h /a?pp=1", "/a"),
        ],
    );
}

#[test]
fn fewer_methods_beat_more() {
    check(&["GET /a", "GET,POST /a"], &[("GET h /a", "GET /a"), ("POST h /a", "GET,POST /a")]);
}

#[test]
fn the_order_in_the_file_is_the_last_word() {
    let names = router(&["/a/{x}", "/a/{y}"]);
    assert_eq!(serves(&names, "GET h /a/b"), "/a/{x}");
    let headers = router(&["/a x-a:1", "/a x-b:1"]);
    assert_eq!(serves(&headers, "GET h /a x-b:1 x-a:1"), "/a x-a:1");
}

#[test]
fn a_route_whose_conditions_fail_is_passed_over_for_a_wider_path_or_host() {
    check(
        &["a.com /a/b x-a:1", "/a/b?q=1", "GET /a/{y}", "/a/*"],
        &[
            ("GET a.com /a/b x-a:1", "a.com /a/b x-a:1"),
            ("GET a.com /a/b?q=1", "/a/b?q=1"),
            ("GET a.com /a/b", "GET /a/{y}"),
            ("PUT a.com /a/b", "/a/*"),
        ],
    );
}

#[test]
fn the_first_value_of_a_header_or_parameter_counts_and_query_values_are_decoded() {
    check(
        &[
            "/a x-a:1",
            "/a?q=x%20y",
            "/a?caf%C3%A9=1",
            "/a?caf\u{e9}=1",
            "/a?n=x\u{a0}+&m=*",
            "/a?r=x+y",
        ],
        &[
            ("GET h /a x-a:1 x-a:2", "/a x-a:1"),
            ("GET h /a x-a:2 x-a:1", "404"),
            ("GET h /a?q=x%2520y", "/a?q=x%20y"),
            ("GET h /a?caf%c3%a9=1", "/a?caf\u{e9}=1"),
            ("GET h /a?caf%c3%a9=2&caf%c3%a9=1", "404"),
            ("GET h /a?&&m&n=x%C2%A0%2B", "/a?n=x\u{a0}+&m=*"),
            ("GET h /a?r=x%2by", "/a?r=x+y"),
            ("GET h /a?r=x+y", "404"),
        ],
    );
}

#[test]
fn head_goes_where_get_goes_unless_a_route_of_that_path_lists_head() {
    check(&["GET /a", "HEAD /*"], &[("HEAD h /a", "GET /a"), ("HEAD h /b", "HEAD /*")]);
    check(
        &["GET /a x-a:1", "HEAD /a", "/a"],
        &[("HEAD h /a x-a:1", "HEAD /a"), ("GET h /a", "/a")],
    );
    check(&["GET /a", "/a"], &[("HEAD h /a", "GET /a")]);
    check(&["POST /a", "/a"], &[("HEAD h /a", "/a")]);
    check(&["POST /a"], &[("HEAD h /a", "OPTIONS, POST")]);
}

#[test]
fn what_misses_by_method_alone_is_told_every_method_that_would_be_served() {
    check(
        &["GET,PURGE /a/b", "POST /a/{x}", "DELETE /a/b x-a:1", "PATCH /b"],
        &[
            ("PUT h /a/b", "GET, HEAD, OPTIONS, POST, PURGE"),
            ("PUT h /a/b x-a:1", "DELETE, GET, HEAD, OPTIONS, POST, PURGE"),
            ("OPTIONS h /a/b", "GET, HEAD, OPTIONS, POST, PURGE"),
            ("PUT h /b", "OPTIONS, PATCH"),
            ("PUT h /c", "404"),
        ],
    );
    check(&["GET /a x-a:1"], &[("PUT h /a", "404"), ("PUT h /a x-a:1", "GET, HEAD, OPTIONS")]);
}

#[test]
fn a_route_that_takes_options_serves_it() {
    check(
        &["OPTIONS /a", "GET /a", "/b", "GET /b"],
        &[("OPTIONS h /a", "OPTIONS /a"), ("OPTIONS h /b", "/b")],
    );
}

#[test]
fn no_pattern_takes_a_path_that_does_not_begin_with_a_slash() {
    check(&["/*", "/"], &[("OPTIONS h *", "404"), ("GET h a", "404"), ("GET h ", "404")]);
    assert_eq!(router(&["/*"]).nearest(&Asked::new("OPTIONS h *").query()), None);
}

#[test]
fn names_and_tail_are_pieces_of_the_path_as_they_stand_there() {
    let router = router(&["/u/{id}/o/{order_2}", "/f/{a}/*", "/g/*"]);
    let get = |line: &str| {
        let asked = Asked::new(line);
        let found = router.find(&asked.query()).unwrap();
        let params = found.params().map(|(name, value)| format!("{name}={value}"));
        (params.collect::<Vec<_>>().join(" "), found.tail().map(str::to_owned))
    };
    assert_eq!(get("GET h /u/a%20b/o/7"), ("id=a%20b order_2=7".to_owned(), None));
    assert_eq!(get("GET h /f/x/y/z"), ("a=x".to_owned(), Some("/y/z".to_owned())));
    assert_eq!(get("GET h /f/x"), ("a=x".to_owned(), Some(String::new())));
    assert_eq!(get("GET h /g/"), (String::new(), Some("/".to_owned())));
}

#[test]
fn names_of_a_way_that_was_given_up_are_forgotten() {
    let router = router(&["/{a}/{b}/x", "/{c}/*"]);
    let asked = Asked::new("GET h /1/2/3");
    let found = router.find(&asked.query()).unwrap();
    let params: Vec<_> = found.params().map(|(name, value)| (&**name, value)).collect();
    assert_eq!((params, found.tail()), (vec![("c", "1")], Some("/2/3")));
}

#[test]
fn the_nearest_route_has_the_longest_beginning_in_common() {
    let router =
        router(&["/api/v1/users", "/api/v1/orders/{id}", "/health", "a.com /shop", "/z x-a:1"]);
    let nearest = |line| router.nearest(&Asked::new(line).query()).copied();
    assert_eq!(nearest("GET h /api/v1/order"), Some("/api/v1/orders/{id}"));
    assert_eq!(nearest("GET h /api/v1/orders"), Some("/api/v1/orders/{id}"));
    assert_eq!(nearest("GET h /api/v1/orders/1/2"), Some("/api/v1/orders/{id}"));
    assert_eq!(nearest("GET h /api/v2"), Some("/api/v1/users"));
    assert_eq!(nearest("GET h /healthz"), Some("/health"));
    assert_eq!(nearest("GET h /z"), Some("/z x-a:1"));
    assert_eq!(nearest("GET a.com /shops"), Some("a.com /shop"));
    assert_eq!(nearest("GET h /shops"), None);
}

#[test]
fn of_two_routes_as_near_the_more_literal_one_is_named_and_then_the_earlier() {
    let nearest = |lines: &[&'static str], request| {
        router(lines).nearest(&Asked::new(request).query()).copied()
    };
    assert_eq!(nearest(&["/{x}/b/1", "/a/b/2"], "GET h /a/b/3"), Some("/a/b/2"));
    assert_eq!(nearest(&["/ad", "/ab"], "GET h /ac"), Some("/ad"));
    assert_eq!(nearest(&["/ab", "/ad"], "GET h /ac"), Some("/ab"));
    assert_eq!(nearest(&["/a/y", "/a/x"], "GET h /a/b"), Some("/a/y"));
}

#[test]
fn explain_tells_what_became_of_every_route_in_their_order() {
    let router = router(&[
        "/a/*",
        "GET /a/{y}",
        "POST /a/b",
        "/a/b x-a:1",
        "/a/b?q=*",
        "a.com /a/b",
        "b.com /a/c",
        "/a/c",
    ]);
    let asked = Asked::new("GET h /a/b");
    let told = router.explain(&asked.query());
    let lines: Vec<_> =
        told.considered.iter().map(|c| format!("{} | {}", c.value, c.why)).collect();
    assert_eq!(
        lines,
        [
            "POST /a/b | it takes POST only",
            "/a/b x-a:1 | it wants the header x-a: 1",
            "/a/b?q=* | it wants the query parameter q",
            "GET /a/{y} | it serves the request",
            "/a/* | it would serve, but a more specific route does",
        ]
    );
    let near: Vec<_> = told.near.iter().map(|near| (*near.value, near.apart)).collect();
    assert_eq!(
        near,
        [("a.com /a/b", Apart::Host), ("/a/c", Apart::Path), ("b.com /a/c", Apart::Path)]
    );
    assert_eq!(told.result.unwrap().value, &"GET /a/{y}");
}

#[test]
fn a_route_with_the_very_conditions_of_others_is_shadowed() {
    let shadows = |lines: &[&'static str]| {
        let router = router(lines);
        let shadows = router.shadowed();
        let told = shadows.iter().map(|shadow| {
            let by: Vec<_> = shadow.by.iter().map(|by| **by).collect();
            format!("{} < {}", shadow.value, by.join(" + "))
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(shadows(&["/a/{x}", "/a/{y}", "GET /a/{z}"]), ["/a/{y} < /a/{x}"]);
    assert_eq!(shadows(&["GET,POST /a", "GET /a", "POST /a"]), ["GET,POST /a < GET /a + POST /a"]);
    assert_eq!(shadows(&["GET /a x-a:* x-b:1", "GET /a x-b:1 x-a:*"]).len(), 1);
    assert_eq!(shadows(&["GET,PUT /a", "GET,PUT /a"]), ["GET,PUT /a < GET,PUT /a"]);
    let none: [&str; 0] = [];
    assert_eq!(shadows(&["/a", "/a/", "a.com /a", "*.com /a", "/a x-a:1", "/a?q=1", "/*"]), none);
    assert_eq!(shadows(&["GET /a", "GET,HEAD /a", "/a"]), none);
}

/// Nodes that a lookup of this path looks at.
fn visited(router: &Router<usize>, line: &str) -> usize {
    let asked = Asked::new(line);
    assert!(router.find(&asked.query()).is_ok(), "{line}");
    router.explain(&asked.query()).visited
}

#[test]
fn ten_thousand_routes_cost_a_lookup_as_much_as_ten() {
    let [few, many] = [10, 10_000].map(|count| {
        let mut builder = Router::builder();
        for route in 0..count {
            builder.add(wanted(&format!("GET /api/v1/service{route}/items/{{id}}")), route);
            builder.add(wanted(&format!("GET tenant{route}.com /v1/{{x}}/z{route}")), route);
            builder.add(wanted(&format!("*.t{route}.org /v1/*")), route);
        }
        builder.build()
    });
    for (line, nodes) in [
        // The tree of any host has the root, api, v1, service7, items and {id}.
        ("GET h /api/v1/service7/items/1", 6),
        // Its own tree has the root, v1, {x} and z3; that of any host has its root only.
        ("GET tenant3.com /v1/a/z3", 5),
        ("GET a.b.t5.org /v1/a/b/c/d/e/f/g", 3),
    ] {
        assert_eq!(visited(&few, line), nodes, "{line}");
        assert_eq!(visited(&many, line), nodes, "{line}");
    }
}

#[test]
fn the_worst_set_of_routes_keeps_the_bound() {
    let depth = 8;
    let mut builder = Router::builder();
    for mixture in 0..1_usize << depth {
        let segment =
            |at| if mixture >> at & 1 == 0 { "/a".to_owned() } else { format!("/{{n{at}}}") };
        let path: String = (0..depth).map(segment).collect();
        builder.add(wanted(&format!("{path}/end")), mixture);
    }
    let router = builder.build();
    let asked = Asked::new(&format!("GET h {}/other/{}", "/a".repeat(depth), "a/".repeat(9_000)));
    let told = router.explain(&asked.query());
    assert_eq!(told.result.unwrap_err(), Missed::NotFound);
    assert_eq!(told.visited, (1 << (depth + 1)) - 1);
    assert!(router.nearest(&asked.query()).is_some());
}

#[test]
fn a_long_host_is_looked_at_no_further_than_the_longest_suffix() {
    let router = router(&["*.b.c /x"]);
    let host = format!("{}b.c", "a.".repeat(120));
    assert_eq!(serves(&router, &format!("GET {host} /x")), "*.b.c /x");
    assert_eq!(serves(&router, "GET b.c /x"), "404");
}

//! The route of a preflight is that of the request which it announces: `methods: [POST]` would never
//! see its OPTIONS otherwise, and whoever asks is not yet the one who will be asked for credentials.

use http::Method;
use http::header::ACCESS_CONTROL_REQUEST_HEADERS;
use portcullis_core::preflight;

use super::{Query, Router};

impl<T> Router<T> {
    /// What to look up for a request. A preflight stands for the request that it announces where that
    /// one's route `answers` preflights; elsewhere it is an OPTIONS like any other, so that no route
    /// gets a method that it does not take.
    pub fn meant<'q>(
        &self,
        request: Query<'q>,
        announced: Option<&'q Method>,
        answers: impl FnOnce(&T) -> bool,
    ) -> Query<'q> {
        let Some(method) = announced else { return request };
        let announced = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let ahead = Query { method, announced, ..request };
        match self.find(&ahead) {
            Ok(found) if answers(found.value) => ahead,
            _ => request,
        }
    }
}

impl Query<'_> {
    /// The method of the request that this one announces.
    pub fn preflight(&self) -> Option<Method> {
        preflight::announced(self.method, self.headers)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

    use super::super::{HeaderCondition, Match, Pattern};
    use super::*;

    /// A route of `/a`; in capitals what it takes.
    fn route(name: &'static str, header: Option<(&str, &str)>) -> (Match, &'static str) {
        let mut wanted = Match::path(Pattern::parse("/a").unwrap());
        let method = name.split('-').next().unwrap();
        wanted.methods = (method != "ANY").then(|| method.parse().unwrap()).into_iter().collect();
        wanted.headers = header
            .map(|(name, value)| HeaderCondition::parse(name, value).unwrap())
            .into_iter()
            .collect();
        (wanted, name)
    }

    /// Who serves an OPTIONS that announces `asked`; routes with `cors` in their name answer it.
    fn serves(routes: &[(Match, &'static str)], asked: &str, headers: &str) -> &'static str {
        let mut router = Router::builder();
        for (wanted, name) in routes {
            router.add(wanted.clone(), *name);
        }
        let router = router.build();
        let mut sent = HeaderMap::new();
        for (name, value) in [
            (ORIGIN, "https://a.b"),
            (ACCESS_CONTROL_REQUEST_METHOD, asked),
            (ACCESS_CONTROL_REQUEST_HEADERS, headers),
        ] {
            sent.insert(name, value.parse().unwrap());
        }
        let method = Method::OPTIONS;
        let query = Query {
            host: "x",
            path: "/a",
            method: &method,
            headers: &sent,
            query: None,
            announced: None,
        };
        let announced = query.preflight();
        let meant = router.meant(query, announced.as_ref(), |name| name.contains("cors"));
        router.find(&meant).map_or("nobody", |found| *found.value)
    }

    #[test]
    fn a_preflight_goes_where_its_request_will_go_if_that_route_answers() {
        let routes = [route("GET-cors", None), route("POST", None), route("OPTIONS", None)];
        assert_eq!(serves(&routes, "GET", "x-a"), "GET-cors");
        assert_eq!(serves(&routes, "HEAD", "x-a"), "GET-cors");
        assert_eq!(serves(&routes, "POST", "x-a"), "OPTIONS");
        assert_eq!(serves(&routes, "DELETE", "x-a"), "OPTIONS");
        assert_eq!(serves(&routes[..2], "POST", "x-a"), "nobody", "POST never gets an OPTIONS");
        assert_eq!(serves(&[route("ANY-cors", None)], "PURGE", ""), "ANY-cors");
        assert_eq!(serves(&[route("ANY", None)], "GET", ""), "ANY");
    }

    #[test]
    fn a_header_that_is_announced_holds_whatever_its_value_will_be() {
        let routes = [route("GET-cors-2", Some(("x-version", "2"))), route("GET-cors", None)];
        assert_eq!(serves(&routes, "GET", "Content-Type, X-Version"), "GET-cors-2");
        assert_eq!(serves(&routes, "GET", "content-type, x-versions"), "GET-cors");
        let routes = [route("OPTIONS-2", Some(("x-version", "2"))), route("OPTIONS", None)];
        assert_eq!(serves(&routes, "GET", "x-version"), "OPTIONS", "it is no announced request's");
    }
}

//! What the demo prints: lines that can be pasted, each with what it shows.

use super::Ports;

pub fn guide(ports: &Ports) -> String {
    let Ports { gateway, admin, issuer, orders, .. } = ports;
    let order = r#"{"orderItems":[{"id":"p-1","qty":2,"unitPrice":"9.50"}],"shipping":{"street":"Main St 1","city":"Bern","region":"BE","postalCode":"3000","countryCode":"CH"}}"#;
    let post = format!(
        "curl -s -X POST -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' \
         http://127.0.0.1:{gateway}/api/v1/orders -d"
    );
    format!(
        "
# a token of the tier premium, for the lines below
TOKEN=$(curl -s 'http://127.0.0.1:{issuer}/token?tier=premium')
# an order: outer shape in, inner shape to the service, outer shape back
{post} '{order}'
# a dashboard: three services, one answer
curl -s -H \"authorization: Bearer $TOKEN\" http://127.0.0.1:{gateway}/api/v1/users/u-42/dashboard
# 401: no token
curl -si http://127.0.0.1:{gateway}/api/v1/users/u-42/dashboard
# 401: an expired token
curl -si -H \"authorization: Bearer $(curl -s 'http://127.0.0.1:{issuer}/token?ttl=-60')\" http://127.0.0.1:{gateway}/api/v1/users/u-42/dashboard
# 403: somebody else's dashboard
curl -si -H \"authorization: Bearer $TOKEN\" http://127.0.0.1:{gateway}/api/v1/users/u-1/dashboard
# 400: a bad body, all that is wrong with it at once
{post} '{{\"orderItems\":[]}}'
# 429: the tier free has 100 requests a minute (counted here; in a store when REDIS_URL names one)
for i in $(seq 101); do curl -s -o /dev/null -w '%{{http_code}}\\n' http://127.0.0.1:{gateway}/api/v1/products/p-1; done | sort | uniq -c
# 504: the orders service is slow; /status counts, and says what would open the breaker
curl -s -X POST http://127.0.0.1:{orders}/demo/slow; {post} '{order}'; curl -s http://127.0.0.1:{admin}/status | grep opensAt
# well again: an order goes through, and the count is forgotten
curl -s -X POST http://127.0.0.1:{orders}/demo/heal; {post} '{order}'
# 503: the orders service fails, and after five failures it is left alone
curl -s -X POST http://127.0.0.1:{orders}/demo/fail; for i in 1 2 3 4 5 6; do {post} '{order}'; echo; done
# healed: after five seconds or a little more three orders close the breaker; /status shows each step
curl -s -X POST http://127.0.0.1:{orders}/demo/heal; curl -s http://127.0.0.1:{admin}/status | grep -A6 breaker; sleep 6
for i in 1 2 3; do {post} '{order}'; curl -s http://127.0.0.1:{admin}/status | grep '\"state\": \"[ho]'; done; curl -s http://127.0.0.1:{admin}/status
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_names_the_ports_that_are_used() {
        let guide = guide(&Ports::from(9000).unwrap());
        assert!(guide.contains("http://127.0.0.1:9000/api/v1/orders"));
        assert!(guide.contains("http://127.0.0.1:9020/token"));
        assert!(guide.contains("http://127.0.0.1:9022/demo/fail"));
        assert!(!guide.contains(":8080"));
    }
}

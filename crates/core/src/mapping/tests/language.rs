//! What programs mean, what the shop does with them, and which ones are refused.

use super::{Claims, Value, compile, fails, refused, run};

#[test]
fn the_shops_order_request() {
    let program = r#"{
      userId: $jwt.sub,
      items: .orderItems | map({ productId: .id, quantity: .qty, price: (.unitPrice | tonumber) }),
      shippingAddress: .shipping | { street, city, state: .region, zip: .postalCode, country: .countryCode },
      metadata: { source: $headers["x-client-id"], correlationId: $headers["x-correlation-id"] }
    }"#;
    let input = r#"{"orderItems":[{"id":"p1","qty":2,"unitPrice":"9.50"},{"id":"p2","qty":1,"unitPrice":3}],
        "shipping":{"street":"Hauptstraße 1","city":"Berlin","region":"BE","postalCode":"10115","countryCode":"DE"}}"#;
    let expected = r#"{"userId":"u-1","items":[{"productId":"p1","quantity":2,"price":9.50},{"productId":"p2","quantity":1,"price":3}],"shippingAddress":{"street":"Hauptstraße 1","city":"Berlin","state":"BE","zip":"10115","country":"DE"},"metadata":{"source":"web","correlationId":null}}"#;
    assert_eq!(run(program, input).unwrap(), expected);
}

#[test]
fn the_shops_order_response() {
    let program = r#"{
      id, status, createdAt,
      items: .items | map({
        id: .productId, name: .productName, quantity,
        unitPrice: (.price | tostring), subtotal: (.quantity * .price | tostring)
      }),
      total: (.total | tostring),
      shipping: { address: .shippingAddress, estimatedDelivery }
    }"#;
    let input = r#"{"id":12345678901234567890,"status":"created","createdAt":"2026-01-01T00:00:00Z",
        "items":[{"productId":"p1","productName":"Pen","quantity":2,"price":9.5}],"total":19.00,
        "shippingAddress":{"city":"Berlin"},"estimatedDelivery":null,"internal":true}"#;
    let expected = r#"{"id":12345678901234567890,"status":"created","createdAt":"2026-01-01T00:00:00Z","items":[{"id":"p1","name":"Pen","quantity":2,"unitPrice":"9.5","subtotal":"19"}],"total":"19.00","shipping":{"address":{"city":"Berlin"},"estimatedDelivery":null}}"#;
    assert_eq!(run(program, input).unwrap(), expected);
}

#[test]
fn the_shops_dashboard() {
    let program = r#"{
      user: .user | { id, name, email },
      recentOrders: .orders | map({ id, status, total, itemCount: (.items | length) }),
      recommendations: .recommendations[:5],
      stats: { totalOrders: (.orders | length), totalSpent: (.orders | map(.total) | add // 0) }
    }"#;
    let input = r#"{"user":{"id":"u-1","name":"Ada","email":"a@example.com","password":"x"},
        "orders":[{"id":"o1","status":"created","total":9.5,"items":[1,2]},{"id":"o2","status":"sent","total":9.50,"items":[]}],
        "recommendations":[1,2,3,4,5,6,7]}"#;
    let expected = r#"{"user":{"id":"u-1","name":"Ada","email":"a@example.com"},"recentOrders":[{"id":"o1","status":"created","total":9.5,"itemCount":2},{"id":"o2","status":"sent","total":9.50,"itemCount":0}],"recommendations":[1,2,3,4,5],"stats":{"totalOrders":2,"totalSpent":19}}"#;
    assert_eq!(run(program, input).unwrap(), expected);
    let nobody = r#"{"user":{},"orders":[],"recommendations":[]}"#;
    let expected = r#"{"user":{"id":null,"name":null,"email":null},"recentOrders":[],"recommendations":[],"stats":{"totalOrders":0,"totalSpent":0}}"#;
    assert_eq!(run(program, nobody).unwrap(), expected);
}

#[test]
fn conditions_allow_only_by_exactly_one_true() {
    let rule = compile(r#"$jwt.permissions // [] | any(. == "orders:write")"#).unwrap();
    assert_eq!(rule.is_allowed(Value::NULL, &Claims), Ok(true));
    for (program, allowed) in [("1", false), ("\"true\"", false), ("$jwt.sub", false)] {
        assert_eq!(compile(program).unwrap().is_allowed(Value::NULL, &Claims), Ok(allowed));
    }
    for program in ["empty", "true, true", "error(\"no\")"] {
        assert!(compile(program).unwrap().is_allowed(Value::NULL, &Claims).is_err(), "{program}");
    }
}

/// A number with zeros in front would be written as it stands, and be no JSON.
#[test]
fn numbers_of_a_program_are_written_as_json() {
    for (program, expected) in [
        ("0", "0"),
        ("007", "7"),
        ("00.50", "0.50"),
        ("[00e1, 10, 100]", "[0e1,10,100]"),
        (
            "0000000000000963233704036840096323370403684679666846796600",
            "963233704036840096323370403684679666846796600",
        ),
    ] {
        assert_eq!(run(program, "null").unwrap(), expected, "{program}");
    }
}

#[test]
fn messages_are_short_and_show_no_body() {
    let long = format!("\"{}\"", "x".repeat(5000));
    for (program, input, message) in [
        (".id", "\"abc\"", "cannot index \"abc\" with \"id\""),
        (".[0]", "{\"secret\":1}", "cannot index an object with 0"),
        (".[] | .id", "{\"a\":[1]}", "cannot index an array with \"id\""),
        (".a[]", "{\"a\":5}", "cannot use 5 as something with items (array or object)"),
        ("tonumber", "\"abc\"", "cannot use \"abc\" as number"),
        (". + 1", "{\"a\":1}", "cannot calculate an object + 1"),
        ("error(\"no items\")", "null", "no items"),
        ("error({code: 1})", "null", "an object"),
        ("empty", "null", "the mapping gave no value, and one is needed"),
        ("1, 2", "null", "the mapping gave several values, and one is needed"),
        (
            "{a: (1 / 0)}",
            "null",
            "the result has a number that is not finite, as of a division by zero",
        ),
        ("{(.a): 1}", "{\"a\":1}", "cannot use 1 as the name of a member"),
        (
            "fromjson",
            "\"{\\\"a\\\":1,\\\"a\\\":2}\"",
            "the text is no JSON: the key \"a\" stands twice at line 1, column 8",
        ),
    ] {
        assert_eq!(fails(program, input), message, "{program}");
    }
    assert_eq!(fails(".id", &long), format!("cannot index \"{}...\" with \"id\"", "x".repeat(40)));
    assert!(fails("error(.)", &long).chars().count() <= 200);
    assert_eq!(fails("error(\"a\\r\\nb\")", "null"), "a  b");
}

#[test]
fn what_may_not_end_or_reaches_outside_is_refused_at_its_place() {
    for (program, offset, part) in [
        ("def f: f; f", 7, "calls itself"),
        ("1 | def f(g): [g] | f(.); f(1)", 20, "calls itself"),
        ("def a: def b: a; b; a", 14, "calls itself"),
        (".a | repeat(1)", 5, "never end"),
        ("while(true; .)", 0, "never end"),
        ("[until(false; .)]", 1, "never end"),
        ("recurse(.a)", 0, "never end"),
        ("recurse(.[]?; true)", 0, "never end"),
        ("[range(.n)]", 1, "constants"),
        ("[range(10001)]", 1, "constants"),
        ("[range(0; 10; 0)]", 1, "constants"),
        ("[range(0; 1; 0.00001)]", 1, "constants"),
        ("[range(0; -100000; -1)]", 1, "constants"),
        ("input", 0, "outside"),
        ("[inputs]", 1, "outside"),
        ("env.PATH", 0, "outside"),
        (". | debug", 4, "outside"),
        ("stderr", 0, "outside"),
        ("halt", 0, "outside"),
        ("halt_error(1)", 0, "outside"),
        ("input_filename", 0, "outside"),
        ("now | localtime", 6, "outside"),
        ("import \"a\" as a; .", 0, "modules"),
        ("include \"a\"; .", 0, "modules"),
        ("module {}; .", 0, "modules"),
        ("$ENV.PATH", 0, "unknown variable $ENV"),
        (".a | $nope", 5, "unknown variable $nope"),
        ("{a: nope}", 4, "unknown function `nope`"),
        ("split", 0, "`split` takes another number of arguments"),
        ("jn(1; 2)", 0, "unknown function"),
        ("{a: 1", 5, "expected closing brace"),
        ("{ a: }", 5, "expected term"),
        ("", 0, "expected term, found the end"),
        (".a b", 3, "expected nothing, found `b`"),
    ] {
        let error = refused(program);
        assert!(error.message.contains(part), "{program}: {error:?}");
        assert_eq!(error.offset, offset, "{program}: {error:?}");
    }
    let hint = |program: &str| refused(program).hint.unwrap();
    assert_eq!(hint("$nope"), "there are $jwt, $headers, $path");
    assert_eq!(hint("split"), "there is `split(_)` and `split(_; _)`");
}

#[test]
fn what_ends_is_allowed() {
    for program in [
        "recurse",
        "[..]",
        "range(10000)",
        "range(5; -5; -1)",
        "def range(x): x; range(.a)",
        "def f: 1; def g: f; g",
        "def f(f): f; f(1)",
        "{ limit: .range, while: 1, env: .input, \"debug\": 2 }",
        ".repeat",
        "\"repeat(1)\"",
        "now | todate",
        "# repeat\n1",
    ] {
        assert!(compile(program).is_ok(), "{program}");
    }
}

#[test]
fn every_mistake_is_told() {
    assert_eq!(compile("repeat(1), env, .a").err().unwrap().len(), 2);
    assert_eq!(compile("$a + $b").err().unwrap().len(), 2);
}

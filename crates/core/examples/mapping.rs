//! What a mapping costs: the shop's order, as the plan runs it, as jaq does, and written by hand on
//! `serde_json`, for `cargo xtask mapping`, which counts this program's instructions.
//!
//! `mapping request|response plan|jaq|hand COUNT`: so many times text is parsed, mapped and written.

#![allow(clippy::print_stdout)] // it is a program for people and tools

use std::hint::black_box;

use portcullis_core::mapping::{Program, Scope, Value};
use serde_json::{Value as Json, json};

const ORDER: &str = r#"{"orderItems":[{"id":"p-1","qty":2,"unitPrice":"9.50"},{"id":"p-2","qty":1,"unitPrice":"3.25"},{"id":"p-3","qty":7,"unitPrice":"0.99"}],"shipping":{"street":"1 Main Street","city":"Springfield","region":"IL","postalCode":"62701","countryCode":"US"},"note":"leave it at the door"}"#;
const REQUEST: &str = r#"{
  userId: $jwt.sub,
  items: .orderItems | map({ productId: .id, quantity: .qty, price: (.unitPrice | tonumber) }),
  shippingAddress: .shipping | { street, city, state: .region, zip: .postalCode, country: .countryCode },
  metadata: { source: $headers["x-client-id"], correlationId: $headers["x-correlation-id"] }
}"#;

const ANSWER: &str = r#"{"id":"o-1","status":"created","createdAt":"2026-01-01T00:00:00Z","items":[{"productId":"p-1","productName":"Pen","quantity":2,"price":9.5},{"productId":"p-2","productName":"Cup","quantity":1,"price":3.25},{"productId":"p-3","productName":"Clip","quantity":7,"price":0.99}],"total":29.18,"shippingAddress":{"city":"Springfield"},"estimatedDelivery":null,"internal":true}"#;
const RESPONSE: &str = r"{
  id, status, createdAt,
  items: .items | map({
    id: .productId, name: .productName, quantity,
    unitPrice: (.price | tostring), subtotal: (.quantity * .price | tostring)
  }),
  total: (.total | tostring),
  shipping: { address: .shippingAddress, estimatedDelivery }
}";

struct Request;

impl Scope for Request {
    fn variable(&self, name: &str) -> Value {
        match name {
            "jwt" => Value::object([("sub", Value::text("u-1"))]),
            _ => Value::object([("x-client-id", Value::text("web"))]),
        }
    }
}

fn request(order: &Json) -> Option<Json> {
    let items = order["orderItems"].as_array()?.iter();
    let items = items.map(|item| {
        let price: serde_json::Number = item["unitPrice"].as_str()?.parse().ok()?;
        Some(json!({ "productId": item["id"], "quantity": item["qty"], "price": price }))
    });
    let shipping = &order["shipping"];
    Some(json!({
        "userId": "u-1",
        "items": items.collect::<Option<Vec<_>>>()?,
        "shippingAddress": {
            "street": shipping["street"], "city": shipping["city"], "state": shipping["region"],
            "zip": shipping["postalCode"], "country": shipping["countryCode"],
        },
        "metadata": { "source": "web", "correlationId": null },
    }))
}

fn response(answer: &Json) -> Option<Json> {
    let items = answer["items"].as_array()?.iter();
    let items = items.map(|item| {
        let (quantity, price) = (item["quantity"].as_f64()?, item["price"].as_f64()?);
        Some(json!({
            "id": item["productId"], "name": item["productName"], "quantity": item["quantity"],
            "unitPrice": item["price"].to_string(), "subtotal": (quantity * price).to_string(),
        }))
    });
    Some(json!({
        "id": answer["id"], "status": answer["status"], "createdAt": answer["createdAt"],
        "items": items.collect::<Option<Vec<_>>>()?,
        "total": answer["total"].to_string(),
        "shipping": {
            "address": answer["shippingAddress"], "estimatedDelivery": answer["estimatedDelivery"],
        },
    }))
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (side, engine, count) = (word(), word(), word().parse::<u64>().unwrap_or(1));
    let (body, program) = if side == "response" { (ANSWER, RESPONSE) } else { (ORDER, REQUEST) };
    // For a program with a definition there is no plan.
    let text = if engine == "jaq" { format!("def same: .; {program}") } else { program.to_owned() };
    let Ok(program) = Program::compile(&text, &["jwt", "headers"]) else {
        return println!("the program is refused");
    };
    let mut written = Vec::new();
    for _ in 0..count {
        let body = black_box(body.as_bytes());
        written = match engine.as_str() {
            "hand" => {
                let body = serde_json::from_slice(body).unwrap_or_default();
                let mapped = if side == "response" { response(&body) } else { request(&body) };
                serde_json::to_vec(&mapped).unwrap_or_default()
            }
            _ => Value::parse(body)
                .ok()
                .and_then(|body| program.run_one(body, &Request).ok())
                .unwrap_or_default()
                .to_bytes(),
        };
    }
    let written = String::from_utf8_lossy(&written);
    println!("{}: {written}", if engine == "hand" { "hand" } else { program.engine() });
}

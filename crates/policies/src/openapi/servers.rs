//! Where a document says that it is served: URLs, of which the variables have their defaults.

use super::Part;

/// One server (OpenAPI 3.1 section 4.8.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub url: String,
}

impl Default for Server {
    /// What a document means that names none.
    fn default() -> Self {
        Self { url: "/".to_owned() }
    }
}

impl Server {
    pub(super) fn read(server: &Part<'_>) -> Result<Self, String> {
        let written = server.text("url").ok_or("a server has no `url`")?;
        let variables = server.get("variables");
        let (mut url, mut rest) = (String::new(), written);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                return Err(format!("the server {written}: `{{` is not closed"));
            };
            let variable = variables.as_ref().and_then(|all| all.get(name));
            let default = variable.and_then(|variable| match variable.value.get("default")? {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
            let default = default.ok_or_else(|| {
                format!("the server {written}: give the variable {{{name}}} a default")
            })?;
            url.push_str(before);
            url.push_str(&default);
            rest = behind;
        }
        url.push_str(rest);
        Ok(Self { url })
    }

    /// Scheme and authority, such as `https://api.example.com`; none when it is relative.
    pub fn origin(&self) -> Option<&str> {
        let (scheme, rest) = self.url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        self.url.get(..scheme.len() + "://".len() + end)
    }

    /// The path in front of all of its paths, without a slash at its end.
    pub fn base(&self) -> &str {
        let path = match self.origin() {
            Some(origin) => self.url.get(origin.len()..).unwrap_or_default(),
            None => &self.url,
        };
        path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server(value: &serde_json::Value) -> Result<Server, String> {
        Server::read(&Part { value, pointer: String::new() })
    }

    #[test]
    fn urls_have_an_origin_and_a_base() {
        let parts = |url: &str| {
            let server = Server { url: url.to_owned() };
            (server.origin().map(str::to_owned), server.base().to_owned())
        };
        let origin = Some("https://a.example:8443".to_owned());
        assert_eq!(parts("https://a.example:8443/v1/"), (origin.clone(), "/v1".to_owned()));
        assert_eq!(parts("https://a.example:8443"), (origin, String::new()));
        assert_eq!(parts("/api"), (None, "/api".to_owned()));
        assert_eq!(parts("/"), (None, String::new()));
    }

    #[test]
    fn variables_have_their_defaults() {
        let variables = json!({ "region": { "default": "eu" }, "port": { "default": 8443 } });
        let url = "https://{region}.example:{port}/v1";
        let read = server(&json!({ "url": url, "variables": variables })).unwrap();
        assert_eq!(read.url, "https://eu.example:8443/v1");
        assert!(server(&json!({ "url": url })).unwrap_err().contains("{region}"));
        assert!(server(&json!({ "url": "https://{a" })).is_err());
        assert!(server(&json!({})).is_err());
    }
}

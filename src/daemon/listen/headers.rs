//! Headers that every answer has, and the check of `Host`.

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// A page has its own style sheet and icon, and nothing else: no script, no frame, no foreign address.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Adds the headers.
pub(super) async fn harden(mut answer: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().entry(name).or_insert(value);
    }
    answer
}

/// Whether `Host` is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostCheck {
    /// The address is one of loopback, so only programs of this machine may read it. A foreign web page whose name
    /// was made to point to 127.0.0.1 is shown by a browser of this machine, but its `Host` is its own name.
    pub is_loopback: bool,
}

pub(super) async fn check_host(
    State(check): State<HostCheck>,
    request: Request,
    next: Next,
) -> Response {
    if check.is_loopback && !names_this_machine(request.headers()) {
        let text = "`Host` is neither an IP address nor localhost: a reverse proxy must set it to localhost\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

/// No `Host` (HTTP/1.0), an IP address, or localhost. Any port: the proxy may have another one.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return headers.get(header::HOST).is_none();
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    if let Ok(address) = host.parse::<std::net::SocketAddr>() {
        return address.port() != 0;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["localhost"], true)]
    #[case(&["LOCALHOST:9632"], true)]
    #[case(&["127.0.0.1:9632"], true)]
    #[case(&["10.1.2.3"], true)]
    #[case(&["[::1]:9632"], true)]
    #[case(&["[::1]"], true)]
    #[case(&[], true)]
    #[case(&["evil.example:9632"], false)]
    #[case(&["localhost.evil.example"], false)]
    #[case(&["127.0.0.1.evil.example"], false)]
    #[case(&["127.0.0.1:9632", "evil.example"], false)]
    #[case(&[""], false)]
    fn a_host_is_this_machine(#[case] hosts: &[&str], #[case] expected: bool) {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        assert_eq!(names_this_machine(&headers), expected);
    }
}

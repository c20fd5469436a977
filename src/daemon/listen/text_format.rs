//! The two text formats of `/metrics`. Prometheus asks for OpenMetrics. Programs that do not ask for it, such as
//! curl and older agents, get Prometheus' own text format, in which a counter's family has the suffix `_total`.

use axum::http::{HeaderMap, header};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextFormat {
    OpenMetrics,
    Prometheus,
}

/// The format that the request accepts.
pub(super) fn negotiate(headers: &HeaderMap) -> TextFormat {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let texts = accepted.filter_map(|value| value.to_str().ok());
    let is_wanted = texts
        .flat_map(|text| text.split(','))
        .any(|range| range.trim().starts_with("application/openmetrics-text"));
    match is_wanted {
        true => TextFormat::OpenMetrics,
        false => TextFormat::Prometheus,
    }
}

impl TextFormat {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            TextFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// OpenMetrics text in this format.
    pub(super) fn of(self, open_metrics: String) -> String {
        match self {
            TextFormat::OpenMetrics => open_metrics,
            TextFormat::Prometheus => prometheus(&open_metrics),
        }
    }
}

fn prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    // HELP stands before TYPE, which decides the name of both.
    let mut help = "";
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            push(&mut out, &[line]);
            continue;
        };
        if let Some(text) = comment.strip_prefix("HELP ") {
            help = text.split_once(' ').map_or("", |(_, text)| text);
        } else if let Some((name, kind)) = comment
            .strip_prefix("TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            push(&mut out, &["# HELP ", name, suffix, " ", help]);
            push(&mut out, &["# TYPE ", name, suffix, " ", kind]);
        }
    }
    out
}

fn push(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_counter_and_an_info_have_their_suffix_in_the_family() {
        let open_metrics = "# HELP a_runs Runs\n# TYPE a_runs counter\na_runs_total{job=\"j\"} 1\n\
                            # HELP a_build Version\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                            # HELP a_x_seconds Time\n# TYPE a_x_seconds gauge\n# UNIT a_x_seconds seconds\n\
                            a_x_seconds 1.5\n# EOF\n";
        assert_eq!(
            prometheus(open_metrics),
            "# HELP a_runs_total Runs\n# TYPE a_runs_total counter\na_runs_total{job=\"j\"} 1\n\
             # HELP a_build_info Version\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
             # HELP a_x_seconds Time\n# TYPE a_x_seconds gauge\na_x_seconds 1.5\n"
        );
    }

    #[rstest]
    #[case(
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        TextFormat::OpenMetrics
    )]
    #[case("text/plain, application/openmetrics-text", TextFormat::OpenMetrics)]
    #[case("*/*", TextFormat::Prometheus)]
    fn the_format_is_the_one_that_is_asked_for(#[case] accept: &str, #[case] expected: TextFormat) {
        let mut headers = HeaderMap::new();
        assert_eq!(negotiate(&headers), TextFormat::Prometheus);
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(negotiate(&headers), expected);
    }
}

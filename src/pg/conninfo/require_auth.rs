//! `require_auth`: the authentication methods that a server may request, as in libpq.

use std::fmt;

use super::error::ConninfoError;

/// A way to authenticate, as `require_auth` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// The server asks for nothing: `trust`, `peer`, `cert`.
    None,
    /// The password in clear text.
    Password,
    Md5,
    Gss,
    Sspi,
    ScramSha256,
    OAuth,
}

/// All methods, with libpq's names.
const METHODS: [(&str, Method); 7] = [
    ("none", Method::None),
    ("password", Method::Password),
    ("md5", Method::Md5),
    ("gss", Method::Gss),
    ("sspi", Method::Sspi),
    ("scram-sha-256", Method::ScramSha256),
    ("oauth", Method::OAuth),
];

impl Method {
    /// Can tableferry do it?
    fn is_supported(self) -> bool {
        match self {
            Method::None | Method::Password | Method::Md5 | Method::ScramSha256 => true,
            Method::Gss | Method::Sspi | Method::OAuth => false,
        }
    }
}

/// The methods that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequireAuth {
    text: String,
    listed: Vec<Method>,
    /// All methods are allowed but those that are listed.
    negated: bool,
}

impl RequireAuth {
    /// Reads a list of methods (`scram-sha-256,md5`), or of excluded ones (`!password,!md5`).
    pub(super) fn parse(text: &str) -> Result<RequireAuth, ConninfoError> {
        let wrong = |reason: &str| Err(ConninfoError::new(format!("`require_auth` {reason}")));
        let negated = text.starts_with('!');
        let mut listed = Vec::new();
        for part in text.split(',') {
            let name = part.strip_prefix('!').unwrap_or(part);
            if part.starts_with('!') != negated {
                return wrong("must not mix methods with and without `!`");
            }
            let Some((_, method)) = METHODS.iter().find(|(known, _)| *known == name) else {
                let known = METHODS.map(|(known, _)| known).join(", ");
                return wrong(&format!("must be a list, without spaces, of {known}"));
            };
            if listed.contains(method) {
                return wrong(&format!("names `{name}` twice"));
            }
            listed.push(*method);
        }
        let required = RequireAuth {
            text: text.to_owned(),
            listed,
            negated,
        };
        if !METHODS
            .iter()
            .any(|(_, method)| method.is_supported() && required.allows(*method))
        {
            return wrong(
                "allows no method that is supported (none, password, md5, scram-sha-256)",
            );
        }
        Ok(required)
    }

    /// Does it leave SCRAM, which channel binding needs?
    pub(super) fn allows_scram(&self) -> bool {
        self.allows(Method::ScramSha256)
    }

    fn allows(&self, method: Method) -> bool {
        self.listed.contains(&method) != self.negated
    }

    /// May this be answered? `code` is an AuthenticationRequest's. *Errors:* what the server asks for.
    pub fn check(&self, code: u32, asked_before: bool) -> Result<(), AuthRefused> {
        let (method, asked) = match code {
            // The end of an exchange is none of its own.
            0 if asked_before => return Ok(()),
            0 => (
                Some(Method::None),
                "accepts the client without authentication",
            ),
            3 => (
                Some(Method::Password),
                "asks for the password in clear text",
            ),
            5 => (Some(Method::Md5), "asks for an MD5 hash of the password"),
            7 | 8 => (Some(Method::Gss), "asks for GSSAPI"),
            9 => (Some(Method::Sspi), "asks for SSPI"),
            10..=12 => (Some(Method::ScramSha256), "asks for SCRAM"),
            _ => (None, "asks for an unknown way to authenticate"),
        };
        let allowed = method.map_or(self.negated, |method| self.allows(method));
        if allowed {
            return Ok(());
        }
        Err(AuthRefused {
            asked,
            required: self.text.clone(),
        })
    }
}

/// What a server asked for is not allowed. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRefused {
    asked: &'static str,
    required: String,
}

impl fmt::Display for AuthRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server {}, which require_auth={} does not allow",
            self.asked, self.required
        )
    }
}

impl std::error::Error for AuthRefused {}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// The AuthenticationRequests: AuthenticationOk, cleartext, MD5, GSS, SSPI, SASL, and one to come.
    const CODES: [u32; 7] = [0, 3, 5, 7, 9, 10, 99];

    #[rstest]
    #[case("scram-sha-256", &[10])]
    #[case("none", &[0])]
    #[case("password,md5", &[3, 5])]
    #[case("none,scram-sha-256,gss", &[0, 7, 10])]
    #[case("!password", &[0, 5, 7, 9, 10, 99])]
    #[case("!password,!md5,!none", &[7, 9, 10, 99])]
    #[case("!gss,!sspi,!oauth", &[0, 3, 5, 10, 99])]
    fn what_may_be_answered(#[case] text: &str, #[case] allowed: &[u32]) {
        let required = RequireAuth::parse(text).unwrap();
        let answered: Vec<u32> = CODES
            .into_iter()
            .filter(|code| required.check(*code, false).is_ok())
            .collect();
        assert_eq!(answered, allowed);
        assert!(required.check(0, true).is_ok());
    }

    #[rstest]
    #[case("scram")]
    #[case("scram-sha-256, md5")]
    #[case("md5,")]
    #[case(",md5")]
    #[case("md5,!password")]
    #[case("!password,md5")]
    #[case("!!md5")]
    #[case("!")]
    #[case("md5,md5")]
    #[case("!none,!none")]
    #[case("MD5")]
    #[case("gss")]
    #[case("!none,!password,!md5,!scram-sha-256")]
    fn what_is_not_understood_is_refused(#[case] text: &str) {
        assert!(RequireAuth::parse(text).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(!?[a-z0-9-]{0,4},?){0,4}|(?s).{0,20}", code: u32) {
            if let Ok(required) = RequireAuth::parse(&text) {
                let _ = required.check(code, false);
            }
        }
    }
}

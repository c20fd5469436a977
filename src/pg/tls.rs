//! TLS connectors with libpq's semantics, and the stream that tokio-postgres uses.
//!
//! For tokio-postgres, sslmode says only whether TLS is used. What is verified depends on the connector, so
//! this module decides both.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use native_tls::{Certificate, Identity, Protocol, TlsConnector};
use openssl::pkey::PKey;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::tls::TlsConnect;

use super::conninfo::{FileChoice, RootCert, SslMode, TlsOptions, TlsVersion};
use super::socket::Socket;
use super::tap::{Tap, TapState};
use crate::wording::without_openssl_places;

/// Why a connector can't be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TlsSetupError {
    message: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

type Result<T> = std::result::Result<T, TlsSetupError>;

/// What a connector verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsVerify {
    Nothing,
    Chain,
    ChainAndName,
}

/// Makes the connector for a host with this sslmode, which isn't `disable`.
pub fn connector(mode: SslMode, options: &TlsOptions) -> Result<TlsConnector> {
    let mut builder = TlsConnector::builder();
    builder
        .min_protocol_version(Some(protocol(options.min_version)))
        .max_protocol_version(options.max_version.map(protocol))
        .use_sni(options.sni);
    if options.direct {
        postgres_native_tls::set_postgresql_alpn(&mut builder);
    }
    let roots = roots(mode, options)?;
    let verify = match mode {
        // Plaintext is what `prefer` falls back to, so a bad certificate is no worse.
        SslMode::Disable | SslMode::Prefer => TlsVerify::Nothing,
        SslMode::Require if roots.is_some() => TlsVerify::Chain,
        SslMode::Require => TlsVerify::Nothing,
        SslMode::VerifyCa => TlsVerify::Chain,
        SslMode::VerifyFull => TlsVerify::ChainAndName,
    };
    builder
        .danger_accept_invalid_certs(verify == TlsVerify::Nothing)
        .danger_accept_invalid_hostnames(verify != TlsVerify::ChainAndName);
    if let Some(certificates) = roots {
        // A root file replaces the system's roots instead of being added to them.
        builder.disable_built_in_roots(true);
        for certificate in certificates {
            builder.add_root_certificate(certificate);
        }
    }
    if let Some(identity) = identity(options)? {
        builder.identity(identity);
    }
    builder
        .build()
        .map_err(|error| setup(format!("TLS cannot be set up: {error}")))
}

/// The certificates of the root file, or `None` for the system's.
fn roots(mode: SslMode, options: &TlsOptions) -> Result<Option<Vec<Certificate>>> {
    let verifies = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
    let (path, must_exist) = match &options.root {
        RootCert::System => return Ok(None),
        // libpq only looks whether there is a file when it need not verify.
        RootCert::File(FileChoice::Explicit(path)) => (Some(path), verifies),
        RootCert::File(FileChoice::Default(path)) => (path.as_ref(), false),
    };
    let text = match path {
        Some(path) => read_optional(path, must_exist, "sslrootcert")?,
        None => None,
    };
    let (Some(path), Some(text)) = (path, text) else {
        // libpq would refuse `verify-full`, too; the system's roots with a host name are a sound check.
        return match mode {
            SslMode::VerifyCa => Err(TlsSetupError {
                message: "sslmode=verify-ca needs a root certificate, and none is configured"
                    .to_owned(),
                hint: Some("set `sslrootcert`, or make ~/.postgresql/root.crt"),
            }),
            _ => Ok(None),
        };
    };
    if verifies && options.default_crl.as_ref().is_some_and(|crl| crl.exists()) {
        return Err(TlsSetupError {
            message: "~/.postgresql/root.crl is there, and revocation lists are not supported"
                .to_owned(),
            hint: Some("move the file away if it is not needed"),
        });
    }
    let certificates = Certificate::stack_from_pem(&text)
        .map_err(|error| setup(format!("sslrootcert {}: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(setup(format!(
            "sslrootcert {}: no certificate in it",
            path.display()
        )));
    }
    Ok(Some(certificates))
}

/// The client's certificate and key, where there are any.
fn identity(options: &TlsOptions) -> Result<Option<Identity>> {
    if !options.send_cert {
        return Ok(None);
    }
    let (cert_path, must_exist) = match &options.cert {
        FileChoice::Explicit(path) => (path, true),
        FileChoice::Default(Some(path)) => (path, false),
        FileChoice::Default(None) => return Ok(None),
    };
    let Some(cert) = read_optional(cert_path, must_exist, "sslcert")? else {
        return Ok(None);
    };
    let (FileChoice::Explicit(key_path) | FileChoice::Default(Some(key_path))) = &options.key
    else {
        return Err(setup(format!(
            "sslcert {} has no key: set `sslkey`",
            cert_path.display()
        )));
    };
    let key = read_key(key_path)?;
    let key = pkcs8(&key, options.key_password.as_ref())
        .map_err(|reason| setup(format!("sslkey {}: {reason}", key_path.display())))?;
    Identity::from_pkcs8(&cert, key.expose_secret().as_bytes())
        .map(Some)
        .map_err(|error| setup(format!("sslcert {}: {error}", cert_path.display())))
}

/// Reads a private key, unless others can, too (root's may be readable by its group).
fn read_key(path: &Path) -> Result<Vec<u8>> {
    let wrong = |reason: String| setup(format!("sslkey {}: {reason}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() {
        return Err(wrong("not a plain file".to_owned()));
    }
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(wrong(
            "others can read it: its permissions must be u=rw (0600) or less, \
             or u=rw,g=r (0640) if root owns it"
                .to_owned(),
        ));
    }
    fs::read(path).map_err(|error| wrong(error.to_string()))
}

/// native-tls takes PKCS#8 in PEM only; libpq takes whatever OpenSSL reads.
fn pkcs8(key: &[u8], password: Option<&SecretString>) -> std::result::Result<SecretString, String> {
    let password = password.map_or(&b""[..], |password| password.expose_secret().as_bytes());
    let wrong =
        |_| "not a private key in PEM or DER, or encrypted with another `sslpassword`".to_owned();
    // With a passphrase given OpenSSL never asks on the terminal.
    let parsed = PKey::private_key_from_pem_passphrase(key, password)
        .or_else(|_| PKey::private_key_from_der(key))
        .map_err(wrong)?;
    let pem = parsed.private_key_to_pem_pkcs8().map_err(wrong)?;
    String::from_utf8(pem)
        .map(SecretString::from)
        .map_err(|_| "not a private key".to_owned())
}

fn read_optional(path: &Path, must_exist: bool, key: &str) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => Ok(None),
        Err(error) => Err(setup(format!("{key} {}: {error}", path.display()))),
    }
}

fn protocol(version: TlsVersion) -> Protocol {
    match version {
        TlsVersion::V1_0 => Protocol::Tlsv10,
        TlsVersion::V1_1 => Protocol::Tlsv11,
        TlsVersion::V1_2 => Protocol::Tlsv12,
        TlsVersion::V1_3 => Protocol::Tlsv13,
    }
}

fn setup(message: String) -> TlsSetupError {
    TlsSetupError {
        message: without_openssl_places(&message),
        hint: None,
    }
}

/// A TLS stream with a [`Tap`] above it, where the messages are in the clear.
pub type TappedTlsStream = Tap<postgres_native_tls::TlsStream<Socket>>;

/// Makes a [`TappedTlsStream`] of a socket.
pub struct TappedTls {
    /// Does the handshake.
    pub tls: postgres_native_tls::TlsConnector,
    /// Sees what passes.
    pub state: Arc<TapState>,
}

impl TlsConnect<Socket> for TappedTls {
    type Stream = TappedTlsStream;
    type Error = native_tls::Error;
    type Future = Pin<
        Box<dyn Future<Output = std::result::Result<TappedTlsStream, native_tls::Error>> + Send>,
    >;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let stream = self.tls.connect(socket).await?;
            Ok(Tap::new(stream, self.state))
        })
    }
}

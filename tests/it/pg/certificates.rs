//! A certificate authority of the tests' own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

/// A root that signs.
pub struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

/// A certificate and its key.
pub struct Signed {
    pub key: PKey<Private>,
    pub certificate: X509,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = key();
        let subject = subject(name);
        let mut builder = builder(&subject, &subject, &key);
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Authority {
            certificate: builder.build(),
            key,
        }
    }

    /// Signs a certificate for `name`, which is also its only alternative name.
    pub fn sign(&self, name: &str) -> Signed {
        let key = key();
        let mut builder = builder(&subject(name), self.certificate.subject_name(), &key);
        let names = SubjectAlternativeName::new()
            .dns(name)
            .build(&builder.x509v3_context(Some(&self.certificate), None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Signed {
            certificate: builder.build(),
            key,
        }
    }

    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }
}

impl Signed {
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    pub fn pkcs8(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// The older form, which starts with BEGIN RSA PRIVATE KEY.
    pub fn pkcs1(&self) -> Vec<u8> {
        self.key.rsa().unwrap().private_key_to_pem().unwrap()
    }

    /// Encrypted, in the older form.
    pub fn encrypted(&self, password: &str) -> Vec<u8> {
        let rsa = self.key.rsa().unwrap();
        rsa.private_key_to_pem_passphrase(openssl::symm::Cipher::aes_128_cbc(), password.as_bytes())
            .unwrap()
    }
}

/// Writes a file that only its owner can read.
pub fn write(dir: &Path, name: &str, contents: &[u8]) -> PathBuf {
    write_with_mode(dir, name, contents, 0o600)
}

pub fn write_with_mode(dir: &Path, name: &str, contents: &[u8], mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn subject(name: &str) -> X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder.build()
}

fn builder(
    subject: &X509Name,
    issuer: &openssl::x509::X509NameRef,
    key: &PKey<Private>,
) -> X509Builder {
    let mut serial = BigNum::new().unwrap();
    serial.rand(128, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(30).unwrap())
        .unwrap();
    builder
}

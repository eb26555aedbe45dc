//! Owns the broker's certificate authority on disk and the server certificate in memory, which is
//! made new at each start and again before it expires. Does not own sockets.

use super::{clock, files};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

const DAY: u64 = 24 * 3_600;
const CA_LIFE: u64 = 20 * 365 * DAY;
/// Life of the server certificate in seconds; it is renewed when a third is left.
pub(crate) const LEAF_LIFE: u64 = 90 * DAY;

/// What keeps the broker from having a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The files of the authority cannot be read or written.
    #[error("{0}")]
    File(#[from] io::Error),
    /// A key or certificate is damaged, or a `--host` is not a name.
    #[error("{0}")]
    Make(#[from] rcgen::Error),
    /// The certificate on disk is not PEM.
    #[error("ca.crt is damaged: {0}")]
    Pem(String),
    /// The TLS library does not take the key.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

/// The broker's own authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    /// SHA-256 of its SubjectPublicKeyInfo, base64url without padding: what tokens pin.
    pub(crate) pin: String,
}

impl Authority {
    /// Reads `ca.key` and `ca.crt`, or makes what is missing.
    pub(crate) fn load_or_create(directory: &Path) -> Result<Self, CertificateError> {
        let (key_path, path) = (directory.join("ca.key"), directory.join("ca.crt"));
        let key = match files::read_private(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem)?,
            None => {
                let key = KeyPair::generate()?;
                files::write_private(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let pem = match std::fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = authority_params().self_signed(&key)?.pem();
                files::write_public(&path, pem.as_bytes())?;
                pem
            }
            Err(error) => return Err(error.into()),
        };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| CertificateError::Pem(error.to_string()))?;
        let pin = URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info()));
        Ok(Self { issuer: Issuer::new(authority_params(), key), certificate, pem, pin })
    }

    /// A new server certificate for these names and addresses, with the authority behind it, so
    /// that a client can check a pin on the authority without having its certificate.
    fn leaf(&self, hosts: &[String]) -> Result<CertifiedKey, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = name("sealane-broker");
        let now = clock::now();
        params.not_before = day(now.saturating_sub(DAY));
        params.not_after = day(now + LEAF_LIFE);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(CertifiedKey::new(chain, ring::sign::any_ecdsa_type(&private)?))
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = clock::now();
    params.distinguished_name = name("sealane-broker CA");
    params.not_before = day(now.saturating_sub(DAY));
    params.not_after = day(now + CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Midnight of the day of `unix_seconds`; a clock out of range gives the last day it can.
fn day(unix_seconds: u64) -> time::OffsetDateTime {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| {
            time::OffsetDateTime::from_unix_timestamp(seconds - seconds % 86_400).ok()
        })
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

/// Hands the current certificate to each new connection.
pub(crate) struct Certificates {
    authority: Authority,
    hosts: Vec<String>,
    current: RwLock<(Arc<CertifiedKey>, u64)>,
}

impl Certificates {
    pub(crate) fn new(authority: Authority, hosts: Vec<String>) -> Result<Self, CertificateError> {
        let first = Arc::new(authority.leaf(&hosts)?);
        Ok(Self { authority, hosts, current: RwLock::new((first, clock::now())) })
    }

    /// Makes a new certificate when a third of the life of the present one is left; connections
    /// that are open keep the one they have. The clock having gone back counts as well.
    pub(crate) fn renew_if_due(&self) -> Result<(), CertificateError> {
        let made = self.current.read().unwrap_or_else(PoisonError::into_inner).1;
        let now = clock::now();
        if now >= made && now - made < LEAF_LIFE / 3 * 2 {
            return Ok(());
        }
        let next = Arc::new(self.authority.leaf(&self.hosts)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (next, now);
        tracing::info!("server certificate renewed");
        Ok(())
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_outlives_a_restart_and_the_leaf_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(directory.path()).unwrap();
        let again = Authority::load_or_create(directory.path()).unwrap();
        assert_eq!((&first.pem, &first.pin), (&again.pem, &again.pin));
        assert_eq!(first.pin.len(), 43);
        let hosts = ["broker.example".to_owned(), "::1".to_owned()];
        let (one, two) = (first.leaf(&hosts).unwrap(), again.leaf(&hosts).unwrap());
        assert_ne!(one.cert[0], two.cert[0]);
        assert_eq!(one.cert[1], two.cert[1]);
    }

    #[test]
    fn a_certificate_is_renewed_before_it_expires() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(directory.path()).unwrap();
        let certificates = Certificates::new(authority, vec!["localhost".into()]).unwrap();
        let serving = || Arc::clone(&certificates.current.read().unwrap().0);
        let first = serving();
        certificates.renew_if_due().unwrap();
        assert!(Arc::ptr_eq(&first, &serving()));
        certificates.current.write().unwrap().1 -= LEAF_LIFE / 3 * 2;
        certificates.renew_if_due().unwrap();
        assert!(!Arc::ptr_eq(&first, &serving()));
    }
}

//! TLS: certificates given, or made at the start.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Validity of a certificate made at the start; clients refuse those of more than 825 days.
const VALID: Duration = Duration::from_secs(365 * 86_400);

/// What clocks may differ by.
const SLACK: Duration = Duration::from_secs(86_400);

/// What a server shows to its clients, and what they have to trust.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    trust_pem: String,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate is not a PEM file of certificates.
    #[error("the certificate cannot be read: use a PEM file")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// There is no certificate in it.
    #[error("there is no certificate in the file: use a PEM file")]
    NoCertificate,
    /// The key is not a PEM file of a private key.
    #[error("the private key cannot be read: use a PEM file with one key, not encrypted")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// They do not belong together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Making(#[source] rcgen::Error),
}

impl Tls {
    /// A certificate for `localhost`, 127.0.0.1, ::1 and `addr`, valid for a year and issued by an
    /// authority that is made for it and forgotten: whoever trusts [`trust_pem`](Self::trust_pem)
    /// trusts this server and nobody else.
    pub fn self_signed(addr: IpAddr) -> Result<Self, TlsError> {
        let made = make(addr).map_err(TlsError::Making)?;
        let chain = vec![made.server.der().clone()];
        let key = PrivateKeyDer::try_from(made.key.serialize_der());
        let key =
            key.map_err(|text| TlsError::Unusable(rustls::Error::General(text.to_owned())))?;
        Self::of(chain, key, made.authority_pem)
    }

    /// A certificate chain, the server's own first, and its private key (PKCS#8, PKCS#1 or SEC1),
    /// both PEM.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(TlsError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        // Not the file as it is: many keep the key in the same one.
        let trust_pem = chain
            .iter()
            .map(|certificate| pem::Pem::new("CERTIFICATE", certificate.to_vec()))
            .map(|certificate| pem::encode_config(&certificate, unix))
            .collect();
        Self::of(chain, key, trust_pem)
    }

    /// What clients have to trust, as PEM: the authority that was made, or the certificates given.
    /// No secret.
    #[must_use]
    pub fn trust_pem(&self) -> &str {
        &self.trust_pem
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        trust_pem: String,
    ) -> Result<Self, TlsError> {
        // Named, so that another provider among the dependencies cannot make it ambiguous.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            trust_pem,
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private key is in there.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

struct Made {
    server: rcgen::Certificate,
    key: KeyPair,
    authority_pem: String,
}

/// An authority and a server beneath it: several clients refuse a certificate that is both.
fn make(addr: IpAddr) -> Result<Made, rcgen::Error> {
    let now = SystemTime::now();
    let params = |names: Vec<String>, name: &str| {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = (now - SLACK).into();
        params.not_after = (now + VALID).into();
        Ok(params)
    };
    let mut authority = params(Vec::new(), "brimful mock authority")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    if !addr.is_loopback() && !addr.is_unspecified() {
        names.push(addr.to_string());
    }
    let mut server = params(names, "brimful mock")?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let server = server.signed_by(&key, &authority)?;
    let authority_pem = authority.pem();
    Ok(Made {
        server,
        key,
        authority_pem,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn debug_shows_no_key_and_trust_is_a_certificate() {
        let tls = Tls::self_signed(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(format!("{tls:?}"), "Tls { .. }");
        assert!(tls.trust_pem().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(!tls.trust_pem().contains("PRIVATE"));
    }

    #[test]
    fn files_that_are_no_certificate_or_key_are_refused() {
        let garbage = Tls::from_pem(b"garbage", b"garbage").unwrap_err();
        assert!(matches!(garbage, TlsError::NoCertificate), "{garbage}");
        let tls = Tls::self_signed(Ipv4Addr::LOCALHOST.into()).unwrap();
        let no_key = Tls::from_pem(tls.trust_pem().as_bytes(), b"").unwrap_err();
        assert!(matches!(no_key, TlsError::Key(_)), "{no_key}");
        let other = KeyPair::generate().unwrap().serialize_pem();
        let strange = Tls::from_pem(tls.trust_pem().as_bytes(), other.as_bytes()).unwrap_err();
        assert!(matches!(strange, TlsError::Unusable(_)), "{strange}");
    }

    #[test]
    fn own_certificates_are_shown_to_clients_without_the_key_beside_them() {
        let made = make(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (certificate, key) = (made.server.pem(), made.key.serialize_pem());
        let both = format!("{certificate}{key}");
        for (certificates, key) in [(&certificate, &key), (&both, &both)] {
            let tls = Tls::from_pem(certificates.as_bytes(), key.as_bytes()).unwrap();
            let shown = tls.trust_pem().replace('\r', "");
            assert_eq!(shown, certificate.replace('\r', ""));
        }
    }
}

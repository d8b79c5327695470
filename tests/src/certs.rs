//! A certificate authority of our own and one certificate for all names of the gateway.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// Where the files of a certificate authority and its one certificate are.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// What clients must trust, PEM.
    pub authority: PathBuf,
    /// The gateway's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `folder` for the gateway `domain`, or takes those that are there.
    pub fn in_folder(folder: &Path, domain: &str) -> Result<Self> {
        let files = Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("gateway.crt"),
            key: folder.join("gateway.key"),
        };
        if files.key.exists() && files.certificate.exists() && files.authority.exists() {
            return Ok(files);
        }
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;

        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "Copilot Gate test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut names = host_names(domain);
        names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, domain);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &authority)?;

        fs::write(&files.authority, authority.pem())?;
        fs::write(&files.certificate, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

/// The host names of a gateway with this domain, the domain first.
pub fn host_names(domain: &str) -> Vec<String> {
    let roles = ["api", "copilot-api", "proxy", "telemetry", "origin-tracker"];
    std::iter::once(domain.to_owned())
        .chain(roles.iter().map(|role| format!("{role}.{domain}")))
        .collect()
}

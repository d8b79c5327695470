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

        let authority = Authority::new("Copilot Gate test authority")?;
        let mut names = host_names(domain);
        names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let places = (&*files.certificate, &*files.key);
        authority.sign(places, domain, names, ExtendedKeyUsagePurpose::ServerAuth)?;
        fs::write(&files.authority, authority.pem())?;
        Ok(files)
    }
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes one of this name.
    pub fn new(name: &str) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate for these host names, and its key.
    pub fn sign(
        &self,
        (certificate, key): (&Path, &Path),
        name: &str,
        hosts: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<()> {
        let mut leaf = CertificateParams::new(hosts)?;
        leaf.distinguished_name.push(DnType::CommonName, name);
        leaf.extended_key_usages = vec![purpose];
        leaf.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate()?;
        fs::write(certificate, leaf.signed_by(&pair, &self.0)?.pem())?;
        fs::write(key, pair.serialize_pem())?;
        Ok(())
    }
}

/// Certificates of a sink and of a gateway that trust each other.
#[derive(Clone, Debug)]
pub struct Mutual {
    /// The sink's certificate and key, and the authority of gateways, PEM.
    pub sink: [PathBuf; 3],
    /// The gateway's certificate and key, and the authority of sinks, PEM.
    pub gateway: [PathBuf; 3],
}

impl Mutual {
    /// Makes them in `folder`, with the names that the operator's manual uses.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = |name: &str| folder.join(name);
        let mutual = Self {
            sink: ["sink.crt", "sink.key", "gateway-ca.crt"].map(file),
            gateway: ["gateway.crt", "gateway.key", "sink-ca.crt"].map(file),
        };
        let authorities = [Authority::new("of sinks")?, Authority::new("of gateways")?];
        let [of_sinks, of_gateways] = &authorities;
        let [certificate, key, clients] = &mutual.sink;
        let hosts = vec!["sink.gate.example".to_owned()];
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        of_sinks.sign((certificate, key), "sink", hosts, purpose)?;
        fs::write(clients, of_gateways.pem())?;
        let [certificate, key, servers] = &mutual.gateway;
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        of_gateways.sign((certificate, key), "gateway", Vec::new(), purpose)?;
        fs::write(servers, of_sinks.pem())?;
        Ok(mutual)
    }
}

/// The host names of a gateway with this domain, the domain first.
pub fn host_names(domain: &str) -> Vec<String> {
    let roles = ["api", "copilot-api", "proxy", "telemetry", "origin-tracker"];
    std::iter::once(domain.to_owned())
        .chain(roles.iter().map(|role| format!("{role}.{domain}")))
        .collect()
}

//! Certificates and keys of a control plane: two authorities, of clients and servers and of the front proxy.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use super::Error;

/// A certificate and its private key, as PEM.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Identity {
    /// Writes `<name>.crt` and `<name>.key`.
    pub(super) fn write(&self, folder: &Path, name: &str) -> Result<(), Error> {
        write_private(&folder.join(format!("{name}.crt")), &self.certificate)?;
        write_private(&folder.join(format!("{name}.key")), &self.key)
    }
}

/// Something that signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority")
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Result<Self, Error> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject(name, None);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let make = || CertifiedIssuer::self_signed(parameters, KeyPair::generate()?);
        make().map(Self).map_err(failed(name))
    }

    /// Its own certificate, as PEM.
    pub(super) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a client: its common name is the user, its organisation the group.
    pub(super) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject(user, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(parameters, user)
    }

    /// A certificate of a server under `names`, which are host names and addresses.
    pub(super) fn server(&self, name: &str, names: &[&str]) -> Result<Identity, Error> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).map_err(failed(name))?;
        parameters.distinguished_name = subject(name, None);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(parameters, name)
    }

    fn sign(&self, mut parameters: CertificateParams, name: &str) -> Result<Identity, Error> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed(name))?;
        let certificate = parameters.signed_by(&key, &self.0).map_err(failed(name))?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Writes the key pair that service-account tokens are signed with: `service-account.key` and `.pub`.
pub(super) fn write_service_account_key(folder: &Path) -> Result<(), Error> {
    let key = KeyPair::generate().map_err(failed("service accounts"))?;
    write_private(&folder.join("service-account.key"), &key.serialize_pem())?;
    write_private(&folder.join("service-account.pub"), &key.public_key_pem())
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io(format!("{} cannot be written", path.display())))
}

fn subject(name: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organisation) = organisation {
        subject.push(DnType::OrganizationName, organisation);
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn failed(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}

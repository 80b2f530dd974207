//! Makes authorities and certificates: ECDSA on P-256.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use scaler_api::Secret;

use super::{
    Error, Options,
    material::{Certificate, Material, after, before, to_pem},
};

/// A new authority and a certificate by it. `trusted` stay in the bundle: other replicas may still show what they signed.
///
/// # Errors
/// If a certificate cannot be made, e.g. for a name that is none.
pub(super) fn everything(
    options: &Options,
    trusted: &[Certificate],
    now: Timestamp,
) -> Result<Material, Error> {
    let none = Material::default();
    let material = authority(options, &none, trusted, now)?;
    certificate(options, &material, now)
}

/// A new authority at the head of the bundle; the certificate stays.
///
/// # Errors
/// If it cannot be made.
pub(super) fn authority(
    options: &Options,
    material: &Material,
    trusted: &[Certificate],
    now: Timestamp,
) -> Result<Material, Error> {
    let mut parameters = CertificateParams::default();
    // The second keeps apart what is in one bundle.
    parameters.distinguished_name = named(&format!("autoscaler-ca@{}", now.as_second()));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    live(
        &mut parameters,
        before(now, options.backdate),
        after(now, options.authority_life),
    );
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let made = parameters.self_signed(&key)?.pem();
    Ok(Material {
        bundle: made + &to_pem(trusted),
        authority_key: Secret::new(key.serialize_pem()),
        ..material.clone()
    })
}

/// A new certificate by the current authority, which it does not outlive.
///
/// # Errors
/// If it cannot be made.
pub(super) fn certificate(options: &Options, material: &Material, now: Timestamp) -> Result<Material, Error> {
    let authority = Certificate::read_all("ca.crt", &material.bundle)?;
    let authority = authority.first().ok_or(Error::Unreadable {
        what: "ca.crt",
        problem: "holds no certificate".to_owned(),
    })?;
    let authority_key = KeyPair::from_pem(material.authority_key.expose())?;
    let issuer = Issuer::from_ca_cert_der(&authority.der, authority_key)?;
    let names: Vec<String> = options.subject_alternative_names().into_iter().collect();
    let mut parameters = CertificateParams::new(names)?;
    let service = options.services.first().map_or("autoscaler", String::as_str);
    parameters.distinguished_name = named(&format!("{service}.{}.svc", options.namespace));
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    live(
        &mut parameters,
        before(now, options.backdate),
        after(now, options.certificate_life).min(authority.not_after),
    );
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(Material {
        certificate: parameters.signed_by(&key, &issuer)?.pem(),
        key: Secret::new(key.serialize_pem()),
        ..material.clone()
    })
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // 64 characters are the most that a common name may have; the names that count are the alternative ones.
    let common_name: String = common_name.chars().take(64).collect();
    name.push(DnType::CommonName, common_name);
    name
}

fn live(parameters: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    parameters.not_before = at(from);
    parameters.not_after = at(to);
}

// SPDX-License-Identifier: Apache-2.0
#include "certificate.hpp"

#include <memory>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace fallbackd::e2e {

namespace {

template <class T, void (*Free)(T*)>
struct Freeing {
  void operator()(T* object) const { Free(object); }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freeing<EVP_PKEY, &EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freeing<X509, &X509_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Freeing<X509_EXTENSION, &X509_EXTENSION_free>>;
using BioPtr = std::unique_ptr<BIO, Freeing<BIO, &BIO_free_all>>;

bool addExtension(X509* certificate, int kind, const char* value) {
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, nullptr, kind, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool fill(X509* certificate, EVP_PKEY* key, std::time_t end) {
  constexpr std::time_t kHour = 3600;
  X509_NAME* const name = X509_get_subject_name(certificate);
  const unsigned char common[] = "registry";
  return X509_set_version(certificate, X509_VERSION_3) == 1 &&
         ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
         ASN1_TIME_set(X509_getm_notBefore(certificate), end - kHour) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), end) != nullptr &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common, -1, -1, 0) == 1 &&
         X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
         addExtension(certificate, NID_basic_constraints, "critical,CA:TRUE") &&
         addExtension(certificate, NID_subject_alt_name, "IP:127.0.0.1") &&
         X509_sign(certificate, key, EVP_sha256()) > 0;
}

std::string take(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

Result<Certificate> makeCertificate(std::chrono::system_clock::time_point end) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const CertificatePtr certificate(X509_new());
  const BioPtr keyText(BIO_new(BIO_s_mem()));
  const BioPtr text(BIO_new(BIO_s_mem()));
  const bool made =
      key && certificate && fill(certificate.get(), key.get(), std::chrono::system_clock::to_time_t(end)) &&
      PEM_write_bio_PrivateKey(keyText.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1 &&
      PEM_write_bio_X509(text.get(), certificate.get()) == 1;
  if (!made) return fail(Stage::cli, Reason::internal, "create a certificate");
  return Certificate{take(keyText.get()), take(text.get())};
}

}  // namespace fallbackd::e2e

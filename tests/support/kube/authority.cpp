// SPDX-License-Identifier: Apache-2.0
#include "kube/authority.hpp"

#include <atomic>
#include <stdexcept>

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace fallbackd::kube_test {

namespace {

using Key = std::shared_ptr<EVP_PKEY>;
using Certificate = std::shared_ptr<X509>;

void require(bool done, const char* what) {
  if (!done) throw std::runtime_error(what);
}

Key newKey() {
  Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  require(key != nullptr, "create a key");
  return key;
}

template <class Write>
std::string pem(const Write& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> bio(BIO_new(BIO_s_mem()), &BIO_free_all);
  require(bio && write(bio.get()) == 1, "write PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string textOf(const Certificate& certificate) {
  return pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); });
}

std::string textOf(const Key& key) {
  return pem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

void extend(X509* certificate, int kind, const std::string& value) {
  if (value.empty()) return;
  const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
      X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str()), &X509_EXTENSION_free);
  require(extension && X509_add_ext(certificate, extension.get(), -1) == 1, "extend a certificate");
}

struct Wanted {
  std::string name;
  std::string constraints;
  std::string usage;
  std::string names;
};

/// Signed by `issuer`, or by itself.
Certificate sign(const Wanted& wanted, const Key& key, X509* issuer, EVP_PKEY* issuerKey) {
  constexpr long kHour = 3600;
  static std::atomic<long> serial{1};
  Certificate made(X509_new(), &X509_free);
  X509* const raw = made.get();
  require(raw != nullptr && X509_set_version(raw, X509_VERSION_3) == 1, "create a certificate");
  ASN1_INTEGER_set(X509_get_serialNumber(raw), serial++);
  X509_gmtime_adj(X509_getm_notBefore(raw), -kHour);
  X509_gmtime_adj(X509_getm_notAfter(raw), 24 * kHour);
  X509_NAME* const subject = X509_get_subject_name(raw);
  const auto* const name = reinterpret_cast<const unsigned char*>(wanted.name.c_str());
  require(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, name, -1, -1, 0) == 1, "name it");
  X509_set_issuer_name(raw, issuer == nullptr ? subject : X509_get_subject_name(issuer));
  X509_set_pubkey(raw, key.get());
  extend(raw, NID_basic_constraints, wanted.constraints);
  extend(raw, NID_ext_key_usage, wanted.usage);
  extend(raw, NID_subject_alt_name, wanted.names);
  require(X509_sign(raw, issuerKey == nullptr ? key.get() : issuerKey, EVP_sha256()) > 0, "sign it");
  return made;
}

}  // namespace

Authority::Authority(const std::string& name) : key_(newKey()) {
  own_ = sign({name, "critical,CA:TRUE", "", ""}, key_, nullptr, nullptr);
  text_ = textOf(own_);
}

Leaf Authority::server(const std::string& names) const {
  const auto key = newKey();
  return {textOf(sign({"server", "", "serverAuth", names}, key, own_.get(), key_.get())), textOf(key)};
}

Leaf Authority::client(const std::string& commonName) const {
  const auto key = newKey();
  return {textOf(sign({commonName, "", "clientAuth", ""}, key, own_.get(), key_.get())), textOf(key)};
}

Leaf Authority::selfSigned(const std::string& names) {
  const auto key = newKey();
  return {textOf(sign({"node", "", "serverAuth", names}, key, nullptr, nullptr)), textOf(key)};
}

}  // namespace fallbackd::kube_test
